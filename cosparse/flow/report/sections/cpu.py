"""The training step's matrix products on CPU kernels, against the best dense library."""

from typing import Any

from ..blocks import Section, Table, Text
from ..figures import grouped_bars, reference_line
from ..format import ratio, seconds_text, times

_INCLUDED = (
    "Included: a linear layer goes from (tokens, in) to (tokens, out), a convolution from images to "
    "images, with im2col and every change of layout, sparse and dense alike; dense contestants named "
    "channels-last take and give images in that layout. Not included: preparing a weight, which both "
    "sides do beforehand, and everything that is not a matrix product. The total with dense wherever "
    "it is faster chooses after the fact, product by product."
)


def cpu_section(document: dict[str, Any]) -> Section | None:
    measured = document["measured"]
    if measured is None:
        return None
    return Section(
        "CPU kernels (measured)",
        (
            Text(_conditions(document)),
            Text(_INCLUDED),
            _speedups(measured["layers"]),
            Table(
                (
                    "Layer",
                    "Phase",
                    "Pattern",
                    "Speedup",
                    "Sparse",
                    "Sparse, range",
                    "Best dense",
                    "Dense, range",
                    "Runs",
                    "Fastest dense",
                ),
                tuple(_row(row) for row in measured["layers"]),
                "Median and range (low to high) of interleaved runs; the speedup is that of the medians. "
                "Without a pattern the product is dense and runs on the best dense library.",
            ),
        ),
    )


def _conditions(document: dict[str, Any]) -> str:
    machine = document["provenance"]["machine"]
    measured = document["measured"]
    pins = ", ".join(f"{k}={v}" for k, v in machine["pins"].items()) or "none"
    return (
        f"{machine['cpu']}, {measured['threads']} thread(s), batch {document['scenario']['batch']}. "
        f"Dense baselines: {'; '.join(measured['baselines'])}. The fastest one counts, product "
        f"by product. Environment pins in force: {pins}. Step total of the matrix products: sparse "
        f"kernels {seconds_text(measured['sparse_s'])}, with dense wherever it is faster "
        f"{seconds_text(measured['dispatched_s'])}, dense {seconds_text(measured['dense_s'])}."
    )


def _speedups(rows: list[dict[str, Any]]) -> Any:
    sparse = [row for row in rows if row["sparse"] is not None]
    names = list(dict.fromkeys(row["name"] for row in sparse))
    series: dict[str, list[float | None]] = {}
    for phase in dict.fromkeys(row["phase"] for row in sparse):
        found = {
            row["name"]: ratio(row["dense"]["value"], row["sparse"]["value"])
            for row in sparse
            if row["phase"] == phase
        }
        series[phase] = [found.get(name) for name in names]
    figure = grouped_bars(
        names,
        series,
        axis="best dense time / sparse time",
        caption="Speedup of the sparse kernels by layer and phase (measured); below 1 dense wins",
    )
    return reference_line(figure, 1.0, "best dense library")


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    sparse, dense = row["sparse"], row["dense"]
    return (
        row["name"],
        row["phase"],
        row["pattern"],
        None if sparse is None else times(ratio(dense["value"], sparse["value"])),
        None if sparse is None else seconds_text(sparse["value"]),
        None if sparse is None else _range(sparse),
        seconds_text(dense["value"]),
        _range(dense),
        dense["spread"]["samples"] if dense["spread"] else 1,
        dense["provenance"]["baseline"],
    )


def _range(measurement: dict[str, Any]) -> str | None:
    spread = measurement["spread"]
    if spread is None:
        return None
    return f"{seconds_text(spread['low'])} to {seconds_text(spread['high'])}"
