"""Online pruning of a convolution's output gradient (SDGP), one shifted copy for each tap.

Input pixel (y, x) meets at tap (ky, kx) the output pixel (y + padding - ky * dilation, ...). A LOAD
cannot make zeros, so dY lies in a frame of zeros: [image][pixel row][pixel][channel padded to 8], in
which that pixel is (y + (taps_y - 1 - ky) * dilation, ...).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import gcd, lcm

from cosparse.spec import ConvGeometry, UnsupportedError
from cosparse.spec.patterns import padded
from hwsim.accesses import ceil_div
from hwsim.config import AcceleratorConfig
from hwsim.constants import VALUE_BYTES
from hwsim.isa import Op, Space

from .copies import Copy
from .cuts import Block, Matrices, Tile, Words, blocks
from .sections import Place, Rows, Section, Step, TileWork, marked, mask
from .streams import ACT_LOADED, FENCE_SIGNAL, FENCE_WAIT, PACKED
from .weights import CHANNEL_UNIT, copies_words, pack_steps, packing_work, units_of


@dataclass(frozen=True)
class Frame:
    """dY of a convolution with stride 1, inside its zeros. border: pixels on each side, (y, x)."""

    conv: ConvGeometry
    channels: int

    def __post_init__(self) -> None:
        if self.conv.stride != (1, 1) or min(self.border) < 0:
            raise UnsupportedError(
                "pruned gradient: expected stride 1 and a padding of at most (taps - 1) * dilation, "
                f"got stride {self.conv.stride}, padding {self.conv.padding}"
            )

    @property
    def reach(self) -> tuple[int, int]:
        """Pixels between the first and the last tap."""
        (taps_y, taps_x), (step_y, step_x) = self.conv.kernel, self.conv.dilation
        return (taps_y - 1) * step_y, (taps_x - 1) * step_x

    @property
    def border(self) -> tuple[int, int]:
        (reach_y, reach_x), (pad_y, pad_x) = self.reach, self.conv.padding
        return reach_y - pad_y, reach_x - pad_x

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(images, pixel rows, pixels, channels padded to 8)."""
        (height, width), (reach_y, reach_x) = self.conv.in_hw, self.reach
        channels = padded(self.channels, CHANNEL_UNIT)
        return self.conv.batch, height + reach_y, width + reach_x, channels

    @property
    def strides(self) -> tuple[int, int, int]:
        """Bytes from image to image, row to row, pixel to pixel."""
        _, height, width, channels = self.shape
        pixel = channels * VALUE_BYTES
        return height * width * pixel, width * pixel, pixel


@dataclass(frozen=True)
class FramedPrune:
    """The packed gradient of every tap, tokens on the lanes. half: byte address of the frame.

    A tile is some pixel rows of an image, or some images.
    """

    frame: Frame
    half: int
    copy: Copy
    config: AcceleratorConfig

    @property
    def matrices(self) -> Matrices:
        return self.copy.matrices

    @property
    def units(self) -> tuple[int, int]:
        """Whole pixel rows where they fill lanes and images, else whole images."""
        lanes, columns = units_of([self.copy])
        (height, width), pixels = self.frame.conv.in_hw, self._image_pixels
        by_rows = height % (lanes // gcd(lanes, width)) == 0
        return lcm(lanes, width if by_rows else pixels), columns

    def words(self, tile: Tile) -> Words | None:
        """Of a tile; None for one that neither divides images nor consists of them."""
        if self._image_pixels % tile.rows and tile.rows % self._image_pixels:
            return None
        act = tile.rows * self._act_words(tile.columns)
        return Words(act, copies_words([self.copy], tile, self.config))

    def work(self, block: Block) -> TileWork:
        """Of a tile of one tap: pixel rows of the frame are loaded, then packed."""
        stores, sore = packing_work([self.copy], block, self.config)
        size = padded(block.columns, CHANNEL_UNIT) * VALUE_BYTES * block.rows
        return TileWork((Rows(size, 1, size),), stores, sore, 0, before_stores=sore)

    def sections(self, tile: Tile) -> Iterator[Section]:
        """The copies of all taps, cut into tiles."""
        taps_y, taps_x = self.frame.conv.kernel
        for block in blocks(self.matrices, tile):
            rows, images = block.row_tiles, 1
            if block.rows < self._image_pixels:
                rows, images = self._image_pixels // block.rows, self.frame.conv.batch
            counts = (rows, images, taps_x, taps_y, block.column_tiles)
            yield Section(tuple(self._steps(block)), counts)

    @property
    def _image_pixels(self) -> int:
        return self.frame.conv.in_hw[0] * self.frame.conv.in_hw[1]

    def _act_words(self, columns: int) -> int:
        return ceil_div(padded(columns, CHANNEL_UNIT), self.config.activation_lanes)

    def _steps(self, block: Block) -> Iterator[Step]:
        yield self._load(block)
        prunes, stores = pack_steps([self.copy], block, self._act_words(block.columns), self.config)
        yield from marked(prunes, first={"wait": mask(ACT_LOADED)}, last={"signal": mask(PACKED)})
        for step in marked(stores, first={"wait": mask(PACKED)}, last={"fences": FENCE_SIGNAL}):
            yield self._by_tap(step, block)

    def _by_tap(self, step: Step, block: Block) -> Step:
        """Strides of the loops over rows, images, taps and columns, from those over matrices."""
        rows, tap, columns = step.strides
        image = rows * self._image_pixels // block.rows
        row_of_taps = self.frame.conv.kernel[1] * tap
        return replace(step, strides=(rows, image, tap, row_of_taps, columns))

    def _load(self, block: Block) -> Step:
        image, row, pixel = self.frame.strides
        (reach_y, reach_x), (step_y, step_x) = self.frame.reach, self.frame.conv.dilation
        height, width = self.frame.conv.in_hw
        images = ceil_div(block.rows, self._image_pixels)
        first = block.first_row // self._image_pixels * image
        rows = block.rows // width // images
        size = padded(block.columns, CHANNEL_UNIT) * VALUE_BYTES
        registers = {
            "run_bytes": size,
            "count0": width,
            "stride0": pixel,
            "count1": rows,
            "stride1": row,
            "count2": images,
            "stride2": image,
            "row_bytes": size,
            "row_words": self._act_words(block.columns),
        }
        if size == pixel:
            registers |= {"run_bytes": width * pixel, "count0": 1, "stride0": 0}
        step = rows * row if rows < height else images * image
        origin = reach_y * row + reach_x * pixel + block.first_column * VALUE_BYTES
        return Step(
            Op.LOAD,
            registers,
            (Place(0, self.config.activation_half_words),),
            code=Space.ACT,
            ahead=1,
            dram=self.half + first + origin,
            strides=(step, image, -step_x * pixel, -step_y * row, block.columns * VALUE_BYTES),
            signal=mask(ACT_LOADED),
            fences=FENCE_WAIT,
        )
