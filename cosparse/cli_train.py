"""The command `cosparse train`. Imports beyond typer happen inside it, as in `cosparse.cli`."""

from pathlib import Path
from typing import Annotated

import typer

from cosparse.cli_common import JsonOption, OutOption, TrustOption, print_json, reporter


def train(
    scenario: Annotated[
        str | None,
        typer.Argument(
            help="A shipped scenario (`cosparse list`) or a YAML file; none with --study."
        ),
    ] = None,
    out: OutOption = None,
    trust: TrustOption = False,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Accuracy study, short (minutes) or full (shards of 2 h)."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="With --study: print runs and core-hours, train nothing.")
    ] = False,
    shard: Annotated[
        int | None, typer.Option(min=1, help="With --study: run this shard only.")
    ] = None,
    table: Annotated[
        bool,
        typer.Option("--table", help="With --study: table and plots of the runs that are there."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train only: every method and seed of a scenario, or a study of what methods cost in accuracy."""
    if study is not None:
        _study(study, scenario, out, plan, shard, table, json)
    else:
        _scenario(scenario, out, trust, plan or table or shard is not None, json)


def _study(
    name: str,
    scenario: str | None,
    out: Path | None,
    plan: bool,
    shard: int | None,
    table: bool,
    json: bool,
) -> None:
    from cosparse.spec.errors import InputError

    if scenario is not None:
        raise InputError(f"expected a scenario or --study, got '{scenario}' and '{name}'")
    from cosparse.flow.accuracy.command import study

    study(name, out=out, plan=plan, table=table, shard=shard, reporter=reporter(json), as_json=json)


def _scenario(
    scenario: str | None, out: Path | None, trust: bool, of_study: bool, json: bool
) -> None:
    from dataclasses import asdict

    from cosparse.spec.errors import InputError

    if scenario is None:
        raise InputError("expected a scenario, or --study NAME (valid: short, full); got neither")
    if of_study:
        raise InputError("--plan, --shard and --table are of a study: expected --study NAME")
    from cosparse.flow.scenario import load_scenario

    checked = load_scenario(scenario)
    from cosparse.flow.console import print_table
    from cosparse.flow.run import train_only

    rows, checkpoints = train_only(checked, out=out, trust=trust, reporter=reporter(json))
    if json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("method", "metric", "mean", "deviation", "difference to dense", "95 % +-")
    print_table(
        columns,
        [
            (r.method, r.metric_name, _number(r.mean), _number(r.deviation), _number(r.difference),
             _number(r.half_width))
            for r in rows
        ],
    )  # fmt: skip
    print(f"checkpoints: {checkpoints}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
