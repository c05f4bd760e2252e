"""The commands `cosparse bench ...`. Imports beyond typer happen inside a command, as in `cosparse.cli`."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

bench_app = typer.Typer(
    help="Measure kernels against the best dense library.", no_args_is_help=True
)
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@bench_app.command("cpu")
def bench_cpu(
    threads: Annotated[int, typer.Option(min=1, help="Threads for kernels and baselines.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved runs of each kernel.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Two small layers only.")] = False,
    json: JsonOption = False,
) -> None:
    """Time CPU kernels on layers of known networks against torch and OpenBLAS."""
    from cosparse.flow import bench_cpu as bench

    shapes = bench.QUICK_SHAPES if quick else None
    measurements = bench.bench_cpu(shapes=shapes, threads=threads, repeats=repeats)
    if json:
        print_json([measurement.to_json() for measurement in measurements])
    else:
        print(bench.format_table(measurements))


@bench_app.command("gpu")
def bench_gpu(
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file of the measurements.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One layer at a few token counts.")
    ] = False,
    limit_s: Annotated[float, typer.Option(min=1, help="Begin no measurement after that.")] = 220.0,
    json: JsonOption = False,
) -> None:
    """Time GPU kernels against cuBLAS; without a GPU, show what was measured elsewhere and bounds."""
    from cosparse.flow import bench_gpu as bench

    if bench.has_gpu():
        bench.measure(out, quick=quick, limit_s=limit_s)
    elif json:
        print_json({"measured": bench.kept_results(), "modelled": bench.bounds_json()})
    else:
        print(bench.text_without_gpu())


def print_json(value: Any) -> None:
    """As every command with --json does."""
    print(jsonlib.dumps(value, indent=1, sort_keys=True))
