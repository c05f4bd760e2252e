"""W ~ S D with few nonzeros in every row of S, by orthogonal matching pursuit and least squares.

    S <- for each row w: pick the atom most correlated with the residual among those that the pattern
         still allows, refit w on the picked atoms by least squares, until the pattern is full
    D <- argmin |W - S D|   (ridge)
    an atom that no row picked becomes a row of W that is fitted worst

Alternated; the best pair that was seen is kept. With a pattern s:k over all k atoms this is plain
matching pursuit with s nonzeros; with a smaller m, every m consecutive atoms give n of them. Method:
Pati et al., Asilomar 1993 (pursuit), Engan et al., ICASSP 1999 (alternation).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from cosparse.spec import NM, PatternError

RIDGE = 1e-10
"""Share of an atom's mean energy added to the diagonal, so that equal atoms can be solved for."""

RUNNER_UP = 0.9
"""Below 1 by more than the selection's rounding."""


@dataclass(frozen=True)
class Factors:
    """coefficients: S (rows, atoms), zero off `support`; dictionary: D (atoms, columns)."""

    coefficients: Tensor
    support: Tensor
    dictionary: Tensor

    @property
    def product(self) -> Tensor:
        return self.coefficients @ self.dictionary


def factorize(
    weight: Tensor,
    atoms: int,
    pattern: NM,
    *,
    alternations: int = 15,
    generator: torch.Generator | None = None,
) -> Factors:
    """weight: (rows, columns). The dictionary starts from rows drawn with `generator`.

    Computed in float64, returned in the weight's dtype. Raises PatternError for more atoms than rows
    and for a pattern that does not divide the atoms.
    """
    rows = weight.shape[0]
    _check(rows, atoms, pattern)
    wide = weight.detach().double()
    chosen = torch.randperm(rows, generator=generator)[:atoms].to(weight.device)
    best = _alternate(wide, wide[chosen], pattern)
    current, least = best, _error(wide, best)
    for _ in range(alternations - 1):
        current = _alternate(wide, current.dictionary, pattern)
        if (error := _error(wide, current)) < least:
            best, least = current, error
    return _cast(best, weight.dtype)


def refresh(weight: Tensor, dictionary: Tensor, pattern: NM) -> Factors:
    """One alternation that starts from `dictionary`, for a weight that has moved a little."""
    found = _alternate(weight.detach().double(), dictionary.double(), pattern)
    return _cast(found, weight.dtype)


def with_runners_up(weight: Tensor, factors: Factors, pattern: NM) -> Tensor:
    """Coefficients, where a dropped atom has what it would get alone on the row's residual.

    That is at most RUNNER_UP of the smallest kept coefficient of its group, so that selection keeps the
    support; without it a dropped coefficient starts at zero, far from those that it has to overtake.
    """
    wide, dictionary = weight.detach().double(), factors.dictionary.double()
    kept = factors.coefficients.double()
    energy = dictionary.square().sum(1).clamp(min=torch.finfo(dictionary.dtype).tiny)
    alone = (wide - kept @ dictionary) @ dictionary.T / energy
    grouped = kept.abs().masked_fill(~factors.support, torch.inf).unflatten(1, (-1, pattern.m))
    least = RUNNER_UP * grouped.amin(2).repeat_interleave(pattern.m, 1)
    dense = torch.where(factors.support, kept, alone.clamp(-least, least))
    return dense.to(weight.dtype)


def relative_error(weight: Tensor, approximation: Tensor) -> float:
    """|W - A| / |W| in the Frobenius norm."""
    return float((weight - approximation).norm() / weight.norm())


def pursue(weight: Tensor, dictionary: Tensor, pattern: NM) -> tuple[Tensor, Tensor]:
    """Sparse coefficients of every row of `weight`, and their support, both (rows, atoms).

    Every m consecutive atoms give exactly n positions of the support.
    """
    atoms, rows = dictionary.shape[0], weight.shape[0]
    gram = dictionary @ dictionary.T
    correlation = weight @ dictionary.T
    norms = gram.diagonal().clamp(min=torch.finfo(gram.dtype).tiny).sqrt()
    ridge = RIDGE * float(gram.diagonal().mean())
    picked = torch.empty((rows, 0), dtype=torch.long, device=weight.device)
    coefficients = torch.zeros_like(correlation)
    support = torch.zeros_like(correlation, dtype=torch.bool)
    for _ in range(atoms // pattern.m * pattern.n):
        match = ((correlation - coefficients @ gram) / norms).abs()
        best = match.masked_fill(~_allowed(support, pattern), -1.0).argmax(1, keepdim=True)
        picked = torch.cat([picked, best], 1)
        support = support.scatter(1, best, True)
        solved = _refit(gram, correlation, picked, ridge)
        coefficients = torch.zeros_like(correlation).scatter(1, picked, solved)
    return coefficients, support


def _allowed(support: Tensor, pattern: NM) -> Tensor:
    """Atoms that a row may still pick: not picked yet, in a group that is not full."""
    full: Tensor = support.unflatten(1, (-1, pattern.m)).sum(2) >= pattern.n
    return ~(support | full.repeat_interleave(pattern.m, 1))


def _refit(gram: Tensor, correlation: Tensor, picked: Tensor, ridge: float) -> Tensor:
    """Least squares of every row on its picked atoms, by the normal equations."""
    normal = gram[picked.unsqueeze(2), picked.unsqueeze(1)]
    eye = torch.eye(picked.shape[1], dtype=gram.dtype, device=gram.device)
    solved: Tensor = torch.linalg.solve(normal + ridge * eye, correlation.gather(1, picked))
    return solved


def _alternate(weight: Tensor, dictionary: Tensor, pattern: NM) -> Factors:
    coefficients, support = pursue(weight, dictionary, pattern)
    fitted = _fit_dictionary(weight, coefficients)
    residual = weight - coefficients @ fitted
    return Factors(coefficients, support, _revive(weight, residual, coefficients, fitted))


def _fit_dictionary(weight: Tensor, coefficients: Tensor) -> Tensor:
    normal = coefficients.T @ coefficients
    ridge = max(RIDGE * float(normal.diagonal().mean()), torch.finfo(normal.dtype).tiny)
    eye = torch.eye(len(normal), dtype=normal.dtype, device=normal.device)
    fitted: Tensor = torch.linalg.solve(normal + ridge * eye, coefficients.T @ weight)
    return fitted


def _revive(weight: Tensor, residual: Tensor, coefficients: Tensor, dictionary: Tensor) -> Tensor:
    """Atoms whose coefficients are all zero become the worst-fitted rows; the product stays."""
    dead = (coefficients == 0).all(0).nonzero().squeeze(1)
    worst = residual.norm(dim=1).argsort(descending=True, stable=True)[: len(dead)]
    revived = dictionary.clone()
    revived[dead[: len(worst)]] = weight[worst]
    return revived


def _error(weight: Tensor, factors: Factors) -> float:
    return float((weight - factors.product).norm())


def _cast(factors: Factors, dtype: torch.dtype) -> Factors:
    return Factors(factors.coefficients.to(dtype), factors.support, factors.dictionary.to(dtype))


def _check(rows: int, atoms: int, pattern: NM) -> None:
    if not 1 <= atoms <= rows:
        raise PatternError(f"dictionary: expected 1 to {rows} atoms (one a row), got {atoms}")
    if atoms % pattern.m:
        raise PatternError(
            f"dictionary: expected a multiple of M = {pattern.m} atoms for {pattern}, got {atoms}"
        )
