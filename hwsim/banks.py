"""The descriptor banks of one unit, as CONFIG writes them."""

from collections.abc import Mapping

from .constants import BANKS
from .isa import REGISTERS, Instruction, Unit, register_value


class Banks:
    """Registers of every bank of `unit`, all zero at the start."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._names = [item.name for item in REGISTERS[unit]]
        self._values = [dict.fromkeys(self._names, 0) for _ in range(BANKS)]

    def write(self, config: Instruction) -> None:
        """Apply a CONFIG of this unit."""
        args = config.args
        bank = self._values[args["bank"]]
        for position, raw in (
            (args["register"], args["value0"]),
            (args["register"] + 1, args["value1"]),
        ):
            if position < len(self._names):
                bank[self._names[position]] = register_value(self._unit, position, raw)

    def read(self, bank: int) -> Mapping[str, int]:
        """Registers by name, a copy."""
        return dict(self._values[bank])
