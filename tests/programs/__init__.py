"""Random legal programs for tests of machine, engine, timing and RTL.

A seed gives a configuration, a program and a DRAM image.
"""

from .configs import random_config
from .coverage import EVENTS, Coverage, coverage_of
from .generator import image_from_seed, program_from_seed, random_program
from .image import IMAGE_BYTES, random_image

__all__ = [
    "EVENTS",
    "IMAGE_BYTES",
    "Coverage",
    "coverage_of",
    "image_from_seed",
    "program_from_seed",
    "random_config",
    "random_image",
    "random_program",
]
