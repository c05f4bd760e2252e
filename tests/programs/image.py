"""The DRAM image that random programs run on: areas of values, packed indices and segment tables.

Areas have fixed places, so that every random program runs on every random image.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

IMAGE_BYTES = 256 << 10

TABLE_TAPS = 3
"""Segments of every table have ky and kx below this."""

TABLE_STEPS = 4
"""First channels of segments are 0 to TABLE_STEPS - 1 times the table's alignment."""


@dataclass(frozen=True)
class Area:
    """Bytes start to stop of the image."""

    start: int
    stop: int


HALVES = Area(0, 96 << 10)
"""FP16 values."""

SINGLES = Area(96 << 10, 192 << 10)
"""FP32 values."""

INDICES: dict[int, Area] = {
    m: Area((192 + 8 * i) << 10, (200 + 8 * i) << 10) for i, m in enumerate((1, 2, 4, 8, 16))
}
"""Positions below m, in no order."""

TABLES: dict[int, Area] = {
    alignment: Area((232 + 4 * i) << 10, (236 + 4 * i) << 10)
    for i, alignment in enumerate((2, 4, 8, 16, 32))
}
"""Segment tables by the alignment of their first channels."""

_SPECIAL_HALVES = (0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF)
"""Zeros, subnormals, the largest value, infinities, NaN with and without the canonical payload."""

_SPECIAL_SINGLES = (
    *(0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x7F7FFFFF, 0x477FF000),
    *(0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF),
)


def random_image(rng: Random, size: int = IMAGE_BYTES) -> Image:
    """`size` bytes. One image in four has special values, about one word in a hundred."""
    generator = np.random.default_rng(rng.getrandbits(32))
    image = np.zeros(max(size, IMAGE_BYTES), np.uint8)
    special = rng.random() < 0.25
    _write_values(generator, image, HALVES, np.dtype("<f2"), _SPECIAL_HALVES if special else (0,))
    _write_values(generator, image, SINGLES, np.dtype("<f4"), _SPECIAL_SINGLES if special else (0,))
    for m, area in INDICES.items():
        low, high = generator.integers(0, m, (2, area.stop - area.start))
        image[area.start : area.stop] = low | high << 4
    for alignment, area in TABLES.items():
        _write_table(generator, image, area, alignment)
    return image[:size]


def _write_values(
    generator: np.random.Generator,
    image: Image,
    area: Area,
    dtype: np.dtype,
    specials: tuple[int, ...],
) -> None:
    view = image[area.start : area.stop].view(dtype)
    scale = np.exp2(generator.integers(-8, 3, view.size))
    view[:] = generator.standard_normal(view.size) * scale
    places = generator.random(view.size) < 0.01
    bits = view.view(f"<u{dtype.itemsize}")
    bits[places] = generator.choice(np.array(specials, bits.dtype), int(places.sum()))


def _write_table(generator: np.random.Generator, image: Image, area: Area, alignment: int) -> None:
    entries = image[area.start : area.stop].view("<u4")
    first = alignment * generator.integers(0, TABLE_STEPS, entries.size)
    kx, ky = generator.integers(0, TABLE_TAPS, (2, entries.size))
    entries[:] = first | kx << 16 | ky << 24
