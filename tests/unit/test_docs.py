"""The documentation held to the code: API pages, commands, links, examples and what they print.

In docs/, a fence ```python is a whole example and runs; ```py is a fragment and only compiles. A ```text
fence directly after an example, with at most one line of text between them, is what it prints.
"""

import contextlib
import importlib
import io
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import typer.main

from cosparse.cli import app
from cosparse.flow.store import SECTIONS
from cosparse.spec import NM, pack

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
API_PAGES = {
    "cosparse": "cosparse",
    "cosparse.spec": "spec",
    "algos": "algos",
    "kernels": "kernels",
    "hwsim": "hwsim",
}
COMMAND = re.compile(r"(?:\$ )?(?:time |\w+=\S+ )*cosparse ([a-z][^#]*)")
EXAMPLE = re.compile(
    r"^```python\n(.*?)^```\n(?:\n?(?:[^`\n].*\n)?\n?```text\n(.*?)^```)?", re.M | re.S
)


def page_id(path):
    return str(path.relative_to(DOCS))


def code_lines(text):
    """Lines of fenced and indented blocks, and inline code."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"^ {4}(.*)$", text, re.M)
    return [*"\n".join(fenced).splitlines(), *indented, *re.findall(r"`([^`\n]+)`", text)]


def resolve(path):
    """The object at a dotted path: the longest importable module, then attributes."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found = importlib.import_module(".".join(parts[:length]))
            for name in parts[length:]:
                found = getattr(found, name)
            return found
    raise AssertionError(path)


# --- the API reference


def documented_paths(package):
    """Dotted path of every object on the package's page; rows of its table point to other pages."""
    text = (DOCS / "api" / f"{API_PAGES[package]}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `\w+` \| .*#([\w.]+)\) \|$", text, re.M)
    return re.findall(r"^::: ([\w.]+)$", text, re.M) + rows


@pytest.mark.parametrize("package", API_PAGES)
def test_the_api_page_has_exactly_the_public_names(package):
    names = [path.rpartition(".")[2] for path in documented_paths(package)]
    assert sorted(names) == sorted(importlib.import_module(package).__all__)


@pytest.mark.parametrize("package", API_PAGES)
def test_the_api_page_documents_the_public_objects(package):
    module = importlib.import_module(package)
    for path in documented_paths(package):
        assert resolve(path) is getattr(module, path.rpartition(".")[2]), path


# --- commands


def commands():
    """Command as it is typed -> its options, beyond --json and --help."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        leaves = getattr(command, "commands", None) or {"": command}
        for leaf, item in leaves.items():
            options = {option for parameter in item.params for option in parameter.opts}
            long = {option for option in options if option.startswith("--")}
            found[f"{name} {leaf}".strip()] = long - {"--json", "--help"}
    return found


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_every_command_shown_exists(page):
    known = commands()
    for line in code_lines(page.read_text(encoding="utf-8")):
        shown = COMMAND.match(line)
        if shown:
            name = next((n for n in known if re.match(rf"{n}(?![\w-])", shown[1])), None)
            assert name is not None, f"{page.name}: cosparse {shown[1]}"
            options = set(re.findall(r"(?<!\S)--[a-z-]+", shown[1])) - {"--json", "--help"}
            assert options <= known[name], f"{page.name}: cosparse {shown[1]}"


def test_the_command_page_lists_every_command_and_option():
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `cosparse ([a-z]+(?: [cg]pu)?)", text, re.M))
    options = {name: set() for name in listed}
    for names, option in re.findall(r"^\| ([a-z, ]+) \| `(--[a-z-]+)", text, re.M):
        for name in names.split(", "):
            options[name].add(option)
    assert options == commands()


# --- links, results


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_relative_links_resolve(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    relative = [target for target in targets if "://" not in target]
    assert [target for target in relative if not (page.parent / target).exists()] == []


def test_the_results_page_has_exactly_the_documents_keys():
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    table = text.partition("## results.json")[2].partition("###")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == {"schema", *SECTIONS}


def test_the_example_of_a_packed_image_is_right():
    weight = np.array([[0.5, -3, 1, 0, 2, 2, -2, 0.25], [0, 0, 0, 0, -1, 4, 0.125, 8]])
    packed = pack(weight, NM(2, 4), axis=1)
    text = (DOCS / "formats.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (\d), (\d) \| .*\| `([0-9a-f ]+)` \| .*\| `(\w\w)` \|$", text, re.M)
    values = packed.values.reshape(2, 2, 32)
    indices = packed.indices.reshape(2, 2, 16)
    assert table == [
        (str(group), str(n), values[group, n, :2].tobytes().hex(" "), f"{indices[group, n, 0]:02x}")
        for group, n in np.ndindex(2, 2)
    ]
    assert f"`storage_bits` = {packed.storage_bits}" in text


# --- examples


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_fragments_compile(page):
    for code in re.findall(r"^```py\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        body = textwrap.indent(code, "    ")
        compile(f"def fragment():\n{body}", page.name, "exec")


@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if "```python\n" in page.read_text(encoding="utf-8")
        and page.parent.name != "tutorials"  # tests/flow/test_tutorials.py runs them whole
    ],
    ids=page_id,
)
def test_examples_run_and_print_what_they_say(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code, printed in EXAMPLE.findall(page.read_text(encoding="utf-8")):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(code, page.name, "exec"), {"__name__": "example"})
        if printed:
            assert output.getvalue().split() == printed.split()
