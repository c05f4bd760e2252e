"""The report of a sweep: the same pages as a run's, from the points in a store."""

from collections.abc import Callable
from pathlib import Path

from cosparse.spec import InputError

from ...store import writable_folder
from ...sweep.run import STORE_NAME
from .. import write_pages
from ..blocks import Heading, Section
from .accuracies import accuracies_section
from .again import again_section, assumptions_section
from .causes import causes_section
from .dataflows import dataflow_section
from .front import front_section
from .overview import overview_section
from .points import SweepPoints, read_points
from .roof import roofline_section
from .sensitivity import sensitivity_section

__all__ = [
    "SECTIONS",
    "SweepPoints",
    "read_points",
    "store_in",
    "write_points",
    "write_sweep_report",
]

SECTIONS: dict[str, Callable[[SweepPoints], Section | None]] = {
    "summary": overview_section,
    "front": front_section,
    "sensitivity": sensitivity_section,
    "limits": causes_section,
    "dataflow": dataflow_section,
    "roofline": roofline_section,
    "accuracy": accuracies_section,
    "assumptions": assumptions_section,
    "reproduce": again_section,
}
"""Section name -> function from the points to the section, in reading order."""


def store_in(place: Path) -> Path | None:
    """The store that is this file or lies in this folder."""
    if place.is_dir():
        place = place / STORE_NAME
    return place if place.name == STORE_NAME and place.is_file() else None


def write_sweep_report(
    store: Path, folder: Path | None = None, sweep: int | None = None
) -> tuple[Path, Path]:
    """Write report.html and report.md into `folder`, by default beside the store; returns their paths.

    sweep: its number in the store, by default the one that ran last. Raises InputError where it has no point
    that runs.
    """
    return write_points(read_points(store, sweep), writable_folder(folder or store.parent))


def write_points(points: SweepPoints, folder: Path) -> tuple[Path, Path]:
    """The same for points that were read."""
    if not len(points):
        raise InputError(f"{points.path}: expected a sweep with points that run, got none")
    built = (build(points) for build in SECTIONS.values())
    sections = [section for section in built if section is not None]
    return write_pages(
        Heading(points.name, "", points.version, points.begun), sections, folder, "report"
    )
