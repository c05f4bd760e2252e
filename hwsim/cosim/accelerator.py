"""Runs programs on the RTL of the complete accelerator (rtl/cosparse_top.sv), many in one process.

    results = run_programs(config, [Case.of(program, config, memory.image)])

The bench `accelerator_bench` in rtl/tb is the other half: cases and results pass through a folder.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cosparse.spec.dtypes import Array
from cosparse.spec.errors import ConfigError, RunError

from ..config import AcceleratorConfig
from ..decoded import decode_program
from ..host import Counter, Error
from ..isa import Op, Unit, Words
from ..program import Program
from . import sources
from .design import Design
from .run import simulate

CASES, RESULTS = "cases.json", "results.json"
NO_FAULT = (1 << 40) - 1
"""An address that no burst has."""

AXI_BYTES = (4, 8, 16)
"""Bus widths of the RTL: a beat lies in one row of a transfer, whose bytes are multiples of 16."""

_PARAMETERS: dict[str, str] = {
    "rows": "Rows",
    "cols": "Cols",
    "group_max": "GroupMax",
    "n_max": "NMax",
    "mul_latency": "MulLatency",
    "add_latency": "AddLatency",
    "interleave": "Interleave",
    "act_values_per_row_cycle": "ActValuesPerRowCycle",
    "activation_kib": "ActivationKib",
    "weight_kib": "WeightKib",
    "accumulator_kib": "AccumulatorKib",
    "axi_bytes": "AxiBytes",
    "burst_beats": "BurstBeats",
    "outstanding": "Outstanding",
    "sore_lanes": "SoreLanes",
    "wuve_lanes": "WuveLanes",
}


@dataclass(frozen=True, eq=False)
class Case:
    """One program, its DRAM image, and the memory behind the port.

    stall: 0 for the DRAM model; otherwise every AXI handshake waits in stall of 256 cycles, at random
    from `seed`, and only the bits of the result mean something. window_first, window_last: bytes of
    DRAM that the program may touch; by default as many as the image has. fault: a burst with this byte
    answers SLVERR. address_bits: those that the memory decodes; the bytes of the image repeat above.
    stream_first: byte address of the first stream, a multiple of 4 MiB; instructions repeat as well.
    reset_after: cycles after which the design is reset, whatever it does.
    """

    streams: Mapping[Unit, Words]
    image: Array
    latency_cycles: int
    bytes_per_cycle: int
    stall: int = 0
    seed: int = 1
    window_first: int = 0
    window_last: int | None = None
    fault: int | None = None
    address_bits: int = 40
    stream_first: int = 0
    reset_after: int | None = None

    @classmethod
    def of(
        cls, program: Program, config: AcceleratorConfig, image: Array, **options: Any
    ) -> "Case":
        """A legal program; latency and bandwidth are those of the configuration."""
        return cls(
            streams_of(program),
            image,
            config.dram_latency_cycles,
            config.dram_bytes_per_cycle,
            **options,
        )


@dataclass(frozen=True, eq=False)
class RtlResult:
    """What the host reads at the end, and DRAM. counters: cycles of each unit; error_address: bytes.

    timed_out: the interrupt did not come in time; nothing else is known.
    """

    image: Array
    done: bool
    nonfinite: bool
    error: Error
    error_unit: Unit
    error_address: int
    cycles: int
    counters: Mapping[Unit, Mapping[Counter, int]]
    timed_out: bool = False


def streams_of(program: Program) -> dict[Unit, Words]:
    """What each unit fetches, HALT last. Raises as `decode_program` does."""
    decoded = decode_program(program)
    return {unit: program.words[(decoded.unit == unit) | (decoded.op == Op.HALT)] for unit in Unit}


def rtl_parameters(config: AcceleratorConfig) -> dict[str, int]:
    """Parameters of cosparse_top. Raises ConfigError for what the RTL is not made for."""
    if config.simulation_only:
        raise ConfigError(
            f"{config.name} exists in simulation only: expected axi_ports = 1 for RTL, got "
            f"{config.axi_ports}; sat-4x4 and sat-8x8 have RTL"
        )
    if config.axi_bytes not in AXI_BYTES:
        choices = ", ".join(map(str, AXI_BYTES))
        raise ConfigError(
            f"{config.name}: expected axi_bytes of {choices} for RTL, got {config.axi_bytes}"
        )
    return {name: getattr(config, field) for field, name in _PARAMETERS.items()}


def accelerator_design(
    config: AcceleratorConfig,
    folders: Sequence[Path] = (),
    parameters: Mapping[str, int] | None = None,
    top: str = "tb_top",
    **options: Any,
) -> Design:
    """The bench's design. folders: searched before the RTL's own. options: of `Design`."""
    return Design(
        top,
        {**rtl_parameters(config), **(parameters or {})},
        folders=(*folders, *sources.folders()),
        **options,
    )


def run_programs(
    design: Design,
    cases: Sequence[Case],
    timeout_cycles: int = 1_000_000,
    module: str = "accelerator_bench",
    **options: Any,
) -> list[RtlResult]:
    """Run cases one after the other without a reset between them. Raises RunError.

    module: the bench that goes with the design's top. options: of `run`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / CASES).write_text(
            json.dumps([write_case(folder, i, c) for i, c in enumerate(cases)])
        )
        given = {"folder": scratch, "timeout_cycles": timeout_cycles}
        outcome = simulate(design, module, arguments=given, **options)
        if not (folder / RESULTS).exists():
            raise RunError(f"the simulation wrote no results\n{outcome.output}")
        listed = json.loads((folder / RESULTS).read_text())
        return [read_result(folder, number, item) for number, item in enumerate(listed)]


def write_case(folder: Path, number: int, case: Case) -> dict[str, Any]:
    """Write image and streams where the bench finds them; returns what it is told of the case."""
    np.save(folder / f"image{number}.npy", case.image)
    for unit in Unit:
        np.save(folder / f"stream{number}_{int(unit)}.npy", case.streams[unit])
    last = case.window_last
    return {
        "latency_cycles": case.latency_cycles,
        "bytes_per_cycle": case.bytes_per_cycle,
        "stall": case.stall,
        "seed": case.seed,
        "window_first": case.window_first,
        "window_last": case.window_first + len(case.image) - 1 if last is None else last,
        "fault": NO_FAULT if case.fault is None else case.fault,
        "address_mask": (1 << case.address_bits) - 1,
        "stream_first": case.stream_first,
        "reset_after": case.reset_after,
    }


def read_result(folder: Path, number: int, item: Mapping[str, Any]) -> RtlResult:
    """The result from what the bench says and the image that it left."""
    image: npt.NDArray[np.uint8] = np.load(folder / f"image{number}.npy")
    return RtlResult(
        image=image,
        done=bool(item["status"] & 2),
        nonfinite=bool(item["status"] & 8),
        error=Error(item["error"] & 15),
        error_unit=Unit(item["error"] >> 4 & 3),
        error_address=item["error_address"],
        cycles=item["cycles"],
        counters={
            unit: {counter: item["counters"][unit][counter] for counter in Counter} for unit in Unit
        },
        timed_out=item["timed_out"],
    )
