"""Axes and spaces: which points there are, against plain loops over the same rules."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from cosparse.flow.scenario import load_scenario
from cosparse.flow.sweep.axes import Axis, check_values, expand
from cosparse.flow.sweep.definition import define
from cosparse.flow.sweep.samplers import hypercube_points, random_points
from cosparse.flow.sweep.space import area_of
from cosparse.spec import ConfigError, InputError, ScenarioError
from hwsim import AcceleratorConfig, estimate_area
from hwsim.area import RESOURCES, AreaTable
from hwsim.config_vector import CONFIG_FIELDS, config_vector

FREE = {
    "accelerator.rows": {"log": [2, 32]},
    "accelerator.cols": [4, 8, 16],
    "accelerator.interleave": {"range": [1, 7, 3]},
    "accelerator.accumulator_kib": [1, 8, 64],
    "accelerator.add_latency": {"values": [2, 4], "when": "interleave > 1"},
}


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ([3, 1], (3, 1)),
        ({"range": [1, 4]}, (1, 2, 3, 4)),
        ({"range": [1, 8, 3]}, (1, 4, 7)),
        ({"range": [0.1, 0.3, 0.1]}, (0.1, 0.2, pytest.approx(0.3))),
        ({"log": [1, 16]}, (1, 2, 4, 8, 16)),
        ({"log": [1, 90, 9]}, (1, 9, 81)),
        ({"values": ["a"], "when": "rows > 1"}, ("a",)),
    ],
)
def test_expansion(given, values):
    assert expand(given) == values


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "expected 1 to"),
        ([1, 1], "each value once, got 1 twice"),
        ({"range": [4, 1]}, "expected first <= last, got 4 and 1"),
        ({"range": [1, 1e9]}, "at most 100,000 values"),
        ({"range": [1, 2, 0]}, "a step above 0"),
        ({"log": [0, 8]}, "first above 0"),
        ({"log": [1, 8, 1]}, "factor above 1"),
        ({"range": [1, 2], "log": [1, 2]}, "got range and log"),
        ({"form": [1]}, "unknown key 'form'"),
        ({"range": 3}, "range: expected a list, got 3"),
        ({"range": [0, 1e15, 1e-300]}, "at most 100,000 values"),
        ({"range": [0, 1e300]}, "numbers up to 9.0072e"),
        ({"log": [1, 8, 1.0000001]}, "log: expected at most 100,000 values"),
    ],
)
def test_expansion_refuses(given, words):
    with pytest.raises(InputError, match=words):
        expand(given)


def test_values_are_those_of_the_field():
    with pytest.raises(InputError, match="expected a power of two from 2 to 128, got 12"):
        check_values("accelerator.rows", [8, 12])
    with pytest.raises(InputError, match="unknown accelerator preset 'sat-9x9'"):
        check_values("accelerator", ["sat-9x9"])


def legal_configs(axes, derived, allowed):
    """By plain loops: what `AcceleratorConfig` accepts and `allowed` holds for."""
    found = []
    for values in product(*(expand(given) for given in axes.values())):
        fields = dict(zip((path.partition(".")[2] for path in axes), values, strict=True))
        if not fields["interleave"] > 1:
            if fields["add_latency"] != 2:
                continue
            del fields["add_latency"]
        fields |= derived(fields)
        try:
            config = AcceleratorConfig.preset("sat-8x8", **fields)
        except ConfigError:
            continue
        if allowed(config):
            found.append(tuple(config_vector(config).tolist()))
    return found


def points_of(definition):
    parts = [definition.space.resolve(codes) for codes in definition.space.grid()]
    return [part[0] for part in parts], sum(sum(part[1].values()) for part in parts)


def test_a_grid_has_every_legal_point_once(scenario):
    lut = AreaTable.default().device("VU9P")["lut"]

    def allowed(config):
        return estimate_area(config).lut.value <= 0.05 * lut and config.rows != 16

    made = scenario(
        axes=FREE,
        set={"sore_lanes": "min(4, 2 * rows)", "wuve_lanes": "4"},
        constraints=["lut <= 0.05 * VU9P.lut", "rows != 16"],
    )
    blocks, left_out = points_of(define(load_scenario(made)))
    found = [tuple(row) for block in blocks for row in block.configs.tolist()]
    expected = legal_configs(
        FREE, lambda f: {"sore_lanes": min(4, 2 * f["rows"]), "wuve_lanes": 4}, allowed
    )
    assert sorted(found) == sorted(expected) and len(set(found)) == len(found) > 20
    assert left_out + len(found) == 5 * 3 * 3 * 3 * 2
    numbers = np.concatenate([block.numbers for block in blocks])
    assert len(set(numbers.tolist())) == len(numbers)


def test_area_of_many_is_that_of_each():
    """Each field differs once: an estimate that is shared too widely would be told."""
    base = AcceleratorConfig.preset("sat-8x8", n_max=8)
    other = {
        **{
            name: 2 * getattr(base, name)
            for name in ("rows", "cols", "activation_kib", "weight_kib")
        },
        **{name: getattr(base, name) // 2 for name in ("n_max", "interleave", "add_latency")},
        "group_max": 8,
        "mul_latency": 4,
        "act_values_per_row_cycle": 4,
        "accumulator_kib": 32,
        "dram_bytes_per_cycle": 4,
        "clock_mhz": 100,
        "sore_lanes": 4,
        "wuve_lanes": 4,
    }
    configs = [base, *(replace(base, **{name: value}) for name, value in other.items())]
    found = area_of(np.stack([*map(config_vector, configs)]))
    for row, config in zip(found.tolist(), configs, strict=True):
        assert row == [getattr(estimate_area(config), name).value for name in RESOURCES]


def test_random_points_are_different_legal_and_of_their_seed(scenario):
    space = define(load_scenario(scenario(axes=FREE, set={}))).space
    first, _ = random_points(space, 40, 7)
    again, _ = random_points(space, 40, 7)
    other, _ = random_points(space, 40, 8)
    assert len({tuple(row) for row in first.configs.tolist()}) == 40
    assert (first.configs == again.configs).all() and (first.configs != other.configs).any()
    for row in first.configs.tolist():
        AcceleratorConfig(**dict(zip(CONFIG_FIELDS, row, strict=True)))
    more, _ = random_points(space, 10_000, 7)
    everything = sum(len(space.resolve(codes)[0]) for codes in space.grid())
    assert len(more) == everything


def test_a_hypercube_covers_every_axis(scenario):
    axes = {
        "accelerator.clock_mhz": {"range": [100, 109]},
        "accelerator.outstanding": [1, 2, 4, 8, 16],
    }
    space = define(load_scenario(scenario(axes=axes, set={}))).space
    points, _ = hypercube_points(space, 10, 1)
    columns = dict(zip(CONFIG_FIELDS, points.configs.T.tolist(), strict=True))
    assert sorted(columns["clock_mhz"]) == list(range(100, 110))
    assert sorted(columns["outstanding"]) == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16]


def test_the_order_of_the_file_decides_nothing(scenario):
    """What `when` and `set` read comes first, wherever it stands; `cols` follows what it is derived from."""
    axes = {
        "accelerator.add_latency": {"values": [1, 2], "when": "interleave > 1 and cols == 8"},
        "accelerator.interleave": {"values": [1, 2, 4], "when": "rows == 8"},
        "accelerator.rows": [4, 8],
    }
    derived = {"sore_lanes": "wuve_lanes", "wuve_lanes": "cols", "cols": "rows"}
    orders = [
        (dict(reversed(axes.items())), derived),
        (axes, dict(reversed(derived.items()))),
        (axes, derived),
    ]
    found = []
    for own_axes, own_set in orders:
        blocks, left_out = points_of(define(load_scenario(scenario(axes=own_axes, set=own_set))))
        rows = [tuple(row) for block in blocks for row in block.configs.tolist()]
        assert len(rows) + left_out == 12
        found.append(sorted(rows))
    assert found[0] == found[1] == found[2]
    names = ("rows", "cols", "sore_lanes", "wuve_lanes", "interleave", "add_latency")
    own = AcceleratorConfig.preset("sat-8x8")
    places = [CONFIG_FIELDS.index(name) for name in names]
    assert sorted(tuple(row[place] for place in places) for row in found[0]) == sorted(
        (size, size, size, size, interleave, latency)
        for size in (4, 8)
        for interleave in ((1, 2, 4) if size == 8 else (own.interleave,))
        for latency in ((1, 2) if size == 8 and interleave > 1 else (own.add_latency,))
    )


def test_a_condition_reads_the_scenario_s_own_value_of_an_axis_that_is_off(scenario):
    """The learning rate takes part for bdwp only; elsewhere conditions see what the scenario says."""
    made = scenario(
        axes={
            "accelerator.interleave": {"values": [2, 4], "when": "lr > 0.3"},
            "train.lr": {"values": [0.1, 0.4], "when": "method == 'bdwp'"},
            "train.method": ["dense", "bdwp"],
        },
        set={},
    )
    made["train"]["lr"] = 0.5
    blocks, _ = points_of(define(load_scenario(made)))
    own = AcceleratorConfig.preset("sat-8x8").interleave
    found = [
        row[CONFIG_FIELDS.index("interleave")] for block in blocks for row in block.configs.tolist()
    ]
    assert sorted(found) == sorted([2, 4, own, 2, 4])  # dense (0.5), bdwp at 0.1, bdwp at 0.4


def test_what_a_device_has_is_known_to_every_constraint(scenario):
    made = scenario(
        axes={"accelerator.interleave": [1, 2]}, set={}, constraints=["rows * cols < VU9P.dsp"]
    )
    (block,), _ = points_of(define(load_scenario(made)))
    assert len(block) == 2


def test_names_of_axes():
    assert Axis("accelerator.rows", (1,)).name == "rows"
    assert Axis("train.pattern", ("2:8",)).name == "pattern"
    assert Axis("train.batch", (8,)).name == "train.batch"


SCRATCHPADS = ("activation_kib", "weight_kib", "accumulator_kib")
HUGE = {
    **{f"accelerator.{name}": {"range": [1, 65_000]} for name in SCRATCHPADS},
    "accelerator.dram_latency_cycles": {"range": [1, 10_000]},
    "accelerator.clock_mhz": {"range": [1, 2_000]},
}


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"axes": {}}, "sweep.axes: expected a"),
        ({"axes": {"accelerator.row": [4]}}, "unknown axis 'accelerator.row', did you mean 'acc"),
        ({"axes": {"accelerator.rows": [4, 5]}}, "sweep.axes.accelerator.rows: expected a power of"),
        ({"axes": {"train.pattern": ["2:4", "4:2"]}}, "sweep.axes.train.pattern: "),
        ({"axes": {"model": ["resnet9", "resnet8"]}}, "unknown model 'resnet8'"),
        ({"axes": {"batch": [0]}}, "expected at least 1, got 0"),
        ({"axes": {"accelerator.rows": {"values": [4], "when": "col > 2"}}}, "unknown name 'col'"),
        ({"set": {"colums": "rows"}}, "unknown accelerator field 'colums'"),
        ({"set": {"cols": "row"}}, "unknown name 'row'"),
        ({"set": {"rows": "cols"}}, "expected a field that is no axis"),
        ({"axes": {"train.pattern": ["2:8", "02:8"]}, "set": {}}, "each value once, got '2:8' twice"),
        ({"axes": {f"accelerator.{name}": {"range": [1, 2000]} for name in SCRATCHPADS}},
         "expected axes of a grid to span at most 1,000,000,000"),
        ({"constraints": ["interleave in (4, 'x')"]}, "expected numbers beside numbers"),
        ({"constraints": ["pattern == 2"]}, "expected numbers beside numbers"),
        (
            {"set": {"cols": "rows", "accelerator.cols": "8"}},
            "expected one value, got another one under 'accelerator.cols'",
        ),
        ({"constraints": ["lutt < 3"]}, "unknown name 'lutt', did you mean 'lut'"),
        ({"objectives": ["energy"]}, "unknown name 'energy', did you mean"),
        ({"objectives": ["'a'"]}, "expected a figure to look for"),
        ({"objectives": ["milliseconds"], "sampler": {"kind": "nsga2", "points": 3, "batch": 1}},
         "sweep.sampler.batch: expected at least 2, got 1"),
        ({"axes": {"dataflow": [{}]}}, "unknown dataflow '{}'"),
        ({"constraints": ["(rows, cols)"]}, "not a part of these expressions"),
        ({"sampler": "nsga3"}, "unknown sampler 'nsga3'"),
        ({"sampler": "random"}, "expected 'points', how many 'random' takes"),
        ({"sampler": {"kind": "nsga2", "points": 9}}, "expected 'objectives' for 'nsga2'"),
        ({"sampler": {"points": 9}}, "expected no number of points with 'grid'"),
        ({"objectives": ["maximise accuracy"]}, "expected a scenario that trains"),
        ({"constraints": ["model"]}, "'model' gives text, expected a condition"),
        ({"constraints": ["rows < model"]}, "'rows < model': "),
        ({"set": {"cols": "pattern"}}, "set.cols: 'pattern' gives text"),
        ({"set": {"cols": "interleave", "interleave": "cols"}, "axes": {"batch": [1]}},
         "do not read each other, got .*cols -> interleave|interleave -> cols"),
        ({"axes": {"accelerator": {"values": ["sat-8x8"], "when": "rows > 4"}, "accelerator.rows": [4]}},
         "do not read each other, got "),
        ({"axes": HUGE}, "span at most 9,223,372,036,854,775,807 combinations, got 5,492,"),
        ({"axes": {f"accelerator.{name}": {"range": [1, 9_000]} for name in SCRATCHPADS},
          "sampler": {"kind": "random", "points": 10_000_001}}, "at most 10,000,000, which are held in"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_runs(scenario, sweep, words):
    with pytest.raises(ScenarioError, match=words):
        load_scenario(scenario(**sweep))


def test_the_batch_of_training_beside_that_of_the_workload(scenario):
    """Without a batch of its own the workload has that of training."""
    made = scenario(axes={"train.batch": [16, 64]}, set={})
    load_scenario(made)
    del made["batch"]
    with pytest.raises(ScenarioError, match="expected the key 'batch' beside this axis, got none"):
        load_scenario(made)


def test_a_scenario_without_a_sweep(scenario):
    plain = scenario()
    del plain["sweep"]
    with pytest.raises(ScenarioError, match="expected the key 'sweep' with its axes"):
        define(load_scenario(plain))
