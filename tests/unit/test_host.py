"""The host's registers: one table, in the code and in the contract."""

import re
from pathlib import Path

import pytest

from hwsim.host import COUNTERS_OFFSET, REGISTERS, Counter, Error, counter_offset
from hwsim.isa import Unit

PAGE = (Path(__file__).parents[2] / "docs" / "microarchitecture.md").read_text(encoding="utf-8")


def test_the_contract_lists_every_register():
    rows = re.findall(r"^\| (0x[0-9a-f]+) \| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert [(int(offset, 16), name, meaning) for offset, name, meaning in rows] == [
        (item.offset, name, item.meaning) for name, item in REGISTERS.items()
    ]


def test_the_contract_lists_every_error():
    rows = re.findall(r"^\| (\d) \| ([A-Z]+) \| ", PAGE, re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [
        (error.value, error.name) for error in Error if error is not Error.NONE
    ]


@pytest.mark.parametrize("unit", Unit)
def test_registers_and_counters_do_not_overlap(unit):
    offsets = [counter_offset(unit, counter) for counter in Counter]
    others = [counter_offset(other, c) for other in Unit if other is not unit for c in Counter]
    assert len({*offsets, *others}) == len(offsets) + len(others)
    assert max(item.offset for item in REGISTERS.values()) + 8 <= COUNTERS_OFFSET
