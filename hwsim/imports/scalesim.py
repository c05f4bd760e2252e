"""SCALE-Sim topology files: one layer a row, a convolution or a matrix product.

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
    Layer, M, N, K,                                      (M, K) times (K, N)

Columns are found by the header, in any order and case. Optional: Sparsity (`2:4`), Stride Height and
Stride Width in place of Strides, and Batch in the second form. Trailing commas, blank rows and cells
that begin with # are skipped. The format has neither padding nor groups: a row is one unpadded,
dense convolution of one image; a name that contains DP marks a depthwise one, as in SCALE-Sim.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from cosparse.spec import (
    NM,
    Gemm,
    InputError,
    Pattern,
    PatternError,
    Phase,
    Workload,
)
from cosparse.spec.errors import nearest
from cosparse.spec.names import Names
from cosparse.spec.products import Side, conv_geometry, convolution, matrix_product

from .forward import Forward, product, to_workload
from .pruning import assign, misfit, prune

_CONV = ("ifmap height", "ifmap width", "filter height", "filter width", "channel", "num filter")
_GEMM = ("m", "n", "k")
_STRIDES = (("stride",), ("stride height", "stride width"))
_OPTIONAL = ("sparsity", "batch")
_NAMES = ("layer name", "layer")
_KNOWN = (*_NAMES, *_CONV, *_GEMM, *(name for names in _STRIDES for name in names), *_OPTIONAL)

_DEPTHWISE = "DP"
_RATIO = re.compile(r"(\d+)(?::(\d+))?")


def read_scale_sim(
    path: str | Path,
    *,
    training: bool = False,
    pattern: Pattern | None = None,
    ends: bool = False,
) -> Workload:
    """Read a topology file as FF; `training` derives BP (but of the first row) and WU.

    A row's own ratio is applied to its weight, in FF and BP. `pattern` prunes the other weights,
    stem and classifier only with `ends`. A row with a batch above 1 multiplies two activations.
    Raises InputError with file, line and column.
    """
    names = Names()
    rows = _layers(Path(path))
    forwards = [_layer(row, names.unique(Phase.FF, row.name), i == 0) for i, row in enumerate(rows)]
    workload = to_workload(forwards, source="scale-sim", file=str(path), training=training)
    ratios = {
        forward.weight: ratio
        for row, forward in zip(rows, forwards, strict=True)
        if (ratio := _ratio(row, forward)) is not None and forward.weight is not None
    }
    workload = assign(workload, ratios)
    return workload if pattern is None else prune(workload, pattern, ends=ends)


@dataclass(frozen=True)
class _Row:
    """One layer: column -> cell, and where it stands."""

    file: str
    line: int
    titles: dict[str, str]
    """Column -> its title as the file writes it."""
    cells: dict[str, str]

    @property
    def name(self) -> str:
        column = next(name for name in _NAMES if name in self.cells)
        if not self.cells[column]:
            raise self.error(column, "expected a name, got ''")
        return self.cells[column]

    def integer(self, column: str) -> int:
        """A positive integer. Raises InputError."""
        text = self.cells[column]
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise self.error(column, f"expected a positive integer, got '{text}'")
        return int(text)

    def error(self, column: str, message: str) -> InputError:
        return InputError(f"{self.file}:{self.line}: {self.titles[column]}: {message}")


def _rows(path: Path) -> Iterator[_Row]:
    titles: dict[str, str] | None = None
    for line, cells in _lines(path):
        if titles is None:
            titles = _header(f"{path}:{line}", cells)
            continue
        if len(cells) > len(titles):
            raise InputError(
                f"{path}:{line}: expected {len(titles)} cells ({', '.join(titles.values())}), "
                f"got {len(cells)}"
            )
        filled = dict(zip_longest(titles, cells, fillvalue=""))
        yield _Row(str(path), line, titles, filled)
    if titles is None:
        raise InputError(f"{path}:1: expected a header line, got an empty file")


def _layers(path: Path) -> list[_Row]:
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"{path}: expected at least one layer under the header, got none")
    return rows


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of the rows that hold anything."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot read a topology: {reason}") from None
    reader = csv.reader(text.splitlines())
    for cells in reader:
        kept = [cell.strip() for cell in cells if not cell.strip().startswith("#")]
        while kept and not kept[-1]:
            kept.pop()
        if kept:
            yield reader.line_num, kept


def _header(where: str, cells: list[str]) -> dict[str, str]:
    """Column -> title. Raises InputError for titles that make up neither form."""
    titles = {" ".join(cell.lower().split()).removesuffix("s"): cell for cell in cells}
    unknown = [name for name in titles if name not in _KNOWN]
    if unknown:
        title = titles[unknown[0]]
        raise InputError(
            f"{where}: unknown column '{title}'{nearest(title.lower(), _KNOWN)} (valid: a header of "
            "'Layer name, IFMAP Height, ..., Strides' or 'Layer, M, N, K')"
        )
    forms = [(*_CONV, *stride) for stride in _STRIDES] + [_GEMM]
    missing = min(([name for name in form if name not in titles] for form in forms), key=len)
    if not titles.keys() & set(_NAMES):
        missing = ["layer", *missing]
    if missing:
        raise InputError(f"{where}: the header lacks the column '{missing[0]}'")
    return titles


def _layer(row: _Row, name: str, is_first: bool) -> Forward:
    """is_first: the row reads the network's input, which needs no gradient."""
    build = _gemm if set(_GEMM) <= row.cells.keys() else _conv
    return build(row, name, [Side.RHS] if is_first else [Side.LHS, Side.RHS])


def _gemm(row: _Row, name: str, gradients: list[Side]) -> Forward:
    m, n, k = (row.integer(column) for column in _GEMM)
    batch = row.integer("batch") if row.cells.get("batch") else 1
    weight = f"{name}.weight" if batch == 1 else None
    gemm = matrix_product(name, weight, m, k, n, batch=batch)
    if weight is None:
        return product(gemm, None, ((batch, m, k), (batch, k, n), (batch, m, n)), tuple(Side))
    return product(gemm, weight, ((m, k), (n, k), (m, n)), gradients)


def _conv(row: _Row, name: str, gradients: list[Side]) -> Forward:
    height, width, kernel_h, kernel_w, channels, filters = (row.integer(c) for c in _CONV)
    for size, kernel, column in (
        (height, kernel_h, "filter height"),
        (width, kernel_w, "filter width"),
    ):
        if kernel > size:
            raise row.error(
                column, f"expected at most the IFMAP's {size} (no padding), got {kernel}"
            )
    groups = channels if _DEPTHWISE in row.name else 1
    in_hw, kernel_hw = (height, width), (kernel_h, kernel_w)
    geometry = conv_geometry(1, in_hw, kernel_hw, _stride(row), (0, 0), (1, 1))
    weight, weight_shape = f"{name}.weight", (filters * groups, channels // groups, *kernel_hw)
    gemm = convolution(name, weight, geometry, weight_shape, groups)
    output = (1, filters * groups, *geometry.out_hw)
    return product(gemm, weight, ((1, channels, *in_hw), weight_shape, output), gradients)


def _stride(row: _Row) -> tuple[int, int]:
    columns = ("stride", "stride") if "stride" in row.cells else ("stride height", "stride width")
    return row.integer(columns[0]), row.integer(columns[1])


def _ratio(row: _Row, forward: Forward) -> Pattern | None:
    """The pattern that the row itself asks for; None for none and for N = M."""
    text = row.cells.get("sparsity", "")
    if not text:
        return None
    match = _RATIO.fullmatch(text)
    if match is None:
        raise row.error("sparsity", f"expected a ratio N:M such as 2:4, got '{text}'")
    n, m = int(match[1]), int(match[2] or match[1])
    if n == m:
        return None
    try:
        pattern = NM(n, m)
    except PatternError as error:
        raise row.error("sparsity", str(error)) from None
    if forward.weight is None:
        raise row.error("sparsity", f"{text} needs a weight, and a batch has two activations")
    if isinstance(forward.op, Gemm) and misfit(forward.op, pattern) is not None:
        got = forward.op.channels
        raise row.error(
            "sparsity", f"groups lie along the channels: expected {m} or more, got {got}"
        )
    return pattern
