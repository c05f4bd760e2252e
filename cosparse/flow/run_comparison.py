"""`cosparse report --compare A B`: reads two runs, compares them, writes the page."""

from collections.abc import Sequence
from pathlib import Path

from cosparse.spec import CorruptFileError, InputError

from .comparison import Comparison, compare
from .report import write_pages
from .report.comparison import comparison_heading, comparison_sections
from .store import read_results, writable_folder


def compare_runs(
    results: Sequence[Path], allowed: float, *, force: bool = False, out: Path | None = None
) -> tuple[Comparison, tuple[Path, ...]]:
    """Compare two runs by their folders; `out`: where comparison.html and .md go, if anywhere.

    allowed: part of A's value by which a quantity of B may be worse. Raises InputError.
    """
    if len(results) != 2:
        raise InputError(f"--compare: expected two runs, A and B, got {len(results)}")
    a, b = results
    before, after = read_results(a), read_results(b)
    try:
        comparison = compare(before, after, force=force)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CorruptFileError(
            f"{a} and {b}: one is damaged and cannot be compared ({error!r}); run it again"
        ) from error
    if out is None:
        return comparison, ()
    heading = comparison_heading(a, b, after)
    sections = comparison_sections(comparison, allowed)
    return comparison, write_pages(heading, sections, writable_folder(out), "comparison")


def percent(text: str) -> float:
    """`2%`, `2 %` or `2` as 0.02. Raises InputError."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InputError(
            f"--fail-above: expected a percentage of at least 0, such as 2%, got '{text}'"
        )
    return value / 100
