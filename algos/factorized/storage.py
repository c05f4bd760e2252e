"""Bits that a weight's factors take, values in FP16; what "equal storage" means in a comparison."""

from math import ceil, log2

from cosparse.spec import NM

VALUE_BITS = 16


def dictionary_bits(rows: int, columns: int, atoms: int, pattern: NM) -> int:
    """W ~ S D: the dictionary, and value and index of every kept coefficient."""
    kept = rows * atoms // pattern.m * pattern.n
    return VALUE_BITS * atoms * columns + kept * (VALUE_BITS + index_bits(pattern))


def low_rank_bits(rows: int, columns: int, rank: int) -> int:
    """W ~ U V."""
    return VALUE_BITS * rank * (rows + columns)


def rank_of_bits(rows: int, columns: int, bits: int) -> int:
    """The largest rank whose two factors take at most so many bits."""
    return min(bits // low_rank_bits(rows, columns, 1), rows, columns)


def index_bits(pattern: NM) -> int:
    """Bits of a position inside a group."""
    return ceil(log2(pattern.m))
