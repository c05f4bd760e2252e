"""Progress: stages and bars on a terminal, a line a stage in a pipe, nothing where nobody asked."""

import io

import pytest
from rich.console import Console

from cosparse.flow.progress import ConsoleReporter, Reporter

LONG = "training [bold]model[/] " + "with a very long name " * 10


def reported(*, terminal):
    stream = io.StringIO()
    reporter = ConsoleReporter(Console(file=stream, force_terminal=terminal, width=80))
    reporter.stage(LONG)
    with reporter.task("dense, seed 0", 3) as task:
        task.update(3, "loss 0.5")
    return stream.getvalue()


def test_a_pipe_gets_a_plain_line_a_stage(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert reported(terminal=False) == f"{LONG}\n"


def test_a_terminal_gets_a_bar():
    text = reported(terminal=True)
    assert (
        f"{LONG}\n" in text and "\x1b[" in text and "dense, seed 0" in text and "loss 0.5" in text
    )


@pytest.mark.parametrize("call", [lambda r: r.stage("x"), lambda r: r.task("x", 3).__enter__()])
def test_the_silent_reporter(call, capsys):
    call(Reporter())
    assert capsys.readouterr() == ("", "")
