"""LOAD, STORE and FILL: whole blocks, odd loops on the DRAM side, and words that a consumer needs."""

from dataclasses import dataclass
from math import prod
from random import Random

from hwsim.accesses import STORE_OF, Store, half_words, word_bytes
from hwsim.constants import DRAM_ALIGNMENT_BYTES as ALIGNMENT
from hwsim.isa import Op, Space

from .contents import PLAIN, Block
from .image import HALVES, INDICES, SINGLES, TABLES, Area
from .writer import Writer

_SPACES: dict[Store, tuple[Space, ...]] = {
    Store.ACT: (Space.ACT,),
    Store.WGT: (Space.WGT,),
    Store.IDX: (Space.IDX,),
    Store.ACC: (Space.ACC, Space.ACC16),
}

_FILL_VALUES: dict[Space, tuple[int, ...]] = {
    Space.ACT: (0x0000, 0x3C00, 0xB800, 0x8000),
    Space.WGT: (0x0000, 0x3800, 0xC000),
    Space.ACC: (0x00000000, 0x3F800000, 0xBE800000, 0x80000000),
}


@dataclass(frozen=True)
class _Rows:
    """Scratchpad side of a transfer: block of whole words, and the DRAM bytes of one row."""

    block: Block
    row_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.block.rows * self.row_bytes


def provide(writer: Writer, block: Block) -> None:
    """Make every word of an interval hold a value: LOAD it, FILL it, or leave what is there."""
    rng = writer.rng
    if writer.contents.written(block) and rng.random() < 0.8:
        return
    if rng.random() < 0.2:
        fill(writer, block)
        return
    load(writer, block)


def provide_indices(writer: Writer, block: Block, m: int) -> None:
    """Make every word of an interval of IDX hold positions below m."""
    if not writer.contents.marked(block, 1 + 1, 1 + m) or writer.rng.random() < 0.1:
        bound = writer.rng.choice([bound for bound in INDICES if bound <= m])
        _load_from(writer, block, Space.IDX, INDICES[bound], 1 + bound)


def provide_table(writer: Writer, block: Block, alignment: int) -> bool:
    """Make an interval of WGT hold segments with that alignment; whether it does."""
    if not _is_table(writer, block, alignment):
        _load_from(writer, block, Space.WGT, TABLES[alignment], 1 + alignment)
    return _is_table(writer, block, alignment)


def _is_table(writer: Writer, block: Block, alignment: int) -> bool:
    return writer.contents.marked(block, 1 + alignment, 1 + alignment)


def fill(writer: Writer, block: Block) -> None:
    """FILL an interval."""
    space = _SPACES[block.store][0]
    value = writer.rng.choice(_FILL_VALUES[space])
    writer.write(
        Op.FILL, {"space": space, "local": block.start, "words": block.span, "value": value}
    )
    writer.contents.write(Block(block.store, block.start, 1, block.span, block.span))


def load(writer: Writer, block: Block) -> None:
    """LOAD an interval of values, now and then from where an earlier STORE wrote."""
    space = writer.rng.choice(_SPACES[block.store])
    crossed = writer.rng.random() < 0.02
    area = SINGLES if (space is Space.ACC) is not crossed else HALVES
    _load_from(writer, block, space, area, PLAIN)


def _load_from(writer: Writer, block: Block, space: Space, area: Area, mark: int) -> None:
    rows = _covering_rows(writer, block, space)
    registers, below, above = _dram_side(writer.rng, rows, area, overlap=True)
    if area in (*INDICES.values(), *TABLES.values()):
        base = _base(writer.rng, area, below, above)
    else:
        base = _base_near(writer, area, below, above)
    _transfer(writer, Op.LOAD, space, rows, registers, base)
    writer.contents.write(rows.block, mark)


def store(writer: Writer, block: Block) -> None:
    """STORE a written block, row for row."""
    space = writer.rng.choice(_SPACES[block.store])
    size = word_bytes(space, writer.config)
    row_bytes = block.words * size // ALIGNMENT * ALIGNMENT
    if not row_bytes:
        return
    words = -(-row_bytes // size)
    rows = _Rows(Block(block.store, block.start, block.rows, block.stride, words), row_bytes)
    area = SINGLES if space is Space.ACC else HALVES
    registers, below, above = _dram_side(writer.rng, rows, area, overlap=False)
    base = _base_near(writer, area, below, above)
    _transfer(writer, Op.STORE, space, rows, registers, base)


def _transfer(
    writer: Writer, op: Op, space: Space, rows: _Rows, registers: dict[str, int], base: int
) -> None:
    args = {"space": space, "local": rows.block.start, "dram": base}
    side = {"row_bytes": rows.row_bytes, "row_words": rows.block.stride}
    writer.write(op, args, {**registers, **side})


def _covering_rows(writer: Writer, block: Block, space: Space) -> _Rows:
    """Rows without gaps that cover the block; they may reach beyond it inside the half."""
    size = word_bytes(space, writer.config)
    half = half_words(STORE_OF[space], writer.config)
    half_stop = (block.start // half + 1) * half
    wish = writer.rng.choice((block.span, writer.rng.randint(1, block.span)))
    for words in (wish, block.span):
        row_bytes = -(-words * size // ALIGNMENT) * ALIGNMENT
        row_bytes -= ALIGNMENT * writer.rng.randint(0, (size - 1) // ALIGNMENT)
        row_words = -(-row_bytes // size)
        count = -(-block.span // row_words)
        start = min(block.start, half_stop - count * row_words)
        if start >= half_stop - half:
            break
    return _Rows(Block(block.store, start, count, row_words, row_words), row_bytes)


def _dram_side(
    rng: Random, rows: _Rows, area: Area, overlap: bool
) -> tuple[dict[str, int], int, int]:
    """Registers of a random loop nest, and its reach below and above its first byte.

    overlap: runs may cover the same bytes (a LOAD).
    """
    total = rows.total_bytes // ALIGNMENT
    counts, run = _factors(rng, total)
    strides, extent = [], run
    for count in counts:
        strides.append(_stride(rng, extent, overlap))
        extent += (count - 1) * abs(strides[-1])
    if extent > area.stop - area.start:
        strides = [run * prod(counts[:level]) for level in range(3)]
    reach = [(count - 1) * stride for count, stride in zip(counts, strides, strict=True)]
    registers = {"run_bytes": run}
    for level in range(3):
        registers |= {f"count{level}": counts[level], f"stride{level}": strides[level]}
    return registers, -sum(min(0, r) for r in reach), sum(max(0, r) for r in reach) + run


def _factors(rng: Random, total: int) -> tuple[list[int], int]:
    """Three loop counts and run_bytes, with total * 16 bytes together; not too many short runs."""
    divisors = [d for d in range(1, total + 1) if total % d == 0 and total // d <= 64]
    run = rng.choice(divisors)
    rest = total // run
    inner = rng.choice([d for d in range(1, rest + 1) if rest % d == 0])
    rest //= inner
    middle = rng.choice([d for d in range(1, rest + 1) if rest % d == 0])
    return [inner, middle, rest // middle], run * ALIGNMENT


def _stride(rng: Random, extent: int, overlap: bool) -> int:
    """Bytes from one iteration to the next, whose inner loops cover `extent` bytes."""
    if overlap and rng.random() < 0.1:
        return ALIGNMENT * rng.randint(-4, 4)
    stride = extent + rng.choice((0, 0, 0, 1, 3, 16)) * ALIGNMENT
    return -stride if rng.random() < 0.2 else stride


def _base(rng: Random, area: Area, below: int, above: int) -> int:
    low, high = area.start + below, area.stop - above
    return ALIGNMENT * rng.randint(-(-low // ALIGNMENT), high // ALIGNMENT)


def _base_near(writer: Writer, area: Area, below: int, above: int) -> int:
    """An address near an earlier transfer of the area, one time in four."""
    base = _base(writer.rng, area, below, above)
    if writer.transfers and writer.rng.random() < 0.25:
        _, _, touched = writer.transfers[-1 - writer.rng.randrange(min(4, len(writer.transfers)))]
        start = next(item.first for item in touched if item.store is Store.DRAM) + below
        if area.start + below <= start <= area.stop - above:
            return start
    return base
