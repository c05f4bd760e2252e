"""Instructions that decode but ask for anything: sizes, strides and addresses of all their bits.

What they do is not defined, but for DMA errors; they run until a reset ends them.
"""

from random import Random

import numpy as np
import numpy.typing as npt

from hwsim.config import AcceleratorConfig
from hwsim.isa import (
    FIELDS,
    REGISTERS,
    UNIT_OF,
    Field,
    Instruction,
    Op,
    Space,
    Unit,
    VectorOp,
    configure,
    to_words,
)
from tests.programs import products

OPERATIONS = {unit: [op for op, of in UNIT_OF.items() if of is unit] for unit in Unit}
_ALIGNED = ("dram", "run_bytes", "row_bytes", "stride0", "stride1", "stride2")
_DRAM_ALIGNMENT = 16
_SMALL = {"vector_op": len(VectorOp), "space": len(Space)}

Streams = dict[Unit, npt.NDArray[np.uint64]]


def wild_streams(rng: Random, config: AcceleratorConfig, unit: Unit, count: int = 3) -> Streams:
    """`count` instructions of one unit, each with a descriptor of its own; the others halt at once."""
    streams = {each: to_words([Instruction(Op.HALT)]) for each in Unit}
    instructions = []
    for bank in range(count):
        instructions += configure(unit, bank, _registers(rng, config, unit))
        instructions.append(_instruction(rng, unit, bank))
    streams[unit] = to_words([*instructions, Instruction(Op.HALT)])
    return streams


def _registers(rng: Random, config: AcceleratorConfig, unit: Unit) -> dict[str, int]:
    """Mostly a legal shape where the unit's loops need one, and any share of the rest at random."""
    values = {item.name: _value(rng, item) for item in REGISTERS[unit]}
    if unit is Unit.STCE:
        legal = products._shape(rng, config)[0]
        kept = {name for name in legal if rng.random() < rng.choice((0.3, 0.7, 0.95))}
        if rng.random() < 0.8:
            kept |= {"flow", "lhs", "packed", "use_table", "n", "m", "ic", "ir"}
        values |= {name: legal[name] for name in kept}
    elif unit is Unit.SORE:
        m = rng.choice([m for m in (1, 2, 4, 8, 16) if m <= config.group_max])
        values |= {"m": m, "n": rng.randint(1, min(m, config.n_max))}
    return values


def _instruction(rng: Random, unit: Unit, bank: int) -> Instruction:
    op = rng.choice(OPERATIONS[unit])
    args = {item.name: _value(rng, item) for item in FIELDS[op]}
    if op is Op.FILL:
        args["space"] = rng.choice((Space.ACT, Space.WGT, Space.ACC))
        args["words"] |= 1
        args["value"] &= 0xFFFFFFFF if args["space"] == Space.ACC else 0xFFFF
    return Instruction(op, {**args, "bank": bank} if "bank" in args else args)


def _value(rng: Random, item: Field) -> int:
    """All bits random, or only some of the low ones, or none; an alignment or a choice is kept."""
    if item.name in _SMALL:
        return rng.randrange(_SMALL[item.name])
    bits = rng.choice((item.bits, rng.randint(1, item.bits), rng.randint(0, 2)))
    value = rng.getrandbits(bits) if bits else 0
    if item.name in _ALIGNED and (item.name == "dram" or rng.random() < 0.97):
        value &= -_DRAM_ALIGNMENT
    return value - (1 << item.bits) if value > item.high else value
