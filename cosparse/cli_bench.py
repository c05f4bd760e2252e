"""The commands `cosparse bench ...`. Imports beyond typer happen inside a command, as in `cosparse.cli`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_common import JsonOption, print_json

bench_app = typer.Typer(
    help="Measure kernels against the best dense library.", no_args_is_help=True
)


@bench_app.command("cpu")
def bench_cpu(
    threads: Annotated[int, typer.Option(min=1, help="Threads for kernels and baselines.")] = 1,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Interleaved samples of each contestant.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", help="Names with wildcards, commas between.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file; by default under results/.")
    ] = None,
    limit_s: Annotated[float | None, typer.Option(min=1, help="Begin no layer after that.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two small layers, few patterns.")] = False,
    json: JsonOption = False,
) -> None:
    """Time CPU kernels and dispatch on layers of known networks against every dense and sparse library."""
    from cosparse.flow import bench_text, cpu_study

    plan = cpu_study.plan(layers, quick=quick, repeats=repeats, limit_s=limit_s)
    document = cpu_study.study(plan, threads, _announce)
    path = out or Path("results") / f"bench-cpu-{threads}t.json"
    bench_text.write(path, document)
    if json:
        print_json(document)
    else:
        print(bench_text.table(document))
        print(bench_text.summary(document))
        print(f"written: {path}")


def _announce(case: dict[str, Any]) -> None:
    """One line a case on standard error, as progress."""
    best = min((row["ratio"] for row in case["rows"]), default=float("nan"))
    typer.echo(f"{case['layer']}, {case['tokens']} tokens: best ratio {best:.3f}", err=True)


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
