"""Where operands go: halves alternate more often than not, which lets units work at the same time."""

from hwsim.accesses import STORE_OF, Store, half_words, word_bytes
from hwsim.constants import DRAM_ALIGNMENT_BYTES
from hwsim.isa import Space

from .contents import Block
from .writer import Writer


def loadable_words(writer: Writer, store: Store) -> int:
    """Words of a half that transfers, which move multiples of 16 bytes, can write without gaps."""
    narrowest = min(
        word_bytes(space, writer.config) for space in Space if _same_words(STORE_OF[space], store)
    )
    granule = max(1, DRAM_ALIGNMENT_BYTES // narrowest)
    return half_words(store, writer.config) // granule * granule


def _same_words(one: Store, other: Store) -> bool:
    """WGT and IDX have the same addresses."""
    beside = (Store.WGT, Store.IDX)
    return one is other or (one in beside and other in beside)


def place(writer: Writer, store: Store, rows: int, stride: int, words: int) -> Block | None:
    """A random place for a block inside one half; None where no half is large enough."""
    size = half_words(store, writer.config)
    span = (rows - 1) * stride + words
    if span > loadable_words(writer, store):
        return None
    offset = writer.rng.choice((0, 0, size - span, writer.rng.randint(0, size - span)))
    return Block(store, writer.next_half(store) * size + offset, rows, stride, words)


def place_apart(
    writer: Writer, store: Store, count: int, rows: int, stride: int, words: int
) -> list[Block] | None:
    """`count` blocks of one shape without common words, in any halves."""
    size = half_words(store, writer.config)
    span = (rows - 1) * stride + words
    starts = [
        half * size + slot * span
        for half in (0, 1)
        for slot in range(loadable_words(writer, store) // span)
    ]
    if len(starts) < count:
        return None
    return [Block(store, start, rows, stride, words) for start in writer.rng.sample(starts, count)]
