"""Random MATMULs: both dataflows, every right operand, plain matrices and convolutions."""

from random import Random

from hwsim.accesses import (
    Store,
    ceil_div,
    matmul_entries,
    matmul_rows,
    matmul_tokens,
)
from hwsim.config import AcceleratorConfig
from hwsim.isa import Flow, Lhs, Op

from .contents import Block
from .image import TABLE_STEPS, TABLES
from .placement import place
from .transfers import provide, provide_indices, provide_table
from .writer import Writer

MOST_PRODUCTS = 4_000
"""Multiply-accumulates of an ordinary MATMUL; one in forty may have ten times as many."""

_PACKED = ((1, 8), (2, 4), (2, 8), (2, 16), (1, 4), (4, 8), (1, 2), (3, 4), (1, 1))
_ATTEMPTS = 30


def matmul(writer: Writer) -> list[Block]:
    """Append a MATMUL and what it needs. Returns the result; nothing if it found no place."""
    rng, config = writer.rng, writer.config
    for _ in range(_ATTEMPTS):
        registers, alignment = _shape(rng, config)
        if not _small(rng, registers):
            continue
        blocks = _blocks(writer, registers, alignment)
        if blocks is not None:
            return _write(writer, registers, alignment, blocks)
    return []


def _write(
    writer: Writer, registers: dict[str, int], alignment: int, blocks: dict[str, Block]
) -> list[Block]:
    accumulate = writer.rng.random() < 0.35
    provide(writer, blocks["wgt"])
    if registers["packed"]:
        wgt = blocks["wgt"]
        beside = Block(Store.IDX, wgt.start, wgt.rows, wgt.stride, wgt.words)
        provide_indices(writer, beside, registers["m"])
    if alignment and not provide_table(writer, blocks["table"], alignment):
        return []
    provide(writer, blocks["act"])
    if accumulate:
        provide(writer, blocks["acc"])
    args = {name: block.start for name, block in blocks.items()}
    writer.write(Op.MATMUL, {"table": 0, **args, "accumulate": int(accumulate)}, registers)
    writer.contents.write(blocks["acc"])
    return [blocks["acc"]]


def _shape(
    rng: Random, config: AcceleratorConfig, groups: tuple[tuple[int, int], ...] = _PACKED
) -> tuple[dict[str, int], int]:
    """Registers of a legal MATMUL, and the alignment of its segment table (0: none).

    groups: (n, m) of packed weights; those that do not fit the configuration are left out.
    """
    kind = rng.choice(("dense", "dense", "packed", "packed", "packed", "table", "column"))
    walk = _walk(rng, config) if rng.random() < 0.65 else _matrix(rng, config)
    ws = kind in ("dense", "packed") and rng.random() < 0.5
    registers = {
        **walk,
        **_group(rng, config, groups if kind == "packed" else None),
        **_interleave(rng, config),
        "flow": Flow.WS if ws else Flow.OS,
        "lhs": Lhs.COLUMN if kind == "column" else Lhs.ROW,
        "packed": int(kind == "packed"),
        "use_table": int(kind == "table"),
        "segments": 0,
    }
    registers["channels"] = _channels(rng, config, registers["m"], ws)
    alignment = _table(rng, config, registers) if kind == "table" else 0
    columns = _columns(rng, config, registers["ic"])
    words = ceil_div(columns, config.cols)
    registers |= {
        "columns": columns,
        "wgt_words": words + _sometimes(rng, 0.1),
        "acc_words": words + _sometimes(rng, 0.1),
    }
    return registers | _strides(rng, config, registers, alignment), alignment


def _matrix(rng: Random, config: AcceleratorConfig) -> dict[str, int]:
    """One pixel row, one tap."""
    tokens = rng.randint(1, 2 * config.rows + 3)
    ones = ("images", "out_h", "in_h", "stride_y", "stride_x", "taps_y", "taps_x")
    zeros = ("origin_y", "origin_x", "step_y", "step_x")
    return {"out_w": tokens, "in_w": tokens, **dict.fromkeys(ones, 1), **dict.fromkeys(zeros, 0)}


def _walk(rng: Random, config: AcceleratorConfig) -> dict[str, int]:
    """A convolution, of any stride, padding and dilation, forward or mirrored."""
    registers = {"images": rng.choice((1, 1, 2, 3))}
    for axis, size in (("y", "h"), ("x", "w")):
        taps, step = rng.choice((1, 2, 3, 3)), rng.choice((1, 1, 1, 2, -1, -2))
        padding = rng.randint(0, 2)
        mirrored = (taps - 1) * -step if step < 0 else 0
        registers |= {
            f"in_{size}": rng.randint(1, 6),
            f"out_{size}": rng.randint(1, 4),
            f"stride_{axis}": rng.choice((1, 1, 2, 2, 3)),
            f"origin_{axis}": mirrored - padding,
            f"taps_{axis}": taps,
            f"step_{axis}": step,
        }
    return registers


def _group(
    rng: Random, config: AcceleratorConfig, groups: tuple[tuple[int, int], ...] | None
) -> dict[str, int]:
    """groups: (n, m) of packed weights; None for weights that are not."""
    if groups is not None:
        fits = [(n, m) for n, m in groups if m <= config.group_max and n <= config.n_max]
        n, m = rng.choice(fits)
        return {"n": n, "m": m}
    m = rng.choice([m for m in (1, 2, 4, 8, 16) if m <= config.n_max])
    return {"n": m, "m": m}


def _interleave(rng: Random, config: AcceleratorConfig) -> dict[str, int]:
    ir = rng.randint(1, min(2, config.interleave))
    return {"ir": ir, "ic": rng.randint(1, config.interleave // ir)}


def _channels(rng: Random, config: AcceleratorConfig, m: int, ws: bool) -> int:
    """Often below m or no multiple of anything; in WS now and then enough for several folds."""
    choices = [rng.randint(1, m), rng.randint(1, 2 * config.activation_lanes + 2), 2 * m]
    if ws:
        choices += [rng.randint(1, 3 * config.rows) * m + rng.randint(-1, 1)]
    return max(1, rng.choice(choices))


def _columns(rng: Random, config: AcceleratorConfig, ic: int) -> int:
    tile = ic * config.cols
    return rng.choice((rng.randint(1, config.cols), rng.randint(1, 2 * tile + 1), tile))


def _table(rng: Random, config: AcceleratorConfig, registers: dict[str, int]) -> int:
    """Segments aligned to activation words, or so short that they stay inside one."""
    registers["segments"] = rng.randint(1, 6)
    alignment = rng.choice([each for each in TABLES if each <= config.activation_lanes])
    if alignment < config.activation_lanes:
        registers["channels"] = rng.randint(1, alignment)
    return alignment


def _strides(
    rng: Random, config: AcceleratorConfig, registers: dict[str, int], alignment: int
) -> dict[str, int]:
    """Pixels of whole words, with gaps now and then."""
    reach = (TABLE_STEPS - 1) * alignment if alignment else 0
    pixel = ceil_div(reach + registers["channels"], config.activation_lanes)
    pixel += _sometimes(rng, 0.1)
    row = registers["in_w"] * pixel + _sometimes(rng, 0.1)
    image = registers["in_h"] * row + _sometimes(rng, 0.1)
    return {"pixel_words": pixel, "row_words": row, "image_words": image}


def _sometimes(rng: Random, probability: float) -> int:
    return int(rng.random() < probability)


def _small(rng: Random, registers: dict[str, int]) -> bool:
    limit = MOST_PRODUCTS * (10 if rng.random() < 0.025 else 1)
    depth = matmul_tokens(registers) * matmul_entries(registers)
    if registers["lhs"] == Lhs.COLUMN:
        depth = matmul_rows(registers) * matmul_entries(registers)
    return depth * registers["columns"] <= limit


def _blocks(writer: Writer, registers: dict[str, int], alignment: int) -> dict[str, Block] | None:
    """A place for every operand; None where one does not fit."""
    words = ceil_div(registers["columns"], writer.config.cols)
    box = (
        (registers["images"] - 1) * registers["image_words"]
        + (registers["in_h"] - 1) * registers["row_words"]
        + registers["in_w"] * registers["pixel_words"]
    )
    blocks = {
        "act": place(writer, Store.ACT, 1, box, box),
        "wgt": place(writer, Store.WGT, matmul_entries(registers), registers["wgt_words"], words),
        "acc": place(writer, Store.ACC, matmul_rows(registers), registers["acc_words"], words),
    }
    if alignment:
        size = ceil_div(2 * registers["segments"], writer.config.cols)
        wgt = blocks["wgt"]
        blocks["table"] = None if wgt is None else _beside(writer, wgt, size)
    found = {name: block for name, block in blocks.items() if block is not None}
    return found if len(found) == len(blocks) else None


def _beside(writer: Writer, wgt: Block, size: int) -> Block | None:
    """A place for the table outside the right operand, in any half."""
    for _ in range(8):
        table = place(writer, Store.WGT, 1, size, size)
        if table is not None and (table.stop <= wgt.start or wgt.stop <= table.start):
            return table
    return None
