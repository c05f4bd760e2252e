"""The sections of a report in reading order. A new section is one file and one row."""

from collections.abc import Callable
from typing import Any

from ..blocks import Section
from .accelerator import accelerator_section
from .accuracy import accuracy_section
from .assumptions import assumptions_section
from .cpu import cpu_section
from .cpu_kernels import cpu_kernels_section
from .energy import energy_section
from .gpu import gpu_section
from .layers import layers_section
from .limits import limits_section
from .on_accelerator import on_accelerator_section
from .operations import operations_section
from .published import published_section
from .reproduce import reproduce_section
from .rtl import rtl_section
from .storage import storage_section
from .study import study_section
from .summary import summary_section
from .timeline import timeline_section

SECTIONS: dict[str, Callable[[dict[str, Any]], Section | None]] = {
    "summary": summary_section,
    "accuracy": accuracy_section,
    "on_accelerator": on_accelerator_section,
    "accelerator": accelerator_section,
    "timeline": timeline_section,
    "rtl": rtl_section,
    "energy": energy_section,
    "study": study_section,
    "cpu": cpu_section,
    "cpu_kernels": cpu_kernels_section,
    "gpu": gpu_section,
    "operations": operations_section,
    "storage": storage_section,
    "layers": layers_section,
    "published": published_section,
    "assumptions": assumptions_section,
    "limits": limits_section,
    "reproduce": reproduce_section,
}
"""Section name -> function from the document to the section, or None where there is nothing to say."""
