"""By how much each counter jumps ahead in a case of rtl/tb/jump_bench.py."""

from random import Random

from hwsim.host import Counter
from hwsim.isa import Unit

COUNTER_BITS = 48
REGISTERS = {"run_control": ("running_q", "cycles_o", "count_q")}
"""What the bench sees and sets, for `Design`."""


def jumps(number: int) -> list[int]:
    """Of case `number`: cycles first, then the counters of unit 0, 1, ..."""
    rng = Random(f"jumps {number}")
    return [rng.getrandbits(COUNTER_BITS) for _ in range(1 + len(Unit) * len(Counter))]


def jumped(count: int, by: int) -> int:
    return (count + by) % (1 << COUNTER_BITS)
