"""The passes beside the matrix products: what runs on WUVE, SORE and the DMA alone.

A pass is a program of its own, under the fastest of the tilings that its scratchpads hold, by exact
time. `Pass.cycles` needs no instructions; `emit_pass` gives them. Tensors lie in DRAM one after the
other, each on a page of its own, at `Pass.addresses`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from cosparse.spec import NM, ConvGeometry, Pattern, UnsupportedError
from cosparse.spec.errors import unknown_name
from cosparse.spec.layout import Layout
from cosparse.spec.patterns import padded
from hwsim.config import AcceleratorConfig
from hwsim.constants import ACCUMULATOR_BYTES, PACKED_LANES, VALUE_BYTES
from hwsim.isa import Space
from hwsim.program import Program

from .copies import Copy
from .cuts import Matrices, Tile
from .gradients import Frame, FramedPrune
from .sections import Cost, Section, cost, sections_program
from .tile_search import NOTHING, Candidates, Job, Limits, PlanSearch, TileSearch, limits_of
from .vectors import KINDS, SPACES, TWO_TENSORS, ColumnSum, Elementwise, Tensor
from .weights import CHANNEL_UNIT, MASTERS, Prune, Sgd, Update

PAGE_BYTES = 4096


@dataclass(frozen=True, eq=False)
class Pass:
    """addresses: of the tensors by name, in bytes. size_bytes: of DRAM that they need. cost: exact."""

    name: str
    config: AcceleratorConfig
    sections: tuple[Section, ...]
    addresses: Mapping[str, int]
    size_bytes: int
    cost: Cost

    @property
    def cycles(self) -> int:
        """Of the pass as a program of its own."""
        return self.cost.cycles

    @property
    def counters(self) -> Mapping[str, int]:
        """Bytes, busy cycles and instructions; see `sections.COUNTERS`."""
        return self.cost.counters


def emit_pass(pass_: Pass) -> Program:
    """The instructions of a pass."""
    return sections_program(pass_.sections, pass_.config, pass_.name)


def update_pass(
    weight_shape: tuple[int, ...],
    conv_groups: int,
    ff: Pattern | None,
    bp: Pattern | None,
    config: AcceleratorConfig,
    *,
    optimizer: Sgd | None = None,
) -> Pass:
    """SGD of one weight and the generation of its FF and BP copies; None: no such copy.

    weight_shape: (out, in / conv_groups, *taps). Tensors: weight, momentum, gradient; ff_values,
    ff_indices, bp_values, bp_indices; half, the FP16 weight. Copies are packed tile by tile as the
    weight is updated, or afterwards from `half`, whichever is faster. Raises UnsupportedError for a
    pattern that SORE cannot select and for scratchpads that are too small.
    """
    return update_search(weight_shape, conv_groups, ff, bp, config, optimizer).pass_on(config)


def update_search(
    weight_shape: tuple[int, ...],
    conv_groups: int,
    ff: Pattern | None,
    bp: Pattern | None,
    config: AcceleratorConfig,
    optimizer: Sgd | None = None,
) -> "PassSearch":
    """`update_pass` before its tiles are chosen."""
    name = f"update {'x'.join(map(str, weight_shape))}"
    matrices, copies = _copied(_matrices(weight_shape, conv_groups), ff, bp, config)
    packed = [copy for copy in copies if copy.transposed or copy.indexed]
    sizes = dict.fromkeys(MASTERS, _rows_bytes(matrices, CHANNEL_UNIT, ACCUMULATOR_BYTES))
    if len(packed) == len(copies) > 0:
        sizes["half"] = _rows_bytes(matrices, PACKED_LANES, VALUE_BYTES)
    placed = Placement.of(sizes, copies)
    masters = {tensor: placed.addresses[tensor] for tensor in MASTERS}
    plain = Update(_joined(matrices), masters, (), placed.half, config, optimizer or Sgd())
    if not copies:
        plain = replace(plain, matrices=_flat(matrices))
    plans: list[list[Job]] = [[plain]]
    if packed:
        fused = replace(plain, matrices=matrices, copies=placed.of_copies(copies), half=None)
        packings = _packings(matrices, placed, packed, config)
        plans = [[fused], *([plain, *packing] for packing in packings)]
    return PassSearch(name, plans, placed)


def prune_pass(
    weight_shape: tuple[int, ...],
    conv_groups: int,
    ff: Pattern | None,
    bp: Pattern | None,
    config: AcceleratorConfig,
) -> Pass:
    """FF and BP copies of the FP16 weight, tensor "half" of `update_pass`; raises as that does.

    [conv group][tap][input][output padded to 32]: what `update_pass` writes as a dense FF copy.
    """
    return prune_search(weight_shape, conv_groups, ff, bp, config).pass_on(config)


def prune_search(
    weight_shape: tuple[int, ...],
    conv_groups: int,
    ff: Pattern | None,
    bp: Pattern | None,
    config: AcceleratorConfig,
) -> "PassSearch":
    """`prune_pass` before its tiles are chosen."""
    name = f"prune {'x'.join(map(str, weight_shape))}"
    matrices, copies = _copied(_matrices(weight_shape, conv_groups), ff, bp, config)
    if not copies:
        raise UnsupportedError(f"{name}: expected an FF or a BP pattern, got neither")
    placed = Placement.of({"half": _rows_bytes(matrices, PACKED_LANES, VALUE_BYTES)}, copies)
    return PassSearch(name, _packings(matrices, placed, copies, config), placed)


def gradient_pass(tokens: int, channels: int, pattern: NM, config: AcceleratorConfig) -> Pass:
    """SDGP: prune dY [token][channel padded to 8] ("half") along the channels, tokens on the lanes.

    The image is bp_values, bp_indices: [group][n][token padded to 32].
    """
    return gradient_search(tokens, channels, pattern, config).pass_on(config)


def gradient_search(
    tokens: int, channels: int, pattern: NM, config: AcceleratorConfig
) -> "PassSearch":
    """`gradient_pass` before its tiles are chosen."""
    matrices, copies = _copied(Matrices(1, tokens, channels), None, pattern, config)
    return _from_rows(f"prune gradient {tokens}x{channels}", matrices, copies, config)


def conv_gradient_pass(
    conv: ConvGeometry, channels: int, pattern: NM, config: AcceleratorConfig
) -> Pass:
    """SDGP of a convolution: bp_values, bp_indices, [tap][group][n][input pixel padded to 32].

    "half" is dY inside a frame of zeros, `gradients.Frame`; channels: outputs. Raises
    UnsupportedError for a stride, since zeros between the pixels cannot be loaded.
    """
    return conv_gradient_search(conv, channels, pattern, config).pass_on(config)


def conv_gradient_search(
    conv: ConvGeometry, channels: int, pattern: NM, config: AcceleratorConfig
) -> "PassSearch":
    """`conv_gradient_pass` before its tiles are chosen."""
    frame = Frame(conv, channels)
    tokens = conv.batch * conv.in_hw[0] * conv.in_hw[1]
    copy = Copy.packed("bp", pattern, Matrices(conv.taps, tokens, channels), config)
    placed = Placement.of({"half": prod(frame.shape) * VALUE_BYTES}, [copy])
    job = FramedPrune(frame, placed.addresses["half"], copy.placed(placed.addresses), config)
    return PassSearch(f"prune gradient {frame.shape}", [[job]], placed)


def transpose_pass(rows: int, columns: int, config: AcceleratorConfig) -> Pass:
    """FP16 [row][column padded to 8] ("half") as [column][row padded to 8] ("bp_values")."""
    return transpose_search(rows, columns, config).pass_on(config)


def transpose_search(rows: int, columns: int, config: AcceleratorConfig) -> "PassSearch":
    """`transpose_pass` before its tile is chosen."""
    matrices = Matrices(1, rows, columns)
    copy = Copy("bp", matrices, 1, 1, transposed=True, indexed=False, lane_padding=CHANNEL_UNIT)
    return _from_rows(f"transpose {rows}x{columns}", matrices, [copy], config)


def vector_pass(
    kinds: Sequence[str],
    tokens: int,
    channels: int,
    config: AcceleratorConfig,
    *,
    source: str = "float16",
    result: str = "float16",
    scale: float = 1.0,
) -> Pass:
    """Elementwise `kinds`, one after the other, on [token][channel padded to 8] from source to result.

    kinds: see `vectors.KINDS`. Tensors: source, result, and operand_0, operand_1, ... for the kinds
    with a second operand: FP16 of the same shape, for bias one FP32 row. source, result: their dtypes.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UnsupportedError(unknown_name("vector kind", kind, KINDS))
    matrices = Matrices(1, tokens, channels)
    if "bias" not in kinds:
        matrices = _flat(matrices)
    tensors = {"source": Tensor(0, SPACES[source], matrices.columns)}
    tensors["result"] = Tensor(0, SPACES[result], matrices.columns)
    tensors |= _operands(kinds, matrices.columns)
    sizes = {
        name: tensor.row_bytes * (1 if tensor.repeated else matrices.rows)
        for name, tensor in tensors.items()
    }
    placed = Placement.of(sizes, [])
    at = {name: replace(item, address=placed.addresses[name]) for name, item in tensors.items()}
    operands = tuple(at.get(f"operand_{index}") for index in range(len(kinds)))
    job = Elementwise(matrices, tuple(kinds), at["source"], operands, at["result"], config, scale)
    return PassSearch(f"{'+'.join(kinds)} {tokens}x{channels}", [[job]], placed).pass_on(config)


def bias_gradient_pass(tokens: int, channels: int, config: AcceleratorConfig) -> Pass:
    """The sums db of dY [token][channel padded to 8] ("source") over tokens, FP32 ("result").

    Each tile's rows are added in order, then the tiles' sums in the same way ("sums_0", ...).
    """
    name, rows, level = f"bias gradient {tokens}x{channels}", tokens, 0
    source = Tensor(0, Space.ACC16, channels)
    addresses, end = {"source": 0}, padded(source.row_bytes * tokens, PAGE_BYTES)
    sections: list[Section] = []
    while level == 0 or rows > 1:
        matrices, target = Matrices(1, rows, channels), Tensor(end, Space.ACC, channels)
        job = ColumnSum(matrices, source, target, config)
        tile = _fastest_tile(name, job, config)
        sections += job.sections(tile)
        rows, source = -(-rows // tile.rows), target
        addresses["result" if rows == 1 else f"sums_{level}"] = end
        end, level = padded(end + target.row_bytes * rows, PAGE_BYTES), level + 1
    return Pass(name, config, tuple(sections), addresses, end, cost(sections, config))


@dataclass(frozen=True)
class Placement:
    """Tensors of a pass in DRAM, one after the other."""

    addresses: Mapping[str, int]
    size_bytes: int

    @classmethod
    def of(cls, sizes: Mapping[str, int], copies: Sequence[Copy]) -> "Placement":
        """Addresses of tensors, then of the planes of copies."""
        addresses, end = {}, 0
        for name, size in [
            *sizes.items(),
            *(item for copy in copies for item in copy.sizes.items()),
        ]:
            addresses[name] = end
            end = padded(end + size, PAGE_BYTES)
        return cls(addresses, end)

    @property
    def half(self) -> int | None:
        """Of the FP16 weight: a dense FF copy is one."""
        return self.addresses.get("half", self.addresses.get("ff_values"))

    def of_copies(self, copies: Sequence[Copy]) -> tuple[Copy, ...]:
        """Copies at their addresses."""
        return tuple(copy.placed(self.addresses) for copy in copies)


@dataclass(frozen=True, eq=False)
class PassSearch:
    """A pass before its tiles are chosen: scratchpads and memories of any kind are asked of one search.

    Each plan is a list of jobs, of which each runs under its own fastest tile; the fastest plan wins.
    """

    name: str
    plans: Sequence[Sequence[Job]]
    placed: Placement
    _latest: dict[AcceleratorConfig, PlanSearch] = field(default_factory=dict)

    @cached_property
    def _candidates(self) -> list[list[Candidates]]:
        return [[Candidates(job) for job in plan] for plan in self.plans]

    def on(self, config: AcceleratorConfig) -> PlanSearch:
        """On the memory of `config`; the latest one is kept. Its other fields are those of the jobs."""
        if config not in self._latest:
            self._latest.clear()
            self._latest[config] = PlanSearch(self._candidates, config)
        return self._latest[config]

    def pass_on(self, config: AcceleratorConfig) -> Pass:
        """The pass itself. config: of the jobs. Raises UnsupportedError where no tile fits."""
        search = self.on(config)
        (run,) = search.fastest(limits_of(config))
        if run is None:
            raise UnsupportedError(self.misfit(config))
        jobs = zip(self._candidates[run[0]], run[1:], strict=True)
        sections = [part for job, at in jobs for part in job.job.sections(job.tiles[at])]
        placed = self.placed
        return Pass(
            self.name,
            config,
            tuple(sections),
            placed.addresses,
            placed.size_bytes,
            search.cost(run),
        )

    def costs_on(self, config: AcceleratorConfig, limits: Limits) -> list[Cost | None]:
        """On the memory of `config`, within each row of limits; None where no tile fits."""
        search = self.on(config)
        return [None if run is None else search.cost(run) for run in search.fastest(limits)]

    def cost_on(self, config: AcceleratorConfig) -> Cost:
        """`pass_on(config).cost`."""
        (cost,) = self.costs_on(config, limits_of(config))
        if cost is None:
            raise UnsupportedError(self.misfit(config))
        return cost

    def misfit(self, config: AcceleratorConfig) -> str:
        """Why no plan fits the scratchpads of `config`."""
        least = self.on(config).misfits(limits_of(config))
        return "; ".join(dict.fromkeys(_misfit(self.name, tile, config) for tile in least))


def _matrices(weight_shape: tuple[int, ...], conv_groups: int) -> Matrices:
    """A weight as [conv group, tap] matrices of inputs x outputs."""
    layout = Layout(weight_shape, 1, conv_groups)
    return Matrices(layout.conv_groups * layout.taps, layout.reduction, layout.lanes)


def _joined(matrices: Matrices) -> Matrices:
    """All rows as one matrix."""
    return Matrices(1, matrices.count * matrices.rows, matrices.columns)


def _flat(matrices: Matrices) -> Matrices:
    """All values as one row."""
    columns = padded(matrices.columns, CHANNEL_UNIT)
    return Matrices(1, 1, matrices.count * matrices.rows * columns)


def _rows_bytes(matrices: Matrices, lane_padding: int, value_bytes: int) -> int:
    """Bytes of all matrices."""
    row = padded(matrices.columns, lane_padding) * value_bytes
    return matrices.count * matrices.rows * row


def _copied(
    matrices: Matrices, ff: Pattern | None, bp: Pattern | None, config: AcceleratorConfig
) -> tuple[Matrices, list[Copy]]:
    """The copies. Matrices are joined where no group of a copy crosses from one to the next."""
    if bp is None and not (isinstance(ff, NM) and matrices.rows % ff.m):
        matrices = _joined(matrices)
    patterns = {"ff": ff, "bp": bp}
    copies = [
        Copy.packed(name, pattern, matrices, config)
        for name, pattern in patterns.items()
        if pattern is not None
    ]
    return matrices, copies


def _packings(
    matrices: Matrices, placed: Placement, copies: Sequence[Copy], config: AcceleratorConfig
) -> list[list[Job]]:
    """Plans that pack the FP16 weight: all copies of a tile together, or one copy after the other."""
    row_bytes = padded(matrices.columns, PACKED_LANES) * VALUE_BYTES
    job = Prune(matrices, placed.half or 0, row_bytes, placed.of_copies(copies), config)
    alone: list[Job] = [replace(job, copies=(copy,)) for copy in job.copies]
    return [[job], alone] if len(alone) > 1 else [[job]]


def _from_rows(
    name: str, matrices: Matrices, copies: Sequence[Copy], config: AcceleratorConfig
) -> "PassSearch":
    """Copies of an activation tensor."""
    row_bytes = padded(matrices.columns, CHANNEL_UNIT) * VALUE_BYTES
    placed = Placement.of({"half": matrices.rows * row_bytes}, copies)
    job = Prune(matrices, placed.addresses["half"], row_bytes, placed.of_copies(copies), config)
    return PassSearch(name, [[job]], placed)


def _operands(kinds: Sequence[str], columns: int) -> dict[str, Tensor]:
    """Second operands of the kinds that have one."""
    tensors = {}
    for index, kind in enumerate(kinds):
        if kind == "bias":
            tensors[f"operand_{index}"] = Tensor(0, Space.ACC, columns, repeated=True)
        elif kind in TWO_TENSORS:
            tensors[f"operand_{index}"] = Tensor(0, Space.ACC16, columns)
    return tensors


def _misfit(name: str, least: Tile, config: AcceleratorConfig) -> str:
    return (
        f"{name} on {config.name}: expected scratchpads whose halves hold a tile of "
        f"{least.rows} x {least.columns}, the smallest that keeps groups and lanes whole"
    )


def _fastest_tile(name: str, job: Job, config: AcceleratorConfig) -> Tile:
    """Of the tiles that the scratchpads hold. A tie goes to the smaller tile."""
    candidates = Candidates(job)
    (position,) = TileSearch(candidates, config).fastest(limits_of(config)).tolist()
    if position == NOTHING:
        raise UnsupportedError(_misfit(name, candidates.smallest, config))
    return candidates.tiles[position]
