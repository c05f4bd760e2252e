"""Exact cycles of a program, by recurrence over its instructions: docs/microarchitecture.md, "Programs".

A legal program finds every token when it is executed in program order, and the tokens of a semaphore
are made in that order. So one pass gives all times, each from those before it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cosparse.spec.errors import ProgramError

from .bursts import BURSTS, BUSY, BYTES, channel_size, reset_channel, transfer
from .config import AcceleratorConfig
from .config_vector import Vector, config_vector
from .constants import (
    CONFIG_CYCLES,
    DMA_START_CYCLES,
    FETCH_CYCLES,
    HALT_CYCLES,
    SEMAPHORE_CYCLES,
    SEMAPHORE_MAX,
    SEMAPHORES,
)
from .decoded import FIELD_COLUMN, REGISTER_COLUMN, Decoded, decode_program
from .durations import matmul_cycles, prune_cycles, update_cycles, vector_cycles
from .isa import Op, Unit, bits_of
from .jit import compiled, inlined
from .program import Program

Table = npt.NDArray[np.int64]

_UNITS = len(Unit)
_LOAD, _STORE = int(Op.LOAD), int(Op.STORE)
_FILL, _MATMUL, _PRUNE = int(Op.FILL), int(Op.MATMUL), int(Op.PRUNE)
_UPDATE, _VECTOR = int(Op.UPDATE), int(Op.VECTOR)

_RUNS = REGISTER_COLUMN[Unit.DMA]
_RUN_BYTES = _RUNS["run_bytes"]
_COUNT0, _COUNT1, _COUNT2 = (_RUNS[f"count{level}"] for level in range(3))
_STRIDE0, _STRIDE1, _STRIDE2 = (_RUNS[f"stride{level}"] for level in range(3))
_DRAM = FIELD_COLUMN[Op.LOAD]["dram"]
_WORDS = FIELD_COLUMN[Op.FILL]["words"]
_ACCUMULATE = FIELD_COLUMN[Op.MATMUL]["accumulate"]
_OPERATION = FIELD_COLUMN[Op.VECTOR]["vector_op"]


@dataclass(frozen=True, eq=False)
class Timeline:
    """issue, free, completion: (instructions,) cycles in program order; of HALT those of the last unit.

    halts: (units,) issue of every unit's HALT. bytes, bursts: moved over the DRAM channel;
    busy_cycles: cycles in which they occupied it.
    """

    issue: Table
    free: Table
    completion: Table
    halts: Table
    bytes: int
    bursts: int
    busy_cycles: int

    @property
    def cycles(self) -> int:
        """From the start until the machine reports done."""
        return int(self.halts.max()) + HALT_CYCLES


class Instructions(NamedTuple):
    """(instructions,) each, as in `Decoded`."""

    unit: Table
    op: Table
    wait: Table
    signal: Table
    row: Table


class Rows(NamedTuple):
    """`Decoded.rows` by opcode."""

    load: Table
    store: Table
    fill: Table
    matmul: Table
    prune: Table
    update: Table
    vector: Table


class Tokens(NamedTuple):
    """Unconsumed tokens of each semaphore, oldest first, as rings of SEMAPHORE_MAX.

    cycles: (semaphores, SEMAPHORE_MAX) when the token may be consumed; first, held: (semaphores,).
    """

    cycles: Table
    first: Table
    held: Table


class Units(NamedTuple):
    """(units,) each. executed: instructions so far; free; drained: completion of all transfers."""

    executed: Table
    free: Table
    drained: Table


def cycles(program: Program, config: AcceleratorConfig) -> int:
    """Cycles of the whole program. Raises as `timeline` does."""
    return timeline(program, config).cycles


def timeline(program: Program, config: AcceleratorConfig) -> Timeline:
    """When every instruction issues, leaves its unit free and completes.

    Raises InputError for an illegal encoding, and ProgramError where program order finds no token or
    a full semaphore. Otherwise the program is taken to be legal.
    """
    decoded = decode_program(program)
    vector = config_vector(config)
    times = np.zeros((3, len(decoded.op)), np.int64)
    halts = np.zeros(len(Unit), np.int64)
    channel = np.empty(channel_size(vector), np.int64)
    reset_channel(channel, vector)
    instructions = Instructions(decoded.unit, decoded.op, decoded.wait, decoded.signal, decoded.row)
    rows = Rows(**{op.name.lower(): table for op, table in decoded.rows.items()})
    executed, tokens = _execute(vector, instructions, rows, channel, times, halts)
    if executed < len(program):
        raise ProgramError(_blocked(program, decoded, executed, tokens))
    moved, bursts, busy = (int(channel[counter]) for counter in (BYTES, BURSTS, BUSY))
    return Timeline(times[0], times[1], times[2], halts, moved, bursts, busy)


def _blocked(program: Program, decoded: Decoded, index: int, tokens: Tokens) -> str:
    """Why an instruction cannot be executed in program order."""
    where = f"{program.name}: instruction {index} ({Op(int(decoded.op[index])).name})"
    waits = bits_of(int(decoded.wait[index]))
    missing = [str(bit) for bit in waits if tokens.held[bit] == 0]
    if missing:
        return (
            f"{where}: deadlock, waits for semaphores {', '.join(missing)}: "
            "expected a token from an instruction before it"
        )
    signals = bits_of(int(decoded.signal[index]))
    full = [str(bit) for bit in signals if tokens.held[bit] - (bit in waits) == SEMAPHORE_MAX]
    return (
        f"{where}: signals semaphores {', '.join(full)}: "
        f"expected at most {SEMAPHORE_MAX} tokens, got {SEMAPHORE_MAX + 1}"
    )


@compiled
def _execute(
    config: Vector,
    instructions: Instructions,
    rows: Rows,
    channel: Vector,
    times: Table,
    halts: Table,
) -> tuple[int, Tokens]:
    """Execute in program order. Writes channel, times and halts.

    Returns the number of instructions executed, and the tokens as the next one finds them.
    """
    units, tokens = _start()
    last = len(instructions.op) - 1
    for index in range(last):
        if not _executable(tokens, instructions.wait[index], instructions.signal[index]):
            return index, tokens
        unit, op = instructions.unit[index], instructions.op[index]
        issue = _ready(units, unit, op == _FILL)
        issue = max(issue, _consume(tokens, instructions.wait[index]))
        free, completion = _finish(config, op, instructions.row[index], rows, channel, issue)
        units.executed[unit] += 1
        units.free[unit] = free
        units.drained[unit] = max(units.drained[unit], completion)
        _signal(tokens, instructions.signal[index], completion + SEMAPHORE_CYCLES)
        times[0, index], times[1, index], times[2, index] = issue, free, completion
    for unit in range(len(halts)):
        halts[unit] = _ready(units, unit, True)
    times[:, last] = halts.max()
    return last + 1, tokens


@compiled
def _start() -> tuple[Units, Tokens]:
    units = Units(
        np.zeros(_UNITS, np.int64), np.zeros(_UNITS, np.int64), np.zeros(_UNITS, np.int64)
    )
    tokens = Tokens(
        np.zeros((SEMAPHORES, SEMAPHORE_MAX), np.int64),
        np.zeros(SEMAPHORES, np.int64),
        np.zeros(SEMAPHORES, np.int64),
    )
    return units, tokens


@inlined
def _ready(units: Units, unit: int, drain: bool) -> int:
    """Issue of the unit's next instruction, semaphores apart. drain: it waits for the transfers."""
    cycle: int = max(FETCH_CYCLES + units.executed[unit], units.free[unit])
    return max(cycle, units.drained[unit]) if drain else cycle


@inlined
def _executable(tokens: Tokens, wait: int, signal: int) -> bool:
    """Whether there is a token to consume, and room for one to signal."""
    for semaphore in range(SEMAPHORES if wait | signal else 0):
        held = tokens.held[semaphore]
        if wait >> semaphore & 1:
            if held == 0:
                return False
            held -= 1
        if signal >> semaphore & 1 and held == SEMAPHORE_MAX:
            return False
    return True


@inlined
def _consume(tokens: Tokens, wait: int) -> int:
    """Take the oldest token of every semaphore in `wait`; the cycle of the latest of them, or 0."""
    cycle = 0
    for semaphore in range(SEMAPHORES if wait else 0):
        if wait >> semaphore & 1:
            first = tokens.first[semaphore]
            cycle = max(cycle, tokens.cycles[semaphore, first])
            tokens.first[semaphore] = (first + 1) % SEMAPHORE_MAX
            tokens.held[semaphore] -= 1
    return cycle


@inlined
def _signal(tokens: Tokens, signal: int, cycle: int) -> None:
    """Add a token to every semaphore in `signal`."""
    for semaphore in range(SEMAPHORES if signal else 0):
        if signal >> semaphore & 1:
            place = (tokens.first[semaphore] + tokens.held[semaphore]) % SEMAPHORE_MAX
            tokens.cycles[semaphore, place] = cycle
            tokens.held[semaphore] += 1


@inlined
def _finish(
    config: Vector, op: int, row: int, rows: Rows, channel: Vector, issue: int
) -> tuple[int, int]:
    """(free, completion) of an instruction issued at `issue`; row: in the table of its opcode."""
    if op == _LOAD:
        return _transfer(channel, issue, rows.load[row])
    if op == _STORE:
        return _transfer(channel, issue, rows.store[row])
    end = issue + _duration(config, op, row, rows)
    return end, end


@inlined
def _duration(config: Vector, op: int, row: int, rows: Rows) -> int:
    """Cycles of an instruction that keeps its unit until it completes."""
    if op == _MATMUL:
        return matmul_cycles(config, rows.matmul[row], rows.matmul[row, _ACCUMULATE])
    if op == _PRUNE:
        return prune_cycles(config, rows.prune[row])
    if op == _UPDATE:
        return update_cycles(config, rows.update[row])
    if op == _VECTOR:
        return vector_cycles(config, rows.vector[row], rows.vector[row, _OPERATION])
    if op == _FILL:
        return DMA_START_CYCLES + int(rows.fill[row, _WORDS])
    return CONFIG_CYCLES


@inlined
def _transfer(channel: Vector, issue: int, row: Vector) -> tuple[int, int]:
    return transfer(
        channel,
        issue,
        row[_DRAM],
        row[_RUN_BYTES],
        row[_COUNT0],
        row[_STRIDE0],
        row[_COUNT1],
        row[_STRIDE1],
        row[_COUNT2],
        row[_STRIDE2],
    )
