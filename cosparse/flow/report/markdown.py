"""The report as Markdown; figures are named, their numbers stand in the tables."""

import re

from .blocks import Block, Code, Facts, Figure, Heading, Section, Table, Text
from .format import cell_text


def render_markdown(heading: Heading, sections: list[Section]) -> str:
    """The whole report as one Markdown text."""
    parts = [f"# {heading.title}"]
    if heading.description:
        parts.append(heading.description)
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [text for text in map(_block, section.blocks) if text]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Figure):
        return f"*Figure (in report.html): {block.caption}*"
    if isinstance(block, Facts):
        return "\n".join(f"- **{f.value}** {f.label} ({f.kind})" for f in block.facts)
    assert isinstance(block, Code)
    fence = "`" * (max(2, *(len(run) for run in re.findall("`+", block.text) or [""])) + 1)
    return f"{fence}\n{block.text.rstrip()}\n{fence}"


def _table(table: Table) -> str:
    head = [" | ".join(map(_escaped, table.columns)), " | ".join("---" for _ in table.columns)]
    rows = [" | ".join(_escaped(cell_text(cell)) for cell in row) for row in table.rows]
    lines = [f"| {line} |" for line in head + rows]
    return "\n".join([*([f"*{table.caption}*", ""] if table.caption else []), *lines])


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").splitlines())
