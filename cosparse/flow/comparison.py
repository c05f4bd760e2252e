"""Two runs side by side: what got better, what got worse, and which of it is more than noise."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cosparse.spec import InputError

from .document import dotted
from .report.facts import EXECUTORS, GEMM_PHASES
from .statistics import half_widths

Document = dict[str, Any]
DIVERGED = "diverged seeds"
"""Told where there are some."""


@dataclass(frozen=True)
class Change:
    """One quantity of both runs. kind: measured, counted, simulated, modelled.

    resolved: the difference is more than noise. What a model or a counter gives has none; a
    measured speed needs ranges that do not overlap; an accuracy needs a paired interval (95 %,
    over the seeds that both runs have) without zero, or fewer than two such seeds.
    """

    name: str
    kind: str
    before: float
    after: float
    lower_is_better: bool
    resolved: bool = True

    @property
    def worse(self) -> float:
        """By what part of `before` it got worse: 0.02 is 2 % worse, negative is better."""
        loss = self.after - self.before if self.lower_is_better else self.before - self.after
        if loss == 0:
            return 0.0
        return loss / abs(self.before) if self.before else math.copysign(math.inf, loss)


@dataclass(frozen=True)
class Comparison:
    """Changes in the order of the report; what only one run has; how the scenarios differ."""

    changes: tuple[Change, ...]
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    scenario: tuple[tuple[str, str, str], ...]
    """(key, value of the first, value of the second)."""
    layers: tuple[tuple[str, str, str, int, int], ...]
    """(method, layer, phase, cycles of the first, of the second), where they differ."""

    def regressions(self, allowed: float) -> list[Change]:
        """Resolved changes that are worse by more than `allowed`, a part of the first value."""
        return [c for c in self.changes if c.resolved and c.worse > allowed]

    def to_json(self, allowed: float) -> dict[str, Any]:
        """Plain data, with the names of the regressions."""
        worse = [change.name for change in self.regressions(allowed)]
        return {**asdict(self), "allowed": allowed, "regressions": worse}


def compare(before: Document, after: Document, *, force: bool = False) -> Comparison:
    """Compare two results.json documents.

    Raises InputError where they learned from different data, unless `force`, and where they have no
    quantity in common.
    """
    _check_data(before, after, force)
    first, second = dict(_quantities(before)), dict(_quantities(after))
    changes = [
        change
        for change in (_change(name, first[name], second[name]) for name in first if name in second)
        if not change.name.startswith(DIVERGED) or change.before or change.after
    ]
    if not changes:
        raise InputError(
            "the two runs have no quantity in common: expected a method, backend or network of both"
        )
    return Comparison(
        tuple(changes),
        tuple(name for name in first if name not in second),
        tuple(name for name in second if name not in first),
        tuple(_scenario_changes(before["scenario"], after["scenario"])),
        tuple(_layer_changes(before, after)),
    )


def _check_data(before: Document, after: Document, force: bool) -> None:
    first, second = ((d["data"] or {}).get("sha256") for d in (before, after))
    if first != second and not force:
        raise InputError(
            f"the two runs used different data (sha256 {_short(first)} and {_short(second)}): their "
            "accuracies do not compare; --force compares the rest all the same"
        )


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest[:12]


@dataclass(frozen=True)
class _Quantity:
    """values: by seed; low, high: the range of a measured speed."""

    kind: str
    value: float
    lower_is_better: bool
    values: Mapping[int, float] | None = None
    low: float = math.inf
    high: float = -math.inf


def _change(name: str, before: _Quantity, after: _Quantity) -> Change:
    first, second, resolved = before.value, after.value, True
    if before.values is not None and after.values is not None:
        pairs = [(v, after.values[s]) for s, v in before.values.items() if s in after.values]
        resolved = _resolved([b - a for a, b in pairs])
    elif before.kind == "measured":
        resolved = before.high < after.low or after.high < before.low
    return Change(name, before.kind, first, second, before.lower_is_better, resolved)


def _resolved(differences: list[float]) -> bool:
    width = half_widths({"": differences})[""]
    if width is None:  # one pair, or none: no noise was measured that could excuse the difference
        return True
    return abs(sum(differences) / len(differences)) > width


def _quantities(document: Document) -> Iterator[tuple[str, _Quantity]]:
    yield from _accuracies(document)
    yield from _cpu(document)
    yield from _simulated(document)
    yield from _study(document)
    yield from _counted(document)


def _accuracies(document: Document) -> Iterator[tuple[str, _Quantity]]:
    runs = [] if document["training"] is None else document["training"]["runs"]
    for method in dict.fromkeys(run["method"] for run in runs):
        all_seeds = [run for run in runs if run["method"] == method]
        own = [run for run in all_seeds if run["metric"] is not None]
        yield f"{DIVERGED} of {method}", _less("counted", len(all_seeds) - len(own))
        if own:
            name = own[0]["metric_name"]
            values = {run["seed"]: run["metric"] for run in own}
            yield f"{name} of {method}", _seeded(values, lower_is_better=name != "accuracy")
    trained = document["on_accelerator"] or {"runs": []}
    for executor, words in EXECUTORS.items():
        values = {r["seed"]: r["accuracy"] for r in trained["runs"] if r["executor"] == executor}
        if values:
            yield f"accuracy, trained on the {words}", _seeded(values, lower_is_better=False)


def _seeded(values: Mapping[int, float], *, lower_is_better: bool) -> _Quantity:
    mean = math.fsum(values.values()) / len(values)
    return _Quantity("measured", mean, lower_is_better, values)


def _cpu(document: Document) -> Iterator[tuple[str, _Quantity]]:
    """The speedup, not seconds: both sides of it ran interleaved on one machine."""
    measured = document["measured"]
    if measured is None:
        return
    rows = [row for row in measured["layers"] if row["sparse"] is not None]
    if rows:
        sparse, dense = ([row[side] for row in rows] for side in ("sparse", "dense"))
        yield (
            "speedup of the sparse products on CPU kernels over dense",
            _Quantity(
                "measured",
                _total(dense) / _total(sparse),
                lower_is_better=False,
                low=_total(dense, "low") / _total(sparse, "high"),
                high=_total(dense, "high") / _total(sparse, "low"),
            ),
        )


def _total(rows: list[dict[str, Any]], end: str | None = None) -> float:
    """Seconds of all products: their medians, or the low or high end of every range."""
    return math.fsum(
        row["spread"][end] if end and row["spread"] is not None else row["value"] for row in rows
    )


def _simulated(document: Document) -> Iterator[tuple[str, _Quantity]]:
    simulated = document["simulated"]
    if simulated is None:
        return
    for method, step in simulated["methods"].items():
        kind = "simulated + modelled"
        yield f"cycles of a {method} step", _less(kind, step["cycles"])
        for phase in GEMM_PHASES:
            cycles = step["cycles_by_phase"].get(phase, {}).get("simulated")
            if cycles:
                yield f"cycles of {method}, {phase} products", _less("simulated", cycles)
        yield f"milliseconds of a {method} step", _less(kind, step["milliseconds"])
        yield f"joules of a {method} step", _less("modelled", step["energy"]["joules"])
    for name, amount in simulated["area"]["resources"].items():
        yield f"{name} of the array", _less("modelled", amount["value"])


def _study(document: Document) -> Iterator[tuple[str, _Quantity]]:
    for row in (document["study"] or {"rows": []})["rows"]:
        yield (
            f"speedup of {row['model']} at {row['pattern']} over dense",
            _Quantity("simulated + modelled", row["dense_cycles"] / row["cycles"], False),
        )


def _counted(document: Document) -> Iterator[tuple[str, _Quantity]]:
    if document["storage"]:
        bits = sum(row["packed_bits"] for row in document["storage"])
        yield "bytes of the packed weights", _less("counted", bits // 8)
    rtl = document["rtl"]
    if rtl is not None and not rtl["skipped"]:
        yield "programs that differ from the RTL", _less("counted", rtl["different"])


def _less(kind: str, value: float) -> _Quantity:
    return _Quantity(kind, value, lower_is_better=True)


def _scenario_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, str]]:
    for key in dict.fromkeys((*before, *after)):
        first, second = before.get(key), after.get(key)
        if isinstance(first, dict) and isinstance(second, dict):
            yield from _scenario_changes(first, second, (*path, key))
        elif first != second:
            yield dotted((*path, key)), str(first), str(second)


def _layer_changes(before: Document, after: Document) -> Iterator[tuple[str, str, str, int, int]]:
    first, second = _layer_cycles(before), _layer_cycles(after)
    for key, cycles in first.items():
        if key in second and second[key] != cycles:
            yield *key, cycles, second[key]


def _layer_cycles(document: Document) -> dict[tuple[str, str, str], int]:
    steps = (document["simulated"] or {"methods": {}})["methods"]
    return {
        (method, row["name"], row["phase"]): row["cycles"]
        for method, step in steps.items()
        for row in step["layers"]
        if row["array"]
    }
