"""`cosparse train --study`: plan, run what is missing, table and plots."""

import json
from pathlib import Path
from typing import Any

from ..console import print_table
from ..progress import Reporter
from ..store import RESULTS_ROOT, writable_folder
from ..trainings import torch_threads
from .cells import Grid, find_grid
from .pages import contrast_lines, lines_of, write_study
from .planning import Plan, plan_study, summary
from .records import append, read_records
from .runs import run_one
from .table import contrasts_of, rows_of, runs_left


def study(
    name: str,
    *,
    out: Path | None,
    plan: bool,
    table: bool,
    shard: int | None,
    reporter: Reporter,
    as_json: bool,
) -> None:
    """Run a named study, or what one shard of it lacks; print its table and write its pages.

    plan: only print the runs and their predicted core-hours. table: only table and pages of what is there.
    Raises UnsupportedError for an unknown study, InputError for a shard that it does not have.
    """
    grid = find_grid(name)
    folder = writable_folder(out or RESULTS_ROOT / f"study-{grid.name}")
    if not table:
        planned = plan_study(grid, folder, read_records(folder), reporter)
        if plan:
            _print(planned.to_json(), summary(planned), as_json)
            return
        run_missing(planned, folder, shard, reporter)
    _finish(grid, folder, as_json)


def run_missing(plan: Plan, folder: Path, shard: int | None, reporter: Reporter) -> None:
    """Train every run without a record; each is kept as soon as it is finished."""
    grid, records = plan.grid, read_records(folder)
    file = folder / ("runs.jsonl" if shard is None else f"shard-{shard}.jsonl")
    left = runs_left(grid, records, plan.runs if shard is None else plan.shard(shard))
    with torch_threads(1), reporter.task(f"study {grid.name}", len(left)) as bar:
        for number, run in enumerate(left, start=1):
            record = run_one(grid, run, folder / "running", reporter)
            append(file, record)
            reached = "diverged" if record.metric is None else f"{record.metric:.3f}"
            reporter.stage(f"{record.task}: {run.cell.label}, seed {run.seed}: {reached}")
            if record.stopped is not None:
                reporter.stage(f"{run.cell.label}, seed {run.seed} stopped: {record.stopped}")
            bar.update(number)


def _finish(grid: Grid, folder: Path, as_json: bool) -> None:
    records = read_records(folder)
    pages = write_study(grid, records, folder)
    if as_json:
        rows = [row.to_json() for row in rows_of(grid, records)]
        contrasts = [
            {"task": one.task, "text": one.text, "gain": one.gain.mean, "verdict": one.verdict}
            for one in contrasts_of(grid, records)
        ]
        _print({"rows": rows, "contrasts": contrasts, "report": str(pages[0])}, [], True)
        return
    head, *rows_text = lines_of(grid, records)
    print_table(head, list(rows_text))
    print(
        "\n".join(
            ["", *contrast_lines(grid, records), f"report: {pages[0]}", f"        {pages[1]}"]
        )
    )


def _print(data: Any, lines: list[str], as_json: bool) -> None:
    print(json.dumps(data, indent=1, sort_keys=True) if as_json else "\n".join(lines))
