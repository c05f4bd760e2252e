"""Builds the machine, runs one program, and collects the trace."""

from collections.abc import Mapping

from cosparse.spec.errors import ProgramError

from ..config import AcceleratorConfig
from ..constants import HALT_CYCLES, INSTRUCTION_BYTES
from ..isa import Instruction, Op, Unit
from ..program import Program
from .clock import Clock
from .context import Context, Executor
from .dma import Dma
from .dram import DramChannel
from .frontend import Frontend
from .ledger import Ledger
from .recorder import Recorder, Silent
from .records import InstructionRecord, Trace
from .semaphores import Semaphores
from .sore import Sore
from .stce import Stce
from .wuve import Wuve


def run(program: Program, config: AcceleratorConfig, *, trace: bool = True) -> Trace:
    """Simulate a program that obeys the limits of the units (`hwsim.legality` checks them).

    trace: record every burst and tile. Raises ProgramError when its last instruction is not its only
    HALT, and when it deadlocks, with what each unit waits for.
    """
    clock, recorder = Clock(), Recorder() if trace else Silent()
    channel, semaphores = DramChannel(config), Semaphores(clock)
    contexts = {unit: Context(clock, config, recorder, Ledger()) for unit in Unit}
    executors: Mapping[Unit, Executor] = {
        Unit.DMA: Dma(contexts[Unit.DMA], channel),
        Unit.STCE: Stce(contexts[Unit.STCE]),
        Unit.SORE: Sore(contexts[Unit.SORE]),
        Unit.WUVE: Wuve(contexts[Unit.WUVE]),
    }
    streams = _streams(program)
    frontends = [
        Frontend(unit, streams[unit], contexts[unit], semaphores, executors[unit]) for unit in Unit
    ]
    for frontend in frontends:
        clock.process(frontend.process())
    clock.run()
    _refuse_deadlock(program, frontends)
    return _trace(program, config, frontends, channel, recorder, clock)


def _streams(program: Program) -> dict[Unit, list[tuple[int, Instruction]]]:
    """Each unit's stream with positions in program order; HALT closes all of them."""
    listed = list(enumerate(program))
    halts = [index for index, item in listed if item.op is Op.HALT]
    if not listed or halts != [len(listed) - 1]:
        raise ProgramError(
            f"{program.name}: expected one HALT, the last of {len(listed)} instructions, "
            f"got HALT at {halts}"
        )
    return {
        unit: [item for item in listed if item[1].unit is unit or item[1].op is Op.HALT]
        for unit in Unit
    }


def _refuse_deadlock(program: Program, frontends: list[Frontend]) -> None:
    blocked = [str(frontend.blocked) for frontend in frontends if frontend.blocked]
    if blocked:
        raise ProgramError(
            f"{program.name}: expected a token for every wait, got a deadlock: "
            + "; ".join(blocked)
        )


def _trace(
    program: Program,
    config: AcceleratorConfig,
    frontends: list[Frontend],
    channel: DramChannel,
    recorder: Recorder,
    clock: Clock,
) -> Trace:
    records = sorted(
        (record for frontend in frontends for record in frontend.records),
        key=lambda record: (record.index, record.unit),
    )
    cycles = _last_halt(records) + HALT_CYCLES
    return Trace(
        program=program.name,
        accelerator=config.name,
        cycles=cycles,
        instructions=tuple(records),
        bursts=tuple(recorder.bursts),
        tiles=tuple(recorder.tiles),
        units={item.unit: item.context.ledger.closed(cycles) for item in frontends},
        channel_busy_cycles=channel.busy_cycles,
        dram_bytes_read=channel.bytes_read,
        dram_bytes_written=channel.bytes_written,
        instruction_bytes=len(records) * INSTRUCTION_BYTES,
        events=clock.events,
    )


def _last_halt(records: list[InstructionRecord]) -> int:
    return max(record.issue for record in records if record.op is Op.HALT)
