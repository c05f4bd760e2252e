"""What several commands share: options, the reporter, JSON on standard output."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cosparse.flow.progress import Reporter

OutOption = Annotated[Path | None, typer.Option("--out", help="Folder to write to.")]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Allow Python code that the scenario names to run.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def reporter(quiet: bool) -> "Reporter":
    """Progress on standard error, or none with --json."""
    from rich.console import Console

    from cosparse.flow.progress import ConsoleReporter, Reporter

    return Reporter() if quiet else ConsoleReporter(Console(stderr=True))


def print_json(value: Any) -> None:
    """As every command with --json does."""
    print(jsonlib.dumps(value, indent=1, sort_keys=True))
