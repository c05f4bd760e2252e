"""Random MATMULs for the STCE alone: scratchpads full of values, expected bits, cycles and stalls.

A case is made from its seed and a configuration only, so that a failing one is made again by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import numpy as np

from hwsim import engine
from hwsim.accesses import Job, Store, ceil_div, half_words, matmul_entries, matmul_rows
from hwsim.config import AcceleratorConfig
from hwsim.config_vector import config_vector
from hwsim.decoded import REGISTER_COLUMN
from hwsim.durations import matmul_cycles
from hwsim.engine.fold import fold_plans
from hwsim.engine.records import Stall
from hwsim.engine.walk import Walk
from hwsim.isa import REGISTERS, Flow, Instruction, Lhs, Op, Unit, configure, encode
from hwsim.machine.scratchpads import Scratchpads
from hwsim.machine.state import State
from hwsim.machine.stce import matmul
from hwsim.program import Program
from tests.programs import products
from tests.programs.image import TABLE_STEPS, TABLE_TAPS

MOST_PRODUCTS = 6_000
MOST_DRAWS = 100_000
_SPECIAL_HALVES = (0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF)
_SPECIAL_SINGLES = (0, 0x80000000, 1, 0x807FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001)

Shape = Callable[[Random, AcceleratorConfig], tuple[dict[str, int], int]]
"""Draws the registers of a MATMUL, and the alignment of its segment table (0: none)."""


@dataclass(frozen=True)
class Contents:
    """special_cases: share of cases with special values; special_share: of these values in such a case.

    few: all other values are 1 and -1.
    """

    special_cases: float = 0.25
    special_share: float = 0.02
    few: bool = False


@dataclass(frozen=True)
class Case:
    """registers: of the bank; pads: before and `expected` (ACC) after; stalls: by reason."""

    seed: int
    registers: dict[str, int]
    instruction: Instruction
    pads: Scratchpads
    expected: Any
    cycles: int
    busy: int
    stalls: dict[str, int]

    @property
    def bank_bits(self) -> int:
        """The descriptor bank as stce_bank_t."""
        word = position = 0
        for item in REGISTERS[Unit.STCE]:
            word |= (self.registers.get(item.name, 0) & ((1 << item.bits) - 1)) << position
            position += item.bits
        return word

    @property
    def instruction_bits(self) -> int:
        return encode(self.instruction)


def random_case(
    seed: int,
    config: AcceleratorConfig,
    shape: Shape = products._shape,
    contents: Contents | None = None,
    **fixed: int,
) -> Case:
    """A case. fixed: registers (and accumulate) with a value of their own.

    shape: what draws the registers; with n and m fixed, of packed weights with these only.
    """
    rng = Random(seed)
    if {"n", "m"} <= set(fixed) and shape is products._shape:
        shape = partial(shape, groups=((fixed["n"], fixed["m"]),))
    for _ in range(MOST_DRAWS):
        registers, alignment = shape(rng, config)
        if _fits(rng, registers) and all(
            registers.get(name, value) == value for name, value in fixed.items()
        ):
            args = _place(rng, config, registers, alignment)
            if args is not None:
                break
    else:
        raise ValueError(f"seed {seed}: no MATMUL of {config.name} has {fixed}")
    args["accumulate"] = fixed.get("accumulate", int(rng.random() < 0.35))
    return make_case(seed, config, registers, args, alignment, contents)


def make_case(
    seed: int,
    config: AcceleratorConfig,
    registers: dict[str, int],
    args: dict[str, int],
    alignment: int = 0,
    contents: Contents | None = None,
) -> Case:
    """The case of given registers and instruction fields; contents come from the seed."""
    generator = np.random.default_rng(seed)
    pads = _contents(generator, config, registers, contents or Contents())
    if registers["use_table"]:
        _write_table(generator, config, registers, args, alignment, pads)
    instruction = Instruction(Op.MATMUL, {"bank": 0, "table": 0, **args})
    before = pads.acc.bits.copy()
    matmul(State(np.zeros(16, np.uint8), pads), Job(instruction, registers, config))
    expected = pads.acc.bits.copy()
    pads.acc.bits[:] = before
    cycles, busy, stalls = times(config, registers, instruction)
    return Case(seed, registers, instruction, pads, expected, cycles, busy, stalls)


def _fits(rng: Random, registers: dict[str, int]) -> bool:
    depth = matmul_entries(registers) * matmul_rows(registers)
    return depth * registers["columns"] <= MOST_PRODUCTS * (8 if rng.random() < 0.03 else 1)


def _place(
    rng: Random, config: AcceleratorConfig, registers: dict[str, int], alignment: int
) -> dict[str, int] | None:
    """Somewhere in a half for every operand; None where one does not fit."""
    words = ceil_div(registers["columns"], config.cols)
    box = (
        (registers["images"] - 1) * registers["image_words"]
        + (registers["in_h"] - 1) * registers["row_words"]
        + registers["in_w"] * registers["pixel_words"]
    )
    spans = {
        "act": (Store.ACT, box),
        "wgt": (Store.WGT, (matmul_entries(registers) - 1) * registers["wgt_words"] + words),
        "acc": (Store.ACC, (matmul_rows(registers) - 1) * registers["acc_words"] + words),
    }
    args = {name: _start(rng, config, store, span) for name, (store, span) in spans.items()}
    if alignment:
        table = ceil_div(2 * registers["segments"], config.cols)
        wgt_start, wgt_span = args["wgt"], spans["wgt"][1]
        for _ in range(20):
            start = _start(rng, config, Store.WGT, table)
            if start is None or wgt_start is None:
                return None
            if start + table <= wgt_start or wgt_start + wgt_span <= start:
                args["table"] = start
                break
        else:
            return None
    return None if None in args.values() else args


def _start(rng: Random, config: AcceleratorConfig, store: Store, span: int) -> int | None:
    half = half_words(store, config)
    if span > half:
        return None
    return rng.randint(0, 1) * half + rng.randint(0, half - span)


def _contents(
    generator: np.random.Generator,
    config: AcceleratorConfig,
    registers: dict[str, int],
    kind: Contents,
) -> Scratchpads:
    """Values everywhere."""
    pads = Scratchpads.unknown(config)
    special = generator.random() < kind.special_cases
    for pad, dtype, specials in (
        (pads.act, np.float16, _SPECIAL_HALVES),
        (pads.wgt, np.float16, _SPECIAL_HALVES),
        (pads.acc, np.float32, _SPECIAL_SINGLES),
    ):
        shape = pad.bits.shape
        values = generator.standard_normal(shape) * np.exp2(generator.integers(-8, 3, shape))
        if kind.few:
            values = np.copysign(1.0, values)
        pad.bits[:] = values.astype(dtype).view(pad.bits.dtype)
        if special:
            places = generator.random(shape) < kind.special_share
            pad.bits[places] = generator.choice(
                np.array(specials, pad.bits.dtype), int(places.sum())
            )
        pad.known[:] = True
    pads.idx.bits[:] = generator.integers(0, registers["m"], pads.idx.bits.shape)
    pads.idx.known[:] = True
    return pads


def _write_table(
    generator: np.random.Generator,
    config: AcceleratorConfig,
    registers: dict[str, int],
    args: dict[str, int],
    alignment: int,
    pads: Scratchpads,
) -> None:
    count = registers["segments"]
    first = alignment * generator.integers(0, TABLE_STEPS, count)
    kx, ky = generator.integers(0, TABLE_TAPS, (2, count))
    entries = (first | kx << 16 | ky << 24).astype(np.uint32)
    lanes = pads.wgt.bits.reshape(-1)
    start = args["table"] * config.cols
    lanes[start : start + 2 * count] = entries.view(np.uint16)


def times(
    config: AcceleratorConfig, registers: dict[str, int], instruction: Instruction
) -> tuple[int, int, dict[str, int]]:
    """Cycles by the contract; busy and stall cycles by the engine, by reason."""
    row = np.zeros(len(REGISTER_COLUMN[Unit.STCE]), np.int64)
    for name, value in registers.items():
        row[REGISTER_COLUMN[Unit.STCE][name]] = value
    cycles = matmul_cycles(config_vector(config), row, instruction.args["accumulate"])
    configs = configure(Unit.STCE, 0, registers)
    program = Program.assemble([*configs, instruction, Instruction(Op.HALT, {})])
    unit = engine.run(program, config).units[Unit.STCE]
    stalls = {
        reason.value: unit.stalls[reason] for reason in (Stall.DATA, Stall.ADDER, Stall.DRAIN)
    }
    return int(cycles), unit.busy - len(configs), stalls


def corners(case: Case, config: AcceleratorConfig) -> set[str]:
    """What a case exercises, by the names of CORNERS."""
    registers = case.registers
    walk = Walk.of(registers, config)
    found = _kinds(registers)
    if case.instruction.args["accumulate"]:
        found.add("accumulate")
    if walk.flow is Flow.WS:
        return found | _fold_corners(walk)
    tail = config.rows + config.cols - 2 + config.mul_latency + config.add_latency
    chain = config.rows * walk.ic * walk.ir
    if case.stalls["drain"] > tail + chain:
        found.add("U < E")
    if max(walk.channels, walk.tokens if walk.column_lhs else 0) > config.chunk:
        found.add("several chunks")
    if walk.tokens % (config.rows * walk.ir):
        found.add("edge tile")
    return found


def _kinds(registers: dict[str, int]) -> set[str]:
    n, m = registers["n"], registers["m"]
    kinds = {
        "OS": registers["flow"] == Flow.OS,
        "WS": registers["flow"] == Flow.WS,
        "dense": not registers["packed"],
        f"{n}:{m}": bool(registers["packed"]),
        "column": registers["lhs"] == Lhs.COLUMN,
        "table": bool(registers["use_table"]),
        "Ir = 2": registers["ir"] == 2,
        "stride": max(registers["stride_y"], registers["stride_x"]) > 1,
        "negative origin": min(registers["origin_y"], registers["origin_x"]) < 0,
        "mirrored": min(registers["step_y"], registers["step_x"]) < 0,
    }
    return {name for name, holds in kinds.items() if holds}


def _fold_corners(walk: Walk) -> set[str]:
    plans = fold_plans(walk)
    kinds = {
        "3 folds": len(walk.folds()) > 2,
        "column tiles of folds": len(plans) > len(walk.folds()) > 1,
        "weights > V": any(p.weight_cycles > p.steps * p.step_cycles for p in plans),
        "D > V": any(p.sum_cycles > p.steps * p.step_cycles for p in plans),
        "feeder-bound": any(p.read_cycles > p.entry_cycles for p in plans),
    }
    return {name for name, holds in kinds.items() if holds}


CORNERS = (
    *(
        "OS",
        "WS",
        "dense",
        "1:8",
        "2:4",
        "2:8",
        "column",
        "table",
        "accumulate",
        "Ir = 2",
        "stride",
    ),
    *("negative origin", "mirrored", "U < E", "several chunks", "edge tile", "3 folds"),
    *("column tiles of folds", "weights > V", "D > V", "feeder-bound"),
)
"""Every run of more than a few hundred cases must meet all of them."""
