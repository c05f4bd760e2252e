"""STCE: one MATMUL, tile by tile (output-stationary) or fold by fold (weight-stationary)."""

from ..constants import MATMUL_START_CYCLES
from ..isa import Flow, Instruction
from .context import Context, Execution, Registers, Steps
from .fold import fold_plans
from .records import Stall, Tile
from .walk import Chunk, TileShape, Walk
from .work import Work


class Stce:
    """Executes MATMUL with the dataflow that its registers name."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def execute(self, index: int, instruction: Instruction, registers: Registers) -> Execution:
        walk = Walk.of(registers, self._context.config)
        if walk.flow is Flow.WS:
            yield from self._weight_stationary(index, walk)
        else:
            yield from self._output_stationary(index, walk, bool(instruction.args["accumulate"]))
        return self._context.clock.cycle

    def _output_stationary(self, index: int, walk: Walk, accumulate: bool) -> Steps:
        """A tile hands its sums to the shadow chain; the next tile ends when the chain is clear."""
        context, config, clock = self._context, walk.config, self._context.clock
        chain_cycles = config.rows * walk.ic * walk.ir
        gap = chain_cycles + (config.rows - 1 if accumulate else 0)
        chunks = walk.chunks()
        first_values = max(chunks[0].fill_cycles, chain_cycles if accumulate else 0)
        yield from context.stall(MATMUL_START_CYCLES + first_values, Stall.DATA)
        tiles = list(walk.tiles())
        # With `accumulate` the first values of tile 2 come while tile 1 runs.
        chain_clear = clock.cycle + gap if accumulate and len(tiles) > 1 else 0
        for number, tile in enumerate(tiles):
            last = number == len(tiles) - 1
            yield from self._work(index, number, tile_work(tile, chunks, walk, last))
            yield from context.stall_until(chain_clear, Stall.DRAIN)
            chain_clear = clock.cycle + gap
        skew = (config.rows - 1) + (config.cols - 1)
        pipeline = config.mul_latency + config.add_latency
        yield from context.stall(skew + pipeline + chain_cycles, Stall.DRAIN)

    def _weight_stationary(self, index: int, walk: Walk) -> Steps:
        """A fold starts when the array, its weights and the partial sums before it are ready."""
        context, config, clock = self._context, walk.config, self._context.clock
        plans = fold_plans(walk)
        yield from context.stall(MATMUL_START_CYCLES + plans[0].load_cycles, Stall.DATA)
        sums_written = 0
        for number, (plan, following) in enumerate(zip(plans, [*plans[1:], None], strict=True)):
            start = clock.cycle
            sums_written = max(sums_written, start + plan.sums_written)
            yield from self._work(index, number, plan.work(following))
            if following:
                yield from context.stall_until(start + plan.spacing(following), Stall.DRAIN)
        column_skew = config.cols - 1
        yield from context.stall_until(sums_written + column_skew + config.mul_latency, Stall.DRAIN)

    def _work(self, index: int, number: int, work: Work) -> Steps:
        start = self._context.clock.cycle
        self._context.recorder.tile(Tile(index, number, start, start + work.cycles))
        yield from self._context.spend(work.busy, work.stalls)


def tile_work(tile: TileShape, chunks: list[Chunk], walk: Walk, last: bool) -> Work:
    """U of one tile: the feeder brings the next chunk while the array works on this one.

    The first chunk of the next tile follows the last chunk; after the last tile comes nothing.
    """
    slots = walk.slots(tile)
    slot_cycles = max(slots, walk.config.add_latency)
    entries = data = 0
    fill = 0 if last else chunks[0].fill_cycles
    for chunk in reversed(chunks):
        entries += chunk.entries
        data += max(0, fill - chunk.entries * slot_cycles)
        fill = chunk.fill_cycles
    return Work(busy=entries * slots, adder=entries * (slot_cycles - slots), data=data)
