"""The report: sections of plain blocks, rendered to one offline HTML file and to Markdown."""

from pathlib import Path
from typing import Any

from ..store import write_text
from .blocks import Section
from .html import render_html
from .markdown import render_markdown
from .sections import SECTIONS

__all__ = ["SECTIONS", "build_sections", "write_reports"]


def build_sections(document: dict[str, Any]) -> list[Section]:
    """The sections that have something to say about this result, in the order of SECTIONS."""
    built = (build(document) for build in SECTIONS.values())
    return [section for section in built if section is not None]


def write_reports(document: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write report.html and report.md into `folder`; returns their paths."""
    sections = build_sections(document)
    html, markdown = folder / "report.html", folder / "report.md"
    write_text(html, render_html(document, sections))
    write_text(markdown, render_markdown(document, sections))
    return html, markdown
