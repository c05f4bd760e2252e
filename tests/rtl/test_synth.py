"""The committed tables of rtl/synth/results belong to these sources, and hwsim/area.yaml to them."""

import pytest

from hwsim import AcceleratorConfig
from hwsim.area import AreaTable, bram36, element_memory_luts
from hwsim.cosim import synth
from hwsim.scratchpads import scratchpads

TABLES = synth.read_tables()
TARGETS = {target.name: target for target in synth.targets()}
ELEMENTS = {
    "pe-m8": AcceleratorConfig.preset("sat-4x4"),
    "pe-m16": AcceleratorConfig.preset("sat-4x4", group_max=16, n_max=16),
    "pe-sat-8x8": AcceleratorConfig.preset("sat-8x8"),
    "pe-sat-32x32": AcceleratorConfig.preset("sat-32x32"),
}


def test_the_tables_are_those_of_the_targets():
    assert TABLES.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_a_table_is_of_these_sources(name):
    table, target = TABLES[name], TARGETS[name]
    assert table["parameters"] == target.parameters
    assert table["digest"] == target.digest(), f"out of date; `{synth.COMMAND} {name}` makes it"


@pytest.mark.parametrize("name", TARGETS)
def test_a_table_is_the_sum_of_its_parts(name):
    total, parts = TABLES[name]["total"], TABLES[name]["parts"]
    assert total == {key: sum(part[key] for part in parts.values()) for key in total}
    assert total["lut"] > 0 and total["ff"] > 0


def test_the_area_model_has_the_tables_of_the_arrays():
    rows = [synth.area_row(table) for table in TABLES.values() if table["module"] == "stce"]
    held = [vars(row) for row in AreaTable.default().arrays]
    assert sorted(rows, key=str) == sorted(held, key=str), f"`{synth.COMMAND} --area` prints them"


@pytest.mark.parametrize("name", ELEMENTS)
def test_memories_of_an_element_by_formula(name):
    assert element_memory_luts(ELEMENTS[name]) == TABLES[name]["total"]["lut_memory"]


ARRAYS = {"sat-4x4": "stce-4x4-m8-add3-a1", "sat-8x8": "stce-8x8-m16-add4-a2"}
PADS = [
    (preset, name)
    for preset in ("sat-4x4", "sat-8x8", "sat-32x32")
    for name in scratchpads(AcceleratorConfig.preset(preset))
]


@pytest.mark.parametrize(("preset", "name"), PADS)
def test_block_rams_of_a_scratchpad_by_formula(preset, name):
    pad = scratchpads(AcceleratorConfig.preset(preset))[name]
    assert pad.bram18 == TABLES[f"{name}-{preset}"]["total"]["bram18"]


@pytest.mark.parametrize("preset", synth.PRESETS)
def test_the_complete_accelerator_has_its_units_and_its_memories(preset):
    total = TABLES[f"top-{preset}"]["total"]
    assert (
        total["dsp"]
        == TABLES[ARRAYS[preset]]["total"]["dsp"] + TABLES[f"wuve-{preset}"]["total"]["dsp"]
    )
    assert total["bram18"] == 2 * bram36(AcceleratorConfig.preset(preset))
    assert total["lut_memory"] >= sum(
        TABLES[f"{unit}-{preset}"]["total"]["lut_memory"] for unit in synth.UNITS
    )


def test_the_element_fits_its_budget():
    assert TABLES["pe-m8"]["total"]["lut"] <= 520


def test_the_element_synthesised_again():
    table = synth.synthesise(TARGETS["pe-m8"])
    if table["tool"] != TABLES["pe-m8"]["tool"]:
        pytest.skip(f"the table is by {TABLES['pe-m8']['tool']}, here is {table['tool']}")
    assert table["total"] == TABLES["pe-m8"]["total"]
    assert table["parts"] == TABLES["pe-m8"]["parts"]
