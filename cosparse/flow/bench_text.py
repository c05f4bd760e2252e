"""`cosparse bench cpu` on a terminal, its JSON files, and the results that are kept with the package."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import kept_results as kept

DISPATCH_LIMIT = 1.03
"""Dispatch is to take at most so many times the dense time."""
_SHOWN_LIBRARIES = ("torch CSR (MKL)", "SciPy CSR", "torch BSR")
_COLUMNS = (
    "layer", "tokens", "pattern", "sparse us", "dense us", "ratio", "of roofline", "dispatch", "runs",
    "CSR MKL", "CSR SciPy", "BSR torch", "BF16", "best dense",
)  # fmt: skip


def misses(document: Mapping[str, Any]) -> list[tuple[str, int, str, float]]:
    """(layer, tokens, pattern, ratio) wherever dispatch is slower than dense by more than allowed."""
    return [
        (case["layer"], case["tokens"], row["pattern"], row["dispatch_ratio"])
        for case in document["cases"]
        for row in case["rows"]
        if row["dispatch_ratio"] > DISPATCH_LIMIT
    ]


def figure_us(document: Mapping[str, Any], timed: Mapping[str, float]) -> float:
    """The statistic of the run: median or shortest."""
    return timed["median_us"] if document["statistic"] == "median" else timed["low_us"]


def summary(document: Mapping[str, Any]) -> str:
    """Everything after the table: machine, ceilings, rotation, misses of dispatch, growth."""
    return "\n".join([*_machine_lines(document), *_miss_lines(document), *_growth_lines(document)])


def table(document: Mapping[str, Any]) -> str:
    """One line a layer, number of tokens and pattern. Libraries as multiples of the best dense time."""
    rows = [_COLUMNS, *(line for case in document["cases"] for line in case_rows(document, case))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def case_rows(document: Mapping[str, Any], case: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    dense = figure_us(document, case["dense"][case["baseline"]])
    bf16 = [figure_us(document, timed) for timed in case["bf16"].values()]
    for row in case["rows"]:
        libraries = {k: figure_us(document, timed) / dense for k, timed in row["libraries"].items()}
        yield (
            case["layer"],
            str(case["tokens"]),
            row["pattern"],
            f"{figure_us(document, row['sparse']):.0f}",
            f"{dense:.0f}",
            f"{row['ratio']:.3f}",
            "-" if row["of_roofline"] is None else f"{row['of_roofline']:.0%}",
            f"{row['dispatch_ratio']:.3f}",
            row["choice"]["side"],
            *(f"{libraries[n]:.2f}" if n in libraries else "-" for n in _SHOWN_LIBRARIES),
            f"{min(bf16) / dense:.2f}" if bf16 else "-",
            case["baseline"],
        )


def _machine_lines(document: Mapping[str, Any]) -> list[str]:
    machine, openblas = document["machine"], document["openblas"]
    pins = ", ".join(f"{k}={v}" for k, v in machine["pins"].items()) or "none"
    rates = ", ".join(
        f"{name} {'cannot run' if rate is None else f'{rate:.0f}'}"
        for name, rate in openblas["gflop_s_by_core_type"].items()
    )
    lines = [
        "",
        f"{machine['cpu']}, {document['threads']} thread(s), {document['statistic']} of {document['clock']}; "
        f"environment pins: {pins}",
        f"OpenBLAS by core type, GFLOP/s: {rates}; best: {openblas['best']}",
    ]
    if (ceilings := document["ceilings"]) is not None:
        read = ", ".join(f"{mib} MiB {rate:.0f}" for mib, rate in ceilings["read_gb_s"].items())
        lines.append(
            f"ceilings: {ceilings['gflop_s']:.0f} GFLOP/s ({ceilings['isa']}); "
            f"GB/s read by working set: {read}"
        )
    rotated = [case["rotated_mib"] for case in document["cases"] if case["rotated_mib"]]
    if rotated:
        lines.append(
            f"one token: weights rotate over {min(rotated):.0f} MiB and more in all; last-level cache "
            f"{document['last_level_cache_mib']:.0f} MiB"
        )
    if (scaling := document["scaling"]) is not None:
        verdict = "judged" if scaling["judged"] else "not judged: other work shared the cores"
        times = f"{scaling['torch_linear']:.2f}x"
        lines.append(f"torch linear on {document['threads']} threads: {times}, {verdict}")
    return lines


def _miss_lines(document: Mapping[str, Any]) -> list[str]:
    left_out = ", ".join(document["left_out"])
    told = [f"not timed, the limit had passed: {left_out}"] if left_out else []
    found = misses(document)
    total = sum(len(case["rows"]) for case in document["cases"])
    lines = [
        f"dispatch is slower than {DISPATCH_LIMIT} of dense in {len(found)} of {total} products"
    ]
    return (
        told
        + lines
        + [
            f"  {layer}, {tokens} tokens, {pattern}: {ratio:.3f}"
            for layer, tokens, pattern, ratio in found
        ]
    )


def _growth_lines(document: Mapping[str, Any]) -> list[str]:
    growth = document["growth"]
    return [
        f"cost over {axis}, {growth['layer']}: {line['base_us']:.0f} us + {line['us_a_mmac']:.2f} us "
        f"a million multiply-accumulates, at most {line['worst_deviation']:.0%} off that line"
        for axis in ("tokens", "nonzeros")
        if (line := growth[axis])["points"]
    ]


# --- files


def write(path: Path, document: Mapping[str, Any]) -> None:
    """As JSON, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def kept_results() -> list[dict[str, Any]]:
    """The documents of benchmarks/results/cpu-*.json. Raises CorruptFileError for a damaged one."""
    return kept.kept_results("cpu", "cases", "`cosparse bench cpu`")
