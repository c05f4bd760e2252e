"""Accuracy against sparsity, beside what the accelerator makes of it."""

import numpy as np

from cosparse.spec import parse_pattern

from ..blocks import Figure, Section, Table, Text
from .points import SweepPoints, VariantRow

DENSE = "dense"


def accuracies_section(points: SweepPoints) -> Section | None:
    trained = [one for one in points.variants.values() if one.accuracies]
    if not trained:
        return None
    trained.sort(key=lambda one: (one.model, one.method != DENSE, one.method, sparsity(one)))
    metric = trained[0].metric
    rows = tuple(
        (
            one.model, one.method, "–" if one.method == DENSE else one.pattern, sparsity(one),
            float(np.mean(one.accuracies)), _spread(one), len(one.accuracies), *_least(points, one),
        )
        for one in trained
    )  # fmt: skip
    columns = ("Model", "Method", "Pattern", "Sparsity", f"{metric}, mean", "Range over seeds", "Seeds",
               "Fastest, ms", "Least energy, J")  # fmt: skip
    data = tuple(
        {
            "type": "scatter", "mode": "lines+markers" if method != DENSE else "markers", "name": method,
            "x": [sparsity(one) for one in trained if one.method == method],
            "y": [float(np.mean(one.accuracies)) for one in trained if one.method == method],
        }
        for method in dict.fromkeys(one.method for one in trained)
    )  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": "sparsity of pruned weights"}},
        "yaxis": {"title": {"text": str(metric)}},
    }
    text = "Measured by training; few seeds resolve no small difference (`cosparse train --study`)."
    figure = Figure(data, layout, "Mean over seeds")
    return Section(
        "Accuracy against sparsity (measured)", (Text(text), figure, Table(columns, rows))
    )


def sparsity(variant: VariantRow) -> float:
    """Part of a pruned weight matrix that is zero."""
    return 0.0 if variant.method == DENSE else 1.0 - parse_pattern(variant.pattern).density


def _spread(variant: VariantRow) -> str:
    return f"{min(variant.accuracies):.4g} to {max(variant.accuracies):.4g}"


def _least(points: SweepPoints, variant: VariantRow) -> tuple[float, float]:
    own = points.variant == variant.id
    return (
        float(points.columns["milliseconds"][own].min()),
        float(points.columns["energy_j"][own].min()),
    )
