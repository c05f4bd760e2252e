"""Progress of long work: stages and a bar with the time left on a terminal, nothing in a pipe."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Receives what happens; this one ignores it (the Python API and `--json`)."""

    def stage(self, text: str) -> None:
        """A part of the run begins."""

    @contextmanager
    def task(self, text: str, total: int) -> Iterator["Task"]:
        """Countable work; advance the task that this yields."""
        yield Task()


class Task:
    """Countable work without a display."""

    def update(self, done: int, note: str = "") -> None:
        """`done` of the total are finished."""


class ConsoleReporter(Reporter):
    """Writes to a console that is a terminal; stays quiet on one that is not."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def stage(self, text: str) -> None:
        if not self._console.is_terminal:
            return
        line = f"[bold cyan]>[/] {escape(text)}"
        self._console.print(line, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        if not self._console.is_terminal:
            yield Task()
            return
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            yield _Bar(bar, text, total)


class _Bar(Task):
    def __init__(self, bar: Progress, text: str, total: int) -> None:
        self._bar = bar
        self._id = bar.add_task(text, total=total, note="")

    def update(self, done: int, note: str = "") -> None:
        self._bar.update(self._id, completed=done, note=note)
