import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim
from cosparse.spec import ConfigError
from hwsim import CONSTANTS, FIELDS, PRESETS, AcceleratorConfig, check_mapping
from hwsim.rules import CROSS_RULES

# The preset table of the design, column by column.
DESIGN_TABLE = {
    "sat-4x4": [4, 4, 8, 8, 2, 3, 4, 1, 16, 16, 16, 8, 1, 8, 20, 16, 4, 4, 4, 200],
    "sat-8x8": [8, 8, 16, 16, 2, 4, 4, 2, 64, 64, 64, 16, 1, 16, 30, 16, 8, 8, 8, 200],
    "sat-32x32": [32, 32, 16, 16, 3, 4, 8, 2, 1024, 1024, 512, 64, 4, 256, 60, 16, 16, 32, 32, 200],
}
FIELD_ORDER = [
    "rows",
    "cols",
    "group_max",
    "n_max",
    "mul_latency",
    "add_latency",
    "interleave",
    "act_values_per_row_cycle",
    "activation_kib",
    "weight_kib",
    "accumulator_kib",
    "axi_bytes",
    "axi_ports",
    "dram_bytes_per_cycle",
    "dram_latency_cycles",
    "burst_beats",
    "outstanding",
    "sore_lanes",
    "wuve_lanes",
    "clock_mhz",
]


def only_problem(mapping):
    problems = check_mapping(mapping)
    assert len(problems) == 1, problems
    return problems[0]


@pytest.mark.parametrize("name", DESIGN_TABLE)
def test_presets_are_the_designs(name):
    config = AcceleratorConfig.preset(name)
    assert [getattr(config, field) for field in FIELD_ORDER] == DESIGN_TABLE[name]
    assert config.name == name
    assert config.simulation_only == (name == "sat-32x32")


def test_every_field_has_a_rule():
    fields = [field.name for field in dataclasses.fields(AcceleratorConfig)]
    assert fields == ["name", *FIELDS]
    assert all(set(row) == set(FIELDS) for row in PRESETS.values())


@pytest.mark.parametrize("name", PRESETS)
def test_mapping_round_trip(name):
    config = AcceleratorConfig.preset(name, interleave=2)
    assert AcceleratorConfig.from_mapping(config.to_mapping()) == config


def test_overrides_show_in_the_name():
    assert AcceleratorConfig.preset("sat-8x8", add_latency=3).name == "sat-8x8 (add_latency=3)"
    assert AcceleratorConfig.preset("sat-8x8", add_latency=3, name="mine").name == "mine"


def test_unknown_preset_and_field_name_the_nearest():
    preset = only_problem({"preset": "sat-8x9"})
    assert preset.field == "preset" and "did you mean 'sat-8x8'" in preset.message
    field = only_problem({"preset": "sat-8x8", "add_latencies": 3})
    assert field.field == "add_latencies" and "did you mean 'add_latency'" in field.message


@pytest.mark.parametrize("value", [True, 4.0, "4", None, [4]])
def test_only_integers_are_integers(value):
    problem = only_problem({"preset": "sat-8x8", "add_latency": value})
    assert problem.field == "add_latency"
    assert "expected an integer from 1 to 4" in problem.message
    assert f"got {value!r}" in problem.message


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("mul_latency", 5, "from 1 to 4"),
        ("rows", 12, "a power of two from 2 to 128"),
        ("group_max", 32, "a power of two from 2 to 16"),
        ("outstanding", 0, "from 1 to 256"),
    ],
)
def test_ranges(field, value, expected):
    problem = only_problem({"preset": "sat-8x8", field: value})
    assert problem.field == field
    assert expected in problem.message and f"got {value}" in problem.message


@pytest.mark.parametrize(
    ("overrides", "field", "limit", "got"),
    [
        ({"n_max": 8, "group_max": 4}, "n_max", 4, 8),
        ({"dram_bytes_per_cycle": 17}, "dram_bytes_per_cycle", 16, 17),
        (
            {"act_values_per_row_cycle": 16, "group_max": 8, "n_max": 8},
            "act_values_per_row_cycle",
            8,
            16,
        ),
        ({"burst_beats": 256, "axi_bytes": 32}, "burst_beats", 4096, 8192),
        # Two rows of 128 PEs x 16 values x 2 bytes against half of 8 KiB.
        ({"rows": 128, "activation_kib": 8}, "activation_kib", 4096, 8192),
        # 16 entries x 4 slots x 8 columns x 20 bits against half of 2 KiB.
        ({"weight_kib": 2}, "weight_kib", 1024, 1280),
        # 8 x 8 PEs x 16 accumulators x 4 bytes against half of 4 KiB.
        ({"interleave": 16, "accumulator_kib": 4}, "accumulator_kib", 2048, 4096),
    ],
)
def test_rules_between_fields(overrides, field, limit, got):
    problem = only_problem({"preset": "sat-8x8", **overrides})
    assert problem.field == field
    assert problem.message.endswith(f"at most {limit}, got {got}")


def test_all_problems_at_once():
    mapping = {"preset": "sat-8x8", "row": 8, "mul_latency": 9, "name": 3}
    assert [problem.field for problem in check_mapping(mapping)] == ["row", "mul_latency", "name"]
    with pytest.raises(ConfigError, match=r"(?s)row.*mul_latency.*name"):
        AcceleratorConfig.from_mapping(mapping)


def test_own_file_needs_every_field():
    missing = [problem.field for problem in check_mapping({"rows": 8})]
    assert missing == [field for field in FIELD_ORDER if field != "rows"]


@pytest.mark.parametrize("value", [None, "sat-8x8", 8, ["preset"]])
def test_not_a_mapping(value):
    assert "expected a mapping" in only_problem(value).message


def test_constructor_enforces_the_same_rules():
    good = AcceleratorConfig.preset("sat-8x8")
    with pytest.raises(ConfigError, match=re.escape("got 17")):
        dataclasses.replace(good, dram_bytes_per_cycle=17)
    with pytest.raises(ConfigError, match="rows"):
        dataclasses.replace(good, rows=3)


keys = st.sampled_from([*FIELD_ORDER, "preset", "name", "x", 7])
scalars = st.sampled_from([None, True, "sat-4x4", "", 1e6, float("nan"), -1, 0, 1, 2, 8, 10**9])


@given(st.dictionaries(keys, scalars, max_size=6))
def test_no_mapping_makes_a_traceback(mapping):
    if not check_mapping(mapping):
        AcceleratorConfig.from_mapping(mapping)
    else:
        with pytest.raises(ConfigError):
            AcceleratorConfig.from_mapping(mapping)


@given(st.sampled_from(sorted(PRESETS)), st.sampled_from(FIELD_ORDER), st.integers(0, 300))
def test_one_override_is_refused_or_built(preset, field, value):
    mapping = {"preset": preset, field: value}
    if not check_mapping(mapping):
        assert getattr(AcceleratorConfig.from_mapping(mapping), field) == value


def test_import_is_light():
    heavy = ("torch", "triton", "sklearn", "pydantic", "numba")
    code = f"import hwsim, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_exist():
    assert all(hasattr(hwsim, name) for name in hwsim.__all__)


def test_docs_list_every_field_rule_and_constant():
    text = (Path(__file__).parents[2] / "docs" / "microarchitecture.md").read_text()
    rows = [f"| `{n}` | {r.description} | {r.unit} | {r.expected} |" for n, r in FIELDS.items()]
    rows += [f"- {rule.rule}" for rule in CROSS_RULES]
    rows += [f"| `{n}` | {c.value} {c.unit} | {c.meaning} |" for n, c in CONSTANTS.items()]
    assert [row for row in rows if row not in text.splitlines()] == []
