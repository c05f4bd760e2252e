"""The CPU kernels as `cosparse bench cpu` measured them and the results are kept; not this run's network."""

from typing import Any

from ...bench_text import DISPATCH_LIMIT, case_rows, kept_results, misses
from ..blocks import Block, Figure, Section, Table, Text
from ..figures import grouped_bars, reference_line

_SHOWN_TOKENS = 128
_COLUMNS = (
    "Layer",
    "Pattern",
    "Sparse / dense",
    "Of roofline",
    "Dispatch / dense",
    "Runs",
    "Best dense",
)
_PICKED = (0, 2, 5, 6, 7, 8, 13)
"""Columns of `case_rows` in the table."""


def cpu_kernels_section(_document: dict[str, Any]) -> Section | None:
    kept = kept_results()
    if not kept:
        return None
    blocks: list[Block] = [
        Text(
            "Kernels of this package on layers of known networks: their time over that of the fastest "
            "dense library in float32; below 1 the sparse kernel is faster. Not of this run, perhaps "
            "not of this machine."
        )
    ]
    for found in kept:
        blocks += [_figure(found), _table(found), Text(_dispatch_text(found))]
    return Section("CPU kernels on known layers (measured)", tuple(blocks))


def _shown(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Linear layers at one number of tokens, and convolutions."""
    return [c for c in document["cases"] if c["kernel"] or c["tokens"] == _SHOWN_TOKENS]


def _figure(document: dict[str, Any]) -> Figure:
    cases = _shown(document)
    patterns = list(dict.fromkeys(row["pattern"] for case in cases for row in case["rows"]))
    ratios = [{row["pattern"]: row["ratio"] for row in case["rows"]} for case in cases]
    figure = grouped_bars(
        [case["layer"] for case in cases],
        {pattern: [found.get(pattern) for found in ratios] for pattern in patterns},
        axis="sparse time / best dense time",
        caption=f"Linear layers at {_SHOWN_TOKENS} tokens and convolutions: measured on {_where(document)}",
    )
    return reference_line(figure, 1.0, "best dense library")


def _table(document: dict[str, Any]) -> Table:
    rows = tuple(
        tuple(row[i] for i in _PICKED)
        for case in _shown(document)
        for row in case_rows(document, case)
    )
    return Table(
        _COLUMNS, rows, f"The same, with what dispatch runs: measured on {_where(document)}"
    )


def _dispatch_text(document: dict[str, Any]) -> str:
    total = sum(len(case["rows"]) for case in document["cases"])
    return (
        f"Dispatch took more than {DISPATCH_LIMIT} times the dense time in {len(misses(document))} of the "
        f"{total} products of all layers and numbers of tokens."
    )


def _where(document: dict[str, Any]) -> str:
    return f"{document['machine']['cpu']}, {document['threads']} thread(s), {document['date'][:10]}"
