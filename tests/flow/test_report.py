"""The report: what it says equals results.json, whatever is missing and whatever names contain."""

import json
import re
from copy import deepcopy
from html.parser import HTMLParser

import pytest

from cosparse.flow.report import (
    SECTIONS,
    build_sections,
    heading_of,
    rewrite_reports,
    write_reports,
)
from cosparse.flow.report.blocks import Code, Figure, Section, Table, Text
from cosparse.flow.report.facts import summary_lines
from cosparse.flow.report.format import cell_text, ratio, seconds_text, signed, times
from cosparse.flow.report.html import render_html
from cosparse.flow.report.markdown import render_markdown
from cosparse.flow.store import read_results
from cosparse.spec import CorruptFileError, SchemaVersionError

HOSTILE = "<script>alert(1)</script> & | ` \" '</script><!--"


@pytest.fixture
def document(finished):
    return deepcopy(read_results(finished.folder))


class _Page(HTMLParser):
    """Text of the page by element, and how often each element occurs."""

    def __init__(self, text):
        super().__init__()
        self.scripts = self.depth = 0
        self.cells, self.inside, self.figures = [], None, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.inside = tag
        if tag == "td":
            self.cells.append("")
        self.is_figures = tag == "script" and dict(attrs).get("id") == "figures"

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside == "td":
            self.cells[-1] += data
        elif self.inside == "script" and self.is_figures:
            self.figures += data


def section(document, title):
    return next(found for found in build_sections(document) if found.title.startswith(title))


def tables(found):
    return [block for block in found.blocks if isinstance(block, Table)]


# --- numbers


def test_simulated_cycles_of_the_report_are_those_of_the_results(document):
    steps = document["simulated"]["methods"]
    found = section(document, "Accelerator")
    layers = tables(found)[-1]
    rows = [row for row in steps["bdwp"]["layers"] if row["array"]]
    assert [(r[0], r[1], r[4]) for r in layers.rows] == [
        (row["name"], row["phase"], row["cycles"]) for row in rows
    ]
    by_method = {row[0]: row for row in tables(found)[0].rows}
    for name, step in steps.items():
        assert step["cycles"] in by_method[name]
        assert f"{steps['dense']['cycles'] / step['cycles']:.2f}x" in by_method[name]


def test_the_pages_say_the_same_numbers(document, finished):
    cycles = [f"{step['cycles']:,}" for step in document["simulated"]["methods"].values()]
    markdown = (finished.folder / "report.md").read_text()
    cells = _Page(finished.report_path.read_text()).cells
    for text in cycles:
        assert text in markdown and text in cells


def test_figures_hold_the_numbers_of_the_results(document, finished):
    figures = json.loads(_Page(finished.report_path.read_text()).figures)
    accuracy = [row["mean"] for row in document["training"]["accuracy"]]
    assert accuracy in [series["y"] for figure in figures for series in figure["data"]]


def test_measured_simulated_and_modelled_never_share_a_column(document):
    accelerator, cpu = section(document, "Accelerator"), section(document, "CPU kernels (measured)")
    assert "measured" not in str(accelerator).lower()
    assert "simulated" not in str(cpu).lower()


# --- parts that are missing


def without(document, *parts):
    empty = {"layers": [], "workload": {}, "storage": []}
    return document | {part: empty.get(part) for part in parts}


OPTIONAL = ("training", "measured", "simulated", "storage", "layers", "workload")


@pytest.mark.parametrize("part", [*OPTIONAL, "all"])
def test_a_report_without_a_part(document, tmp_path, part):
    parts = OPTIONAL if part == "all" else (part,)
    less = without(document, *parts)
    titles = [found.title for found in build_sections(less)]
    energy = int("simulated" in parts)  # energy is of the simulated steps
    # No study, no RTL, nothing trained on the accelerator, no CPU kernels measured elsewhere.
    absent = 4 + (part == "all")  # no assumptions without figures
    assert len(titles) == len(SECTIONS) - absent - len(parts) - energy
    assert {"Summary", "Not measured", "How to reproduce"} <= set(titles)
    html, markdown = write_reports(less, tmp_path)
    assert html.stat().st_size > 1000 and markdown.read_text().startswith("# ")
    assert len(summary_lines(less)) <= 4


def test_all_runs_diverged(document, tmp_path):
    for row in document["training"]["accuracy"]:
        row |= dict.fromkeys(("mean", "deviation", "difference", "half_width"))
        row["values"] = [None, None]
    for run in document["training"]["runs"]:
        run |= {"metric": None, "history": []}
    html, _ = write_reports(document, tmp_path)
    assert "diverged" in html.read_text()
    assert "NaN" not in _Page(html.read_text()).figures
    assert summary_lines(document)[0].split()[1] == "diverged"


def test_one_method_diverged(document, tmp_path):
    row = next(row for row in document["training"]["accuracy"] if row["method"] == "dense")
    row |= dict.fromkeys(("mean", "deviation", "half_width"))
    _, markdown = write_reports(document, tmp_path)
    assert "| dense | diverged |" in markdown.read_text()


# --- hostile names


def test_html_escapes_names(document):
    document["model"] = document["scenario"]["name"] = HOSTILE
    document["scenario"]["description"] = document["source"] = HOSTILE
    document["measured"]["layers"][0]["name"] = HOSTILE
    for run in document["training"]["runs"]:
        run["method"] += HOSTILE
    clean = _Page(render_html(heading_of(document), [])).scripts
    page = _Page(render_html(heading_of(document), build_sections(document)))
    assert page.scripts == clean == 3
    assert HOSTILE in page.cells
    names = [series["name"] for figure in json.loads(page.figures) for series in figure["data"]]
    assert "bdwp" + HOSTILE in names
    assert "<" not in page.figures


def test_markdown_tables_are_well_formed(document):
    document["layers"][0]["name"] = "a|b\nc"
    text = render_markdown(heading_of(document), build_sections(document))
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 7
    for block in blocks:
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(columns) == 1, block
        assert set(block.splitlines()[1]) <= set("| -")
    assert "| a\\|b c |" in text


def test_a_fence_is_longer_than_any_in_the_code(document):
    text = render_markdown(heading_of(document), [Section("Code", (Code("```yaml\n````\n"),))])
    assert text.endswith("`````\n```yaml\n````\n`````\n")


def test_plain_code_has_a_plain_fence(document):
    assert "```\na: 1\n```" in render_markdown(
        heading_of(document), [Section("Code", (Code("a: 1\n"),))]
    )


def test_a_figure_is_named_in_markdown(document):
    blocks = (Text("words"), Figure((), {}, "what is seen"))
    text = render_markdown(heading_of(document), [Section("S", blocks)])
    assert "words\n\n*Figure (in report.html): what is seen*" in text


# --- formats


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "–"), (0, "0"), (1234567, "1,234,567"), (0.12345, "0.123"), (1234.5, "1,234"),
     ("x", "x"), (99.95, "100"), (-0.5, "-0.5")],
)  # fmt: skip
def test_cells(cell, text):
    assert cell_text(cell) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (1.0, "1 s"), (0.0025, "2.5 ms"), (2.5e-6, "2.5 us"), (0.0, "0 us")],
)
def test_seconds(seconds, text):
    assert seconds_text(seconds) == text


def test_ratios():
    assert ratio(3, 2) == 1.5
    assert ratio(None, 2) is ratio(3, None) is ratio(3, 0) is None
    assert (times(1.234), times(None)) == ("1.23x", "–")
    assert (signed(1.0), signed(-0.126), signed(None)) == ("+1.00", "-0.13", "–")


def test_a_damaged_document_is_one_clean_error_or_a_report(document, tmp_path):
    """One value after the other is deleted; what a section needs is named, the rest still renders."""
    refused = 0
    for path in sorted(paths(document), key=str)[::7]:
        damaged = deepcopy(document)
        parent = damaged
        for key in path[:-1]:
            parent = parent[key]
        del parent[path[-1]]
        (tmp_path / "results.json").write_text(json.dumps(damaged))
        try:
            rewrite_reports(tmp_path, None)
        except (CorruptFileError, SchemaVersionError):
            refused += 1
    assert refused > 0


def paths(value, prefix=()):
    """Every key path of nested dicts."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*prefix, key)
            yield from paths(inner, (*prefix, key))
