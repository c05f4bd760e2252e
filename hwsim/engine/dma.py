"""The DMA: LOAD and STORE burst by burst, FILL word by word."""

from ..constants import DMA_END_CYCLES, DMA_START_CYCLES
from ..isa import Instruction, Op
from .context import Context, Execution, Registers
from .dram import DramChannel, requests
from .records import Burst, Stall


class Dma:
    """Free one cycle after the last grant, while its bursts are still in flight."""

    def __init__(self, context: Context, channel: DramChannel) -> None:
        self._context = context
        self._channel = channel

    def execute(self, index: int, instruction: Instruction, registers: Registers) -> Execution:
        if instruction.op is Op.FILL:
            return self._fill(instruction.args["words"])
        return self._transfer(index, instruction, registers)

    def _fill(self, words: int) -> Execution:
        yield from self._context.spend(DMA_START_CYCLES + words)
        return self._context.clock.cycle

    def _transfer(self, index: int, instruction: Instruction, registers: Registers) -> Execution:
        """Busy in the cycle of each grant; between them it waits for the channel.

        No other master uses the channel, so all grants of a transfer are settled when it starts.
        """
        context, write = self._context, instruction.op is Op.STORE
        yield from context.stall(DMA_START_CYCLES, Stall.DATA)
        start = context.clock.cycle
        bursts, granted, done = 0, start, start
        for request in requests(instruction.args["dram"], registers, context.config):
            granted, done = self._channel.grant(start, request, write)
            context.recorder.burst(Burst(index, write, *request, granted, done))
            bursts += 1
        yield from context.spend(bursts, {Stall.BANDWIDTH: granted + 1 - start - bursts})
        return done + DMA_END_CYCLES
