"""What a weight is replaced by: sizes and choices, readable without torch.

Sizes are shares of min(in, out), so that one choice serves all layers of a network. `refusal` says
why a weight stays dense.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

from cosparse.spec import NM

Shape = tuple[int, ...]
Initialisation = Literal["spectral", "orthonormal"]


@dataclass(frozen=True)
class LowRank:
    """y = U (V x) of rank ratio * min(in, out)."""

    ratio: float = 0.25
    initialisation: Initialisation = "spectral"
    guided: bool = False
    saves_work: bool = False

    def rank(self, shape: Shape) -> int:
        return max(1, round(self.ratio * min(shape[:2])))

    def entries(self, shape: Shape, pattern: NM) -> int:
        return self.rank(shape) * (shape[0] + prod(shape[1:]))

    def refusal(self, shape: Shape, pattern: NM) -> str | None:
        return None


@dataclass(frozen=True)
class BlockDense:
    """y = U (V_b x), V_b of `blocks` diagonal blocks, rank ratio * min(in, out) in all."""

    ratio: float = 1 / 3
    blocks: int = 2
    initialisation: Initialisation = "orthonormal"
    guided: bool = False
    saves_work: bool = False

    def rank(self, shape: Shape) -> int:
        return max(1, round(self.ratio * min(shape[:2]) / self.blocks)) * self.blocks

    def entries(self, shape: Shape, pattern: NM) -> int:
        return self.rank(shape) * (shape[0] + prod(shape[1:]) // self.blocks)

    def refusal(self, shape: Shape, pattern: NM) -> str | None:
        return _indivisible(shape[1:2], self.blocks)


@dataclass(frozen=True)
class BlockShuffle:
    """y = f^-1 (U_b f (V_b x)), inner width min(in, out)."""

    blocks: int = 4
    initialisation: Initialisation = "orthonormal"
    guided: bool = False
    saves_work: bool = False

    def inner(self, shape: Shape) -> int:
        return min(shape[:2])

    def entries(self, shape: Shape, pattern: NM) -> int:
        return self.inner(shape) * (shape[0] + prod(shape[1:])) // self.blocks

    def refusal(self, shape: Shape, pattern: NM) -> str | None:
        width = self.inner(shape) / self.blocks
        if width < self.blocks:
            return f"inner blocks of {width:g} < {self.blocks} channels leave structural zeros"
        return _indivisible(shape[:2], self.blocks)


@dataclass(frozen=True)
class Dictionary:
    """y = S (D x) with ratio * min(in, out) atoms; S has n of every m entries of a row.

    nonzeros: in place of the pattern, exactly so many of all atoms in each row.
    training: factors (straight-through to every coefficient), weight (straight-through to W, whose
    factorisation is renewed every `every` forwards) or fixed (the support of the start).
    """

    ratio: float = 0.5
    nonzeros: int | None = None
    training: Literal["factors", "weight", "fixed"] = "factors"
    alternations: int = 15
    every: int = 1

    def pattern(self, shape: Shape, pattern: NM) -> NM:
        """The pattern of S: the method's own, or s:k."""
        return pattern if self.nonzeros is None else NM(self.nonzeros, self.atoms(shape, pattern))

    def atoms(self, shape: Shape, pattern: NM) -> int:
        group = 1 if self.nonzeros is not None else pattern.m
        return max(1, round(self.ratio * min(shape[:2]) / group)) * group

    def entries(self, shape: Shape, pattern: NM) -> int:
        """Stored values; indices are not counted."""
        atoms = self.atoms(shape, pattern)
        kept = self.nonzeros or atoms // pattern.m * pattern.n
        return atoms * shape[1] + prod(shape) // shape[1] * kept

    def refusal(self, shape: Shape, pattern: NM) -> str | None:
        atoms, rows = self.atoms(shape, pattern), prod(shape) // shape[1]
        if atoms > rows:
            return f"a dictionary of {atoms} atoms for {rows} rows"
        if self.nonzeros is not None and atoms < self.nonzeros:
            return f"{self.nonzeros} nonzeros a row of {atoms} atoms"
        return None


@dataclass(frozen=True)
class LowRankSparse:
    """y = (alpha / r) B (A x) + S x with r = ratio * min(in, out).

    support: random (a share `density` of all positions) or strided (the method's pattern, along the
    inputs and along the outputs).
    """

    ratio: float = 0.25
    alpha: float = 16.0
    support: Literal["random", "strided"] = "random"
    density: float = 0.03

    def rank(self, shape: Shape) -> int:
        return max(1, round(self.ratio * min(shape[:2])))

    def entries(self, shape: Shape, pattern: NM) -> int:
        """Stored values; indices are not counted."""
        share = self.density if self.support == "random" else pattern.density
        return self.rank(shape) * (shape[0] + prod(shape[1:])) + int(share * prod(shape))

    def refusal(self, shape: Shape, pattern: NM) -> str | None:
        odd = [count for count in shape[:2] if count % pattern.m]
        if self.support == "strided" and odd:
            return f"a strided support needs multiples of M = {pattern.m} channels, got {odd[0]}"
        return None


Structure = LowRank | BlockDense | BlockShuffle | Dictionary | LowRankSparse


def why_dense(structure: Structure, shape: Shape, conv_groups: int, pattern: NM) -> str | None:
    """Why a weight (out, in, *taps) is not replaced, or None."""
    if conv_groups > 1:
        return "a grouped convolution has no factorised form here"
    if (refusal := structure.refusal(shape, pattern)) is not None:
        return refusal
    entries = structure.entries(shape, pattern)
    if entries >= prod(shape):
        return f"its factors would have {entries} entries, the weight has {prod(shape)}"
    return None


def _indivisible(channels: Shape, blocks: int) -> str | None:
    odd = [count for count in channels if count % blocks]
    return f"{odd[0]} channels do not divide into {blocks} blocks" if odd else None
