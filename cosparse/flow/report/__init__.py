"""The report: sections of plain blocks, rendered to one offline HTML file and to Markdown."""

from pathlib import Path
from typing import Any

from cosparse.spec import CorruptFileError

from ..store import read_results, writable_folder, write_text
from .blocks import Section
from .html import render_html
from .markdown import render_markdown
from .sections import SECTIONS

__all__ = ["SECTIONS", "build_sections", "rewrite_reports", "write_reports"]


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
    sections = build_sections(document)
    html, markdown = folder / "report.html", folder / "report.md"
    write_text(html, render_html(document, sections))
    write_text(markdown, render_markdown(document, sections))
    return html, markdown
