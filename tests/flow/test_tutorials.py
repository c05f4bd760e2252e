"""The tutorials, from top to bottom in an empty folder: files written, examples run, commands typed.

A fence ```yaml title="NAME" is the file NAME; ```python runs, and a ```text fence after it is what it
prints; in ```console every line after `$ command` occurs in the command's output, in that order.
"""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cosparse.cli import app

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.M | re.S)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = ""
    for kind, title, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind == "yaml":
            Path(title).write_text(text)
        elif kind == "python":
            printed = run_example(text, page.name)
        elif kind == "text":
            assert printed.split() == text.split()
        elif kind == "console":
            for command, expected in commands(text):
                check_command(command, expected)


def run_example(code, name):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, name, "exec"), {"__name__": "example"})
    return output.getvalue()


def commands(text):
    """(command, the lines that its output shall have)."""
    for block in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, *expected = block.splitlines()
        yield command, [line.strip() for line in expected if line.strip()]


def check_command(command, expected):
    program, *arguments = shlex.split(command)
    assert program == "cosparse"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception}"
    rest = " ".join(result.output.split())
    for line in expected:
        _, found, rest = rest.partition(" ".join(line.split()))
        assert found, f"{command}: expected '{line}' in\n{result.output}"
