"""Accuracy against sparsity, beside what the accelerator makes of it."""

import numpy as np

from cosparse.spec import parse_pattern

from ...sweep.axes import short_name
from ..blocks import Block, Figure, Section, Table, Text
from .points import SweepPoints, VariantRow

DENSE = "dense"


def accuracies_section(points: SweepPoints) -> Section | None:
    trained = [one for one in points.variants.values() if one.metric is not None]
    if not trained:
        return None
    trained.sort(key=lambda one: (one.model, one.method != DENSE, one.method, sparsity(one)))
    text = "Measured by training; few seeds resolve no small difference (`cosparse train --study`)."
    blocks: list[Block] = [Text(text)]
    for metric in dict.fromkeys(one.metric for one in trained):
        of_metric = [one for one in trained if one.metric == metric]
        blocks += [_figure(str(metric), of_metric), _table(str(metric), points, of_metric)]
    return Section("Accuracy against sparsity (measured)", tuple(blocks))


def _figure(metric: str, trained: list[VariantRow]) -> Figure:
    """Without recipes of which a seed diverged."""
    drawn = [one for one in trained if not one.diverged]
    data = tuple(
        {
            "type": "scatter", "mode": "lines+markers" if method != DENSE else "markers", "name": method,
            "x": [sparsity(one) for one in drawn if one.method == method],
            "y": [float(np.mean(one.accuracies)) for one in drawn if one.method == method],
        }
        for method in dict.fromkeys(one.method for one in drawn)
    )  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "sparsity of pruned weights"}},
        "yaxis": {"title": {"text": metric}},
    }
    return Figure(data, layout, "Mean over seeds")


def _table(metric: str, points: SweepPoints, trained: list[VariantRow]) -> Table:
    rows = tuple(
        (
            one.model, one.method, "–" if one.method == DENSE else one.pattern, sparsity(one), _others(one),
            "–" if one.diverged else float(np.mean(one.accuracies)), _spread(one), _seeds(one),
            *_least(points, one),
        )
        for one in trained
    )  # fmt: skip
    columns = ("Model", "Method", "Pattern", "Sparsity", "Other axes", f"{metric}, mean",
               "Range over seeds", "Seeds", "Fastest, ms", "Least energy, J")  # fmt: skip
    return Table(columns, rows)


def _others(variant: VariantRow) -> str:
    """What other axes set."""
    named = ("model", "train.method", "train.pattern")
    others = {path: value for path, value in variant.settings.items() if path not in named}
    return ", ".join(f"{short_name(path)} {value}" for path, value in others.items()) or "–"


def _seeds(variant: VariantRow) -> str:
    """A seed that diverged leaves no mean."""
    count = len(variant.accuracies) + variant.diverged
    return f"{count}, of which {variant.diverged} diverged" if variant.diverged else str(count)


def sparsity(variant: VariantRow) -> float:
    """Part of a pruned weight matrix that is zero."""
    return 0.0 if variant.method == DENSE else 1.0 - parse_pattern(variant.pattern).density


def _spread(variant: VariantRow) -> str:
    if not variant.accuracies:
        return "–"
    return f"{min(variant.accuracies):.4g} to {max(variant.accuracies):.4g}"


def _least(points: SweepPoints, variant: VariantRow) -> tuple[float, float]:
    own = points.variant == variant.id
    return (
        float(points.columns["milliseconds"][own].min()),
        float(points.columns["energy_j"][own].min()),
    )
