"""Progress of long work: stages and bars with the time left on a terminal, a line a minute in a pipe."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 60.0
"""Between two lines of a task in a pipe; work that is done sooner prints none."""


class Reporter:
    """Receives what happens; this one ignores it (the Python API and `--json`)."""

    def stage(self, text: str) -> None:
        """A part of the run begins."""

    @contextmanager
    def task(self, text: str, total: int) -> Iterator["Task"]:
        """Countable work; advance the task that this yields. A task may begin within another."""
        yield Task()


class Task:
    """Countable work without a display."""

    def update(self, done: int, note: str = "") -> None:
        """`done` of the total are finished."""


class ConsoleReporter(Reporter):
    """Writes to a console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None

    def stage(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
            return
        line = f"[bold cyan]>[/] {escape(text)}"
        self._console.print(line, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, text: str, total: int) -> Iterator[Task]:
        if not self._console.is_terminal:
            yield _Lines(self._console, text, total)
        elif self._bars is not None:
            yield from _bar(self._bars, text, total)
        else:
            with self._display() as bars:
                yield from _bar(bars, text, total)

    @contextmanager
    def _display(self) -> Iterator[Progress]:
        """Rich draws one display at a time: a task within another is a further bar of it."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as self._bars:
            try:
                yield self._bars
            finally:
                self._bars = None


def _bar(bars: Progress, text: str, total: int) -> Iterator[Task]:
    shown = _Bar(bars, text, total)
    try:
        yield shown
    finally:
        shown.remove()


class _Bar(Task):
    def __init__(self, bars: Progress, text: str, total: int) -> None:
        self._bars = bars
        self._id = bars.add_task(escape(text), total=total, note="")

    def update(self, done: int, note: str = "") -> None:
        self._bars.update(self._id, completed=done, note=note)

    def remove(self) -> None:
        self._bars.refresh()
        self._bars.remove_task(self._id)


class _Lines(Task):
    def __init__(self, console: Console, text: str, total: int) -> None:
        self._console, self._text, self._total = console, text, total
        self._told = time.monotonic()

    def update(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            line = ", ".join(filter(None, (f"{self._text}: {done:,} of {self._total:,}", note)))
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
