"""Small programs for the engine's tests, built from the instruction set alone."""

import random

from hwsim.isa import Instruction, Op, Space, Unit, VectorOp, configure
from hwsim.program import Program

TRANSFER = {"run_bytes": 128, "count0": 1, "count1": 1, "count2": 1, "row_bytes": 128}
"""One run of 128 bytes."""

DENSE = {
    "n": 8,
    "m": 8,
    "ic": 2,
    "ir": 1,
    "images": 1,
    "out_h": 1,
    "out_w": 6,
    "in_h": 1,
    "in_w": 6,
    "stride_x": 1,
    "taps_y": 1,
    "taps_x": 1,
    "channels": 12,
    "columns": 11,
}
"""A plain matrix: 6 tokens x 12 channels times 12 x 11."""

PACKED = DENSE | {"packed": 1, "n": 2}
PRUNE = {"n": 2, "m": 8, "rows": 10, "columns": 6, "wgt_words": 2}
VECTOR = {"rows": 3, "words": 2}


def instruction(op, wait=(), signal=(), **args):
    """wait, signal: numbers of semaphores. Fields left out are 0."""
    empty = {
        Op.LOAD: ("bank", "space", "local", "dram"),
        Op.STORE: ("bank", "space", "local", "dram"),
        Op.FILL: ("space", "local", "words", "value"),
        Op.MATMUL: ("bank", "accumulate", "act", "wgt", "acc", "table"),
        Op.PRUNE: ("bank", "act", "wgt"),
        Op.UPDATE: ("bank", "weight", "momentum", "gradient", "act"),
        Op.VECTOR: ("bank", "vector_op", "a", "b", "dst"),
    }[op]
    masks = (sum(1 << number for number in group) for group in (wait, signal))
    return Instruction(op, dict.fromkeys(empty, 0) | args, *masks)


def load(dram=0, **kwargs):
    return instruction(Op.LOAD, space=Space.ACT, dram=dram, **kwargs)


def store(dram=0, **kwargs):
    return instruction(Op.STORE, space=Space.ACT, dram=dram, **kwargs)


def matmul(**kwargs):
    return instruction(Op.MATMUL, **kwargs)


def program(*parts):
    """Each part is an instruction or a (unit, registers) pair, which configures bank 0."""
    listed = []
    for part in parts:
        listed += [part] if isinstance(part, Instruction) else configure(part[0], 0, part[1])
    return Program.assemble(listed, "test")


_BODY = {
    Unit.DMA: lambda rng: rng.choice(
        [
            load(dram=16 * rng.randrange(64)),
            store(dram=16 * rng.randrange(64)),
            instruction(Op.FILL, words=rng.randrange(1, 30)),
        ]
    ),
    Unit.STCE: lambda rng: matmul(accumulate=rng.randrange(2), bank=rng.randrange(2)),
    Unit.SORE: lambda _: instruction(Op.PRUNE),
    Unit.WUVE: lambda rng: rng.choice(
        [instruction(Op.UPDATE), instruction(Op.VECTOR, vector_op=rng.choice(list(VectorOp)))]
    ),
}


def _random_transfer(rng):
    return {
        "run_bytes": 16 * rng.randrange(1, 40),
        "count0": rng.randrange(1, 4),
        "stride0": 16 * rng.randrange(-30, 30),
        "count1": rng.randrange(1, 3),
        "stride1": 16 * rng.randrange(60),
        "count2": 1,
        "row_bytes": 16,
    }


def _random_matmul(rng, flow):
    return PACKED | {
        "flow": flow,
        "ir": rng.randrange(1, 3),
        "out_w": rng.randrange(1, 20),
        "taps_x": rng.randrange(1, 4),
        "channels": rng.randrange(1, 40),
        "columns": rng.randrange(1, 30),
    }


def random_program(seed, length=24):
    """Never blocks when executed in program order: each wait finds a token of an earlier signal.

    Semaphore 4 * a + b carries tokens from unit a to unit b. Its accesses may race; time does not
    depend on them.
    """
    rng = random.Random(seed)
    listed = [
        *configure(Unit.DMA, 0, _random_transfer(rng)),
        *configure(Unit.STCE, 0, _random_matmul(rng, 0)),
        *configure(Unit.STCE, 1, _random_matmul(rng, 1)),
        *configure(Unit.SORE, 0, PRUNE),
        *configure(Unit.WUVE, 0, VECTOR),
    ]
    tokens = dict.fromkeys(range(16), 0)
    for _ in range(length):
        unit = rng.choice(list(Unit))
        wait = [4 * a + unit for a in Unit if tokens[4 * a + unit] and rng.random() < 0.7]
        signal = [4 * unit + b for b in Unit if b != unit and rng.random() < 0.4]
        body = _BODY[unit](rng)
        for number in wait:
            tokens[number] -= 1
        for number in signal:
            tokens[number] += 1
        masks = (sum(1 << number for number in group) for group in (wait, signal))
        listed.append(Instruction(body.op, body.args, *masks))
    return Program.assemble(listed, f"random {seed}")
