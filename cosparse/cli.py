"""The `cosparse` command. Every import beyond typer happens inside a command: --help answers at once."""

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosparse.cli_bench import bench_app
from cosparse.cli_common import JsonOption, OutOption, TrustOption, print_json, reporter
from cosparse.cli_train import train

if TYPE_CHECKING:
    from cosparse.flow.run import Results

app = typer.Typer(
    name="cosparse",
    help="Co-design of sparse neural-network training: train, lower, simulate, measure, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(bench_app, name="bench")
app.command()(train)

ScenarioArgument = Annotated[
    str, typer.Argument(help="A shipped scenario (`cosparse list`) or a YAML file.")
]


@app.command()
def run(
    scenario: ScenarioArgument,
    out: OutOption = None,
    trust: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Run a scenario from training to report."""
    from cosparse.flow.scenario import load_scenario

    checked = load_scenario(scenario)  # a mistake in it is told before torch is loaded
    from cosparse.flow.run import run as run_scenario

    results = run_scenario(checked, out=out, trust=trust, reporter=reporter(json))
    if json:
        print_json(results.document)
    else:
        _print_summary(results)


@app.command()
def check(scenario: ScenarioArgument, json: JsonOption = False) -> None:
    """Check a scenario and show it with every default filled in. Executes no code of yours."""
    from cosparse.flow.scenario import load_scenario

    checked = load_scenario(scenario)
    if json:
        print_json({"scenario": checked.resolved(), "hash": checked.content_hash()})
        return
    print(jsonlib.dumps(checked.resolved(), indent=2))
    print(f"\n{checked.name}: valid (hash {checked.content_hash()[:8]})")
    if checked.requires_trust:
        print(
            f"It names code of yours ({checked.model.name}); not executed here, `run` needs --trust."
        )


@app.command()
def simulate(
    target: Annotated[
        str,
        typer.Argument(help="A scenario, or a file: workload .json, SCALE-Sim .csv, ONNX .onnx."),
    ],
    accelerator: Annotated[
        str | None, typer.Option(help="Preset that replaces the scenario's accelerator.")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Derive BP, WU and the update of a .csv or .onnx.")
    ] = False,
    pattern: Annotated[
        str | None, typer.Option(help="Pattern of a .csv's or .onnx's weights, such as 2:8.")
    ] = None,
    ends: Annotated[
        bool, typer.Option("--ends", help="With --pattern: prune stem and classifier too.")
    ] = False,
    disassemble: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER:PHASE", help="Print the program of one product, such as fc:FF."
        ),
    ] = None,
    timeline: Annotated[
        str | None,
        typer.Option(metavar="LAYER:PHASE", help="Run one product on the engine, write its trace."),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Chrome trace of --timeline, for ui.perfetto.dev.")
    ] = Path("timeline.json"),
    trust: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Price a training step on the accelerator, without training."""
    from cosparse.flow import console, simulation
    from cosparse.flow.imported import READERS, import_options, refuse_options

    options = import_options(training=training, pattern=pattern, ends=ends)
    is_file = Path(target).suffix.lower() in READERS
    if not is_file:
        refuse_options(target, options)
    if disassemble or timeline:
        if is_file:
            steps, config = simulation.workload_steps(Path(target), accelerator, options)
        else:
            steps, config = simulation.scenario_steps(target, accelerator, trust=trust)
        _print_programs(next(iter(steps.values())), config, disassemble, timeline, out)
        return
    if is_file:
        section = simulation.simulate_workload(Path(target), accelerator, options)
    else:
        section = simulation.simulate_scenario(target, accelerator, trust=trust)
    if json:
        print_json(section)
    else:
        console.print_simulation(section)


def _print_programs(
    step: Any, config: Any, disassemble: str | None, timeline: str | None, out: Path
) -> None:
    from cosparse.flow.programs import product_program, text_of, write_timeline

    if disassemble:
        for line in text_of(product_program(step, config, disassemble)):
            print(line)
    if timeline:
        cycles = write_timeline(product_program(step, config, timeline), config, out)
        print(f"{timeline}: {cycles:,} cycles on {config.name}, timeline in {out}")


@app.command()
def cosim(
    target: Annotated[str, typer.Argument(help="A scenario, or a workload: .json, .csv, .onnx.")],
    accelerator: Annotated[
        str | None,
        typer.Option(
            help="Preset, such as sat-4x4, or YAML file in place of the scenario's accelerator.",
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The same as --accelerator; expects one of the two.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Batch in place of the scenario's.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="LAYER or LAYER:PHASE, wildcards, commas between; default all."
        ),
    ] = None,
    limit: Annotated[
        float, typer.Option(min=0, help="Seconds of simulation, the shortest programs first.")
    ] = 60,
    random: Annotated[
        bool, typer.Option("--random", help="Random weights in place of the network's.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the random operands.")] = 0,
    vcd: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep waves of programs that differ, and of those of --layers."
        ),
    ] = None,
    trust: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Run a training step's programs on the RTL; compare every byte and cycle with the simulator."""
    from cosparse.flow import console
    from cosparse.flow.cosim import Interrupted, Selection, cosimulate_target
    from cosparse.spec import InputError

    if accelerator is not None and preset is not None:
        raise InputError(
            f"expected --accelerator or --preset, got both ('{accelerator}' and '{preset}')"
        )
    chosen = tuple(name.strip() for name in (layers or "").split(",") if name.strip())
    interrupted = False
    try:
        section = cosimulate_target(
            target,
            accelerator or preset,
            Selection(products=chosen, seconds=limit, seed=seed, vcd=vcd),
            batch=batch,
            random=random,
            trust=trust,
            reporter=reporter(json),
        )
    except Interrupted as interrupt:
        section, interrupted = interrupt.section, True
    if json:
        print_json(section)
    else:
        console.print_cosimulation(section)
    if interrupted:
        compared, missing = len(section["layers"]), len(section["left_out"])
        print(f"interrupted; {compared} programs compared, {missing} not run", file=sys.stderr)
        raise typer.Exit(130)
    no_waves = any(row.get("vcd_error") for row in section["layers"])
    if section["different"] or no_waves or not section["layers"]:
        raise typer.Exit(1)


@app.command()
def sweep(
    scenario: ScenarioArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the store; default ./results/<name>-sweep."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; default one for each processor.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers evaluate the points."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Count the points, evaluate none.")] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all points to a .csv or .parquet.")
    ] = None,
    best: Annotated[int, typer.Option(min=0, help="Points to print, best first.")] = 5,
    report: Annotated[
        bool,
        typer.Option("--report/--no-report", help="Write report.html and report.md beside it."),
    ] = True,
    trust: TrustOption = False,
    json: JsonOption = False,
) -> None:
    """Evaluate the design points of a scenario's `sweep`; what its store has is not computed again."""
    from cosparse.flow.scenario import load_scenario

    checked = load_scenario(scenario)
    from cosparse.flow.sweep import run as sweeps
    from cosparse.flow.sweep.export import check_target

    if export is not None:
        check_target(export)
    if plan:
        planned = sweeps.plan(checked, out=out, trust=trust, reporter=reporter(json))
        if json:
            print_json(planned.to_json())
        else:
            print("\n".join(planned.summary()))
        return
    try:
        result = sweeps.sweep(
            checked, out=out, processes=processes, dask=dask, trust=trust, reporter=reporter(json)
        )
    except KeyboardInterrupt:
        print("interrupted; finished points are kept, the same command goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    complaint = result.complaint()
    pages = result.report() if report and complaint is None else None
    if json:
        print_json(result.to_json(best) | {"report": str(pages[0]) if pages else None})
    else:
        print("\n".join(result.summary()))
        if pages:
            print(f"report: {pages[0]}\n        {pages[1]}")
        for heading, *rows in result.tables(best):
            print()
            _print_table(heading, rows)
    if export is not None:
        result.export(export)
        if not json:
            print(f"points: {export}")
    if complaint is not None:
        print(complaint, file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="Folder of a run or of a sweep, or its file; two runs with --compare."),
    ],
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Compare two runs, A then B; exit code 1 if B is worse."),
    ] = False,
    fail_above: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT", help="With --compare: how much worse is allowed; default 0%."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --compare: even if their data differ.")
    ] = False,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Write report.html and report.md again, of a run or a sweep, or compare two runs."""
    if compare:
        _compare(results, fail_above or "0%", force, out, json)
        return
    from cosparse.flow.report import rewrite_reports
    from cosparse.flow.report.sweep import store_in, write_sweep_report
    from cosparse.spec import InputError

    if force or fail_above is not None:
        raise InputError("--fail-above and --force go with --compare and two runs")
    if len(results) != 1:
        raise InputError(f"expected one run, got {len(results)}; two are compared with --compare")
    store = store_in(results[0])
    if store is None:
        html, markdown = rewrite_reports(results[0], out)
    else:
        html, markdown = write_sweep_report(store, out)
    if json:
        print_json({"html": str(html), "markdown": str(markdown)})
    else:
        print(f"report: {html}\n        {markdown}")


def _compare(
    results: list[Path], fail_above: str, force: bool, out: Path | None, json: bool
) -> None:
    from cosparse.flow.report.comparison import COLUMNS, text_rows, verdict_line
    from cosparse.flow.run_comparison import compare_runs, percent

    allowed = percent(fail_above)
    comparison, pages = compare_runs(results, allowed, force=force, out=out)
    worse = comparison.regressions(allowed)
    if json:
        print_json(comparison.to_json(allowed))
    else:
        _print_table(COLUMNS, text_rows(comparison, allowed))
        for words, names in (("A", comparison.lost), ("B", comparison.gained)):
            for name in names:
                print(f"only in {words}: {name}")
        print(f"\n{verdict_line(comparison, allowed)}")
        for page in pages:
            print(f"comparison: {page}")
    if worse or comparison.lost:
        raise typer.Exit(1)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="Checkpoint, packed tensor, workload or results.")],
    json: JsonOption = False,
) -> None:
    """Say what a file holds, and which patterns a checkpoint's zeros satisfy."""
    from cosparse.flow.inspection import inspect_file

    found = inspect_file(file)
    if json:
        print_json(found)
        return
    for key, value in found.items():
        if key != "tensors":
            print(f"{key:18} {value}")
    if "tensors" in found:
        columns = ("tensor", "shape", "density", "FF patterns", "BP patterns")
        rows = [
            (t["name"], "x".join(map(str, t["shape"])), f"{t['density']:.3f}",
             ", ".join(t["ff"]) or "-", ", ".join(t["bp"]) or "-")
            for t in found["tensors"]
        ]  # fmt: skip
        _print_table(columns, rows)


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Say what this machine can run, and what installs the rest."""
    from dataclasses import asdict

    from cosparse.flow.doctor import run_checks

    checks = run_checks()
    if json:
        print_json([asdict(item) for item in checks])
        return
    for item in checks:
        mark = "ok     " if item.present else "missing"
        hint = "" if item.present else f"  ->  {item.install}"
        print(
            f"{mark}  {item.name:22} {item.purpose:38} {item.found if item.present else ''}{hint}"
        )


@app.command("list")
def list_names(json: JsonOption = False) -> None:
    """List scenarios, methods, models, patterns, formats and accelerators."""
    from cosparse.flow.listing import names

    categories = names()
    if json:
        print_json(categories)
        return
    for category, rows in categories.items():
        print(f"{category}:")
        for name, text in rows.items():
            print(f"  {name:18} {text}".rstrip())


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Handle options that stand before a command."""
    if version:
        from cosparse import __version__

        print(f"cosparse {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: exit code 0, 1 (the run failed) or 2 (bad input)."""
    from cosparse.spec.errors import CosparseError

    try:
        app()
    except CosparseError as error:
        label = "error" if "\n" not in str(error) else "errors"
        print(f"{label}: {error}" if label == "error" else str(error), file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as ended:  # Typer ends by itself, and without a word after Ctrl-C
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            print("interrupted; what was finished is kept and reused", file=sys.stderr)
        raise
    except BrokenPipeError:
        sys.stderr.close()  # the reader (`head`) has gone; there is nothing to tell it
        sys.exit(1)


def _print_summary(results: "Results") -> None:
    for line in (*results.accuracies(), *results.summary()):
        print(line)
    print(f"{'report':20}  {results.report_path}")


def _print_table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    from cosparse.flow.console import print_table

    print_table(columns, rows)


if __name__ == "__main__":
    main()
