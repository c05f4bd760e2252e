"""SORE against the machine, `cosparse.spec.pack` and the cycle formula, in Verilator."""

import pytest

from cosparse.spec.errors import RunError
from hwsim import AcceleratorConfig, cosim

PRESETS = {name: {"preset": name} for name in ("sat-4x4", "sat-8x8")}
OTHERS = {
    "one lane": ("sat-4x4", {"sore_lanes": 1, "group_max": 2, "n_max": 1}),
    "parts of words": ("sat-8x8", {"sore_lanes": 4, "rows": 4, "n_max": 4}),
    "more lanes than M": (
        "sat-8x8",
        {"rows": 16, "cols": 16, "sore_lanes": 16, "group_max": 8, "n_max": 8},
    ),
    "long activation words": (
        "sat-8x8",
        {"rows": 16, "cols": 4, "sore_lanes": 4, "wuve_lanes": 4},
    ),
}
CONFIGS = PRESETS | {name: {"preset": p, **changes} for name, (p, changes) in OTHERS.items()}


def simulate(mapping, count, seed=1, folders=(), planned=0):
    """Every (n, m) of a configuration both ways, then `count` random cases.

    planned: further cases, of the patterns of the plan of coverage, half of their sizes whole.
    """
    config = AcceleratorConfig.from_mapping(mapping)
    parameters = {
        "Rows": config.rows,
        "Cols": config.cols,
        "GroupMax": config.group_max,
        "NMax": config.n_max,
        "ActValuesPerRowCycle": config.act_values_per_row_cycle,
        "SoreLanes": config.sore_lanes,
    }
    design = cosim.Design("tb_sore", parameters, folders=(*folders, *cosim.folders()))
    arguments = {"config": mapping, "count": count, "seed": seed, "planned": planned}
    cosim.simulate(design, "sore_bench", arguments=arguments, seed=seed)


@pytest.mark.parametrize("name", PRESETS)
def test_bits_and_cycles(name):
    simulate(PRESETS[name], count=150)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("name", CONFIGS)
def test_many_bits_and_cycles(name, seed):
    simulate(CONFIGS[name], count=5_000, seed=seed)


MUTANTS = [
    ("sore_lane", "value[14:0] > slot_q[i][18:4]", "value[14:0] >= slot_q[i][18:4]"),
    ("sore_lane", "value_i[14:0] > 15'h7C00", "value_i[14:0] >= 15'h7C00"),
    ("sore_lane", "value[14:0] > slot_q", "value[14:1] > slot_q"),
    ("sore_lane", "loses[i] = won_q[i] == '0", "loses[i] = 1'b1"),
    ("sore_lane", "moves[i] ? won[i+1][j+1] :", "1'b0 ? won[i+1][j+1] :"),
    ("sore_lane", "member_i[i] && value", "1'b1 && value"),
    ("sore_group", "m_i) - 5'd1", "m_i) - 5'd2"),
    ("sore_group", "member_d   = '0;", "member_d   = member_q;"),
    ("sore_transposer", "sideways ? right : below", "sideways ? below : right"),
    ("sore_walk", "columns_left_q > SizeBits'(l)", "columns_left_q >= SizeBits'(l)"),
    ("sore_walk", "rows_left_q <= SizeBits'(1);", "rows_left_q == SizeBits'(0);"),
    ("sore_walk", "slice_d = slice_q + SliceBits'(1)", "slice_d = slice_q"),
    ("sore", "leaves && written_q &&", "leaves &&"),
    ("sore", "bank_q.transpose ? vector_tag_q : '0", "vector_tag_q"),
    ("sore", "if (ends_block_q && {1'b0, position}", "if ({1'b0, position}"),
    ("sore", "entry_q + bank_q.wgt_words", "entry_q + AddressBits'(1)"),
]


@pytest.mark.nightly
@pytest.mark.parametrize(("module", "correct", "wrong"), MUTANTS)
def test_a_broken_unit_is_caught(module, correct, wrong, tmp_path):
    source = (cosim.RTL / f"{module}.sv").read_text()
    assert source.count(correct) == 1
    (tmp_path / f"{module}.sv").write_text(source.replace(correct, wrong))
    with pytest.raises(RunError, match="AssertionError"):
        simulate(CONFIGS["parts of words"], 150, folders=(tmp_path,))
