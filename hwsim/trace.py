"""A run's timeline: Chrome-trace JSON for Perfetto or chrome://tracing, and one line an instruction.

The format counts in microseconds: one microsecond of the viewer is one cycle. Tracks: the four
units (an instruction from its issue until the unit is free), the tiles of the array, the DRAM
channel (a burst while it holds the channel), and the tokens of each semaphore as counters.
"""

import json
from collections.abc import Iterator
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

from .constants import SEMAPHORE_CYCLES
from .engine import InstructionRecord, Trace
from .isa import Op, Unit

SCHEMA_VERSION = 1
"""Of the file; in otherData, beside the program, the accelerator and the cycles."""

_PROCESS = 0
_TILES = len(Unit)
_CHANNEL = len(Unit) + 1
_TRACKS: dict[int, str] = {
    **{int(unit): unit.name for unit in Unit},
    _TILES: "STCE tiles",
    _CHANNEL: "DRAM channel",
}

Event = dict[str, Any]


def write_trace(trace: Trace, path: Path | str) -> None:
    """Write the timeline as Chrome-trace JSON; an existing file is replaced."""
    Path(path).write_text(json.dumps(chrome_trace(trace), separators=(",", ":")) + "\n")


def chrome_trace(trace: Trace) -> dict[str, Any]:
    """The timeline as plain JSON values, equal for equal runs."""
    events = [*_names(), *_instructions(trace), *_tiles(trace), *_bursts(trace), *_tokens(trace)]
    return {
        "otherData": {
            "schema_version": SCHEMA_VERSION,
            "program": trace.program,
            "accelerator": trace.accelerator,
            "cycles": trace.cycles,
            "time": "1 us = 1 cycle",
        },
        "traceEvents": events,
    }


def line_trace(trace: Trace) -> Iterator[str]:
    """A header and one line an instruction, in program order; HALT has one line a unit."""
    yield f"{'index':>7} {'unit':4} {'op':7}{'issue':>10}{'free':>10}{'complete':>10}  wait -> signal"
    for record in trace.instructions:
        yield (
            f"{record.index:7} {record.unit.name:4} {record.op.name:7}{record.issue:10}"
            f"{record.free:10}{record.completion:10}  "
            f"{_numbers(record.waits)} -> {_numbers(record.signals)}"
        )


def _numbers(semaphores: tuple[int, ...]) -> str:
    return ",".join(map(str, semaphores)) or "-"


def _names() -> Iterator[Event]:
    for track, name in _TRACKS.items():
        yield {
            "ph": "M",
            "name": "thread_name",
            "pid": _PROCESS,
            "tid": track,
            "args": {"name": name},
        }


def _span(name: str, track: int, start: int, end: int, args: dict[str, Any]) -> Event:
    return {
        "ph": "X",
        "name": name,
        "pid": _PROCESS,
        "tid": track,
        "ts": start,
        "dur": end - start,
        "args": args,
    }


def _instructions(trace: Trace) -> Iterator[Event]:
    """A transfer's span ends before its completion: the unit is free when its last burst is granted."""
    for record in trace.instructions:
        if record.op is not Op.HALT:
            args = {
                "index": record.index,
                "completion": record.completion,
                "waits": record.waits,
                "signals": record.signals,
            }
            yield _span(record.op.name, record.unit, record.issue, record.free, args)


def _tiles(trace: Trace) -> Iterator[Event]:
    for tile in trace.tiles:
        args = {"instruction": tile.instruction}
        yield _span(f"tile {tile.number}", _TILES, tile.start, tile.end, args)


def _bursts(trace: Trace) -> Iterator[Event]:
    for burst in trace.bursts:
        args = {
            "instruction": burst.instruction,
            "address": burst.address,
            "bytes": burst.bytes,
            "done": burst.done,
        }
        end = burst.grant + burst.channel_cycles
        yield _span("write" if burst.write else "read", _CHANNEL, burst.grant, end, args)


def _tokens(trace: Trace) -> Iterator[Event]:
    """Tokens that may be consumed, after all changes of a cycle."""
    changes = sorted(change for record in trace.instructions for change in _changes(record))
    for semaphore, own in groupby(changes, key=lambda change: change[0]):
        steps = [(cycle, step) for _, cycle, step in own]
        counts = accumulate(step for _, step in steps)
        last_of_cycle = dict(zip((cycle for cycle, _ in steps), counts, strict=True))
        for cycle, tokens in last_of_cycle.items():
            yield {
                "ph": "C",
                "name": f"semaphore {semaphore}",
                "pid": _PROCESS,
                "ts": cycle,
                "args": {"tokens": tokens},
            }


def _changes(record: InstructionRecord) -> Iterator[tuple[int, int, int]]:
    """(semaphore, cycle, +1 or -1)."""
    for semaphore in record.signals:
        yield semaphore, record.completion + SEMAPHORE_CYCLES, 1
    for semaphore in record.waits:
        yield semaphore, record.issue, -1
