"""STCE against the machine (bits), the contract (cycles) and the engine (stalls), in Verilator."""

import pytest

from cosparse.spec.errors import RunError
from hwsim import AcceleratorConfig, cosim
from tests.rtl.matmuls import CORNERS

PARAMETERS = {
    "Rows": "rows",
    "Cols": "cols",
    "GroupMax": "group_max",
    "NMax": "n_max",
    "MulLatency": "mul_latency",
    "AddLatency": "add_latency",
    "Interleave": "interleave",
    "ActValuesPerRowCycle": "act_values_per_row_cycle",
}

SMALL = {"sore_lanes": 2, "wuve_lanes": 2}
ARRAYS = {
    "smallest": {"rows": 2, "cols": 2, "group_max": 4, "n_max": 4, "add_latency": 1, "mul_latency": 1,
                 "interleave": 1, "act_values_per_row_cycle": 1},
    "groups wider than words": {"rows": 2, "cols": 2, "group_max": 16, "n_max": 4, "add_latency": 4,
                                "mul_latency": 3, "interleave": 8, "act_values_per_row_cycle": 4},
    "odd interleave": {"rows": 2, "cols": 4, "group_max": 8, "n_max": 8, "add_latency": 2,
                       "mul_latency": 4, "interleave": 5, "act_values_per_row_cycle": 8},
    "tall": {"rows": 4, "cols": 2, "group_max": 4, "n_max": 2, "add_latency": 4, "mul_latency": 2,
             "interleave": 2, "act_values_per_row_cycle": 2},
    "wide": {"rows": 4, "cols": 8, "group_max": 4, "n_max": 4, "add_latency": 1, "mul_latency": 2,
             "interleave": 1, "act_values_per_row_cycle": 1},
    "more words than groups": {"rows": 8, "cols": 4, "group_max": 8, "n_max": 8, "add_latency": 3,
                               "mul_latency": 1, "interleave": 6, "act_values_per_row_cycle": 4},
    "one weight": {"rows": 8, "cols": 2, "group_max": 8, "n_max": 1, "add_latency": 2,
                   "mul_latency": 2, "interleave": 16, "act_values_per_row_cycle": 2},
    "groups of sixteen words": {"rows": 4, "cols": 4, "group_max": 16, "n_max": 4, "add_latency": 3,
                                "mul_latency": 2, "interleave": 6, "act_values_per_row_cycle": 1},
}  # fmt: skip
CONFIGS = {
    **{name: {"preset": name} for name in ("sat-4x4", "sat-8x8")},
    **{name: {"preset": "sat-4x4", **SMALL, **fields} for name, fields in ARRAYS.items()},
}


def simulate(mapping, seeds, corners=(), folders=(), way=None, **fixed):
    """The random MATMULs of these seeds; fixed: registers that all of them share.

    folders: searched before the usual ones. way: of the plan of coverage; those of its MATMULs that add
    to what the ones before them have met.
    """
    arguments = {"config": mapping, "seeds": list(seeds), "corners": list(corners), "fixed": fixed}
    arguments["way"] = way
    cosim.simulate(design(mapping, folders), "stce_bench", arguments=arguments)


def design(mapping, folders=()):
    config = AcceleratorConfig.from_mapping(mapping)
    parameters = {name: getattr(config, field) for name, field in PARAMETERS.items()}
    return cosim.Design("tb_stce", parameters, folders=(*folders, *cosim.folders()))


@pytest.mark.parametrize("name", ["sat-4x4", "sat-8x8"])
def test_bits_cycles_and_stalls(name):
    simulate(CONFIGS[name], range(250), CORNERS)


@pytest.mark.parametrize("name", ["sat-4x4", "sat-8x8"])
def test_the_layers_that_kernels_and_machine_are_tested_on(name):
    arguments = {"config": CONFIGS[name], "least": 100}
    cosim.simulate(design(CONFIGS[name]), "layer_bench", arguments=arguments)


@pytest.mark.parametrize("name", ["sat-4x4"])
def test_a_tile_that_is_read_in_one_cycle(name):
    """One token by columns: the array could begin before the set-up is over."""
    one = dict.fromkeys(("lhs", "ir", "out_w", "out_h", "images"), 1)
    simulate(CONFIGS[name], range(5000, 5004), **one, accumulate=0)


@pytest.mark.parametrize("name", ["sat-4x4"])
def test_rows_without_a_group_take_zeros_for_infinities(name):
    """WS, groups as wide as a word: what a row would take instead is the group of the row above."""
    simulate(CONFIGS[name], range(6100, 6110), flow=1, m=4)


@pytest.mark.parametrize("name", ["sat-4x4"])
def test_rows_take_their_values_before_a_narrower_column_tile(name):
    """WS: rows below begin with the last column tile sooner than a step after the one before it."""
    simulate(CONFIGS[name], (7001, 7012, 7060), n=3, m=8, packed=1, flow=1, ir=2)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "n", "m"),
    [
        *((name, n, 8) for name in ("sat-8x8", "odd interleave") for n in (2, 3, 5)),
        *(("groups of sixteen words", n, m) for n in (2, 3) for m in (8, 16)),
    ],
)
def test_any_n_before_a_narrower_column_tile(name, n, m):
    simulate(CONFIGS[name], range(7000, 7100), n=n, m=m, packed=1, flow=1, ir=2)


def test_two_of_sixteen():
    simulate(CONFIGS["sat-8x8"], range(1000, 1030), ("2:16",), m=16, packed=1)


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(1, 5))
@pytest.mark.parametrize("name", CONFIGS)
def test_many_bits_cycles_and_stalls(name, shard):
    simulate(CONFIGS[name], range(shard * 10_000, shard * 10_000 + 2_000))


MUTANTS = [
    ("uspe", "value_addr = read_addr | ReadBits'(index)", "value_addr = read_addr"),
    ("stce_row", "full_q     <= !start_i[3];", "full_q     <= 1'b1;"),
    ("stce_row", "assign odd        = two_i && cycle_q[0];", "assign odd        = 1'b0;"),
    ("stce_feeder", "two && (ws || rows_left_q > SizeBits'(Rows))", "two"),
    ("stce_feeder", "turn_left_q <= turn;", "turn_left_q <= '0;"),
    ("stce_feeder", "< CoordBits'(bank_i.in_w)", "<= CoordBits'(bank_i.in_w)"),
    ("stce_sequencer", "hold_chain = last_q && chain", "hold_chain = 1'b0 && chain"),
    ("stce_sequencer", "== 5'(AddLatency) && !held_q", "== 5'(AddLatency)"),
    ("stce_sequencer", "odd_q ^ (accumulate_i && first_i)", "1'b0"),
    ("stce_sequencer", "owed_q <= owed_q + span_t'(1);", "owed_q <= owed_q;"),
    ("stce_loader", "(bank_i.is_packed || 24'(entry_q) < left_q)", "1'b1"),
    ("stce_planner", "left_q + 24'(lane_q)}", "left_q}"),
    ("stce_sums", "valid_o     = row < rows_left_q && ", "valid_o     = "),
    ("stce_turn", "& blocks_less1_i;", "& '1;"),
    ("stce", "rest_columns != '0 && ", ""),
    ("stce_segments", "left_q    <= first_i ? bank_i.segments : left_q", "left_q    <= left_q"),
]


@pytest.mark.nightly
@pytest.mark.parametrize(("module", "correct", "wrong"), MUTANTS)
def test_a_broken_unit_is_caught(module, correct, wrong, tmp_path):
    source = (cosim.RTL / f"{module}.sv").read_text()
    assert source.count(correct) == 1
    (tmp_path / f"{module}.sv").write_text(source.replace(correct, wrong))
    with pytest.raises(RunError, match=r"AssertionError|outside memory"):
        simulate(CONFIGS["sat-4x4"], range(250), folders=(tmp_path,))
