"""The report: sections of plain blocks, rendered to one offline HTML file and to Markdown."""

from pathlib import Path
from typing import Any

from cosparse.spec import CorruptFileError

from ..store import read_results, writable_folder, write_text
from .blocks import Heading, Section
from .html import render_html
from .markdown import render_markdown
from .sections import SECTIONS

__all__ = [
    "SECTIONS",
    "build_sections",
    "heading_of",
    "rewrite_reports",
    "write_pages",
    "write_reports",
]


def build_sections(document: dict[str, Any]) -> list[Section]:
    """The sections that have something to say about this result, in the order of SECTIONS."""
    built = (build(document) for build in SECTIONS.values())
    return [section for section in built if section is not None]


def rewrite_reports(results: Path, folder: Path | None) -> tuple[Path, Path]:
    """Write both reports again from results.json (or its folder), into `folder` or beside it.

    Raises CorruptFileError when the file lacks what a section reads.
    """
    document = read_results(results)
    beside = results if results.is_dir() else results.parent
    try:
        return write_reports(document, writable_folder(folder or beside))
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise CorruptFileError(
            f"{results}: damaged, a report cannot be made from it ({error!r}); run the scenario again"
        ) from error


def write_reports(document: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write report.html and report.md into `folder`; returns their paths."""
    return write_pages(heading_of(document), build_sections(document), folder, "report")


def heading_of(document: dict[str, Any]) -> Heading:
    scenario, origin = document["scenario"], document["provenance"]
    return Heading(
        scenario["name"], scenario["description"], origin["versions"]["cosparse"], origin["date"]
    )


def write_pages(
    heading: Heading, sections: list[Section], folder: Path, name: str
) -> tuple[Path, Path]:
    """Write NAME.html and NAME.md; returns their paths."""
    html, markdown = folder / f"{name}.html", folder / f"{name}.md"
    write_text(html, render_html(heading, sections))
    write_text(markdown, render_markdown(heading, sections))
    return html, markdown
