"""Offline scheduling: the fastest tiling of a product in each dataflow, by exact cycles."""

from collections.abc import Sequence
from dataclasses import dataclass

from cosparse.spec import Block, Gemm, Phase, UnsupportedError

from .accesses import Store, half_words
from .compile.blocking import PE_BYTES, acc_words, act_words, set_blocks, wgt_words
from .compile.evaluate import shape_vector
from .compile.lower import gemm_nests
from .compile.nest import Nests
from .compile.search import MAX_STRIPS, fastest
from .compile.strips import split_width
from .config import AcceleratorConfig
from .support import DATAFLOWS, supports


@dataclass(frozen=True)
class Schedule:
    """One product as it runs: its cut nests and what their program takes.

    array_cycles: the sum of the MATMULs' durations.
    """

    dataflow: str
    nests: Nests
    cycles: int
    bytes_read: int
    bytes_written: int
    array_cycles: int
    instructions: int

    @property
    def dram_bytes(self) -> int:
        return self.bytes_read + self.bytes_written


def schedules(
    gemm: Gemm, config: AcceleratorConfig, dataflows: Sequence[str], *, flat: bool = False
) -> tuple[dict[str, Schedule], dict[str, str]]:
    """The fastest schedule in each of `dataflows`, and why the others cannot run.

    flat: a convolution whose im2col matrix lies in memory. Raises UnsupportedError where the
    accelerator refuses the product in every dataflow.
    """
    reason = supports(gemm, config)
    if reason is not None:
        raise UnsupportedError(f"{gemm.phase} of '{gemm.name}' on {config.name}: {reason}")
    refused = {name: why for name in dataflows if (why := refusal(gemm, name)) is not None}
    wanted = [name for name in dataflows if name not in refused]
    nests = gemm_nests(gemm, config, flat=flat)
    found = _fastest(nests, config, wanted)
    missing = [name for name in wanted if name not in found]
    if missing:
        refused |= dict.fromkeys(missing, _misfit(nests, gemm.phase is not Phase.WU, config))
    return found, refused


def refusal(gemm: Gemm, dataflow: str) -> str | None:
    """Why a product does not run in a dataflow, or None."""
    if dataflow == "WS" and gemm.phase is Phase.WU:
        return "WU is OS only: both of its operands change with every sample"
    if dataflow == "WS" and isinstance(gemm.rhs.pattern, Block):
        return "block-sparse runs in OS only: a fold of WS has no segment table"
    return None


def _fastest(
    nests: Nests, config: AcceleratorConfig, dataflows: Sequence[str]
) -> dict[str, Schedule]:
    found = {name: fastest(nests, DATAFLOWS[name], config) for name in dataflows}
    return {
        name: Schedule(name, best[0], *best[1]) for name, best in found.items() if best is not None
    }


def _misfit(nests: Nests, strips: bool, config: AcceleratorConfig) -> str:
    """Which scratchpad is too small for the smallest tiling of the list. strips: cut token rows too."""
    shape, text = shape_vector(config), "no tiling fits the scratchpads"
    cut = split_width(nests, MAX_STRIPS) if strips else nests.copy()
    limits = (size * config.rows * config.cols for size in PE_BYTES)
    if not any(all(set_blocks(nest, 1, 1, limit, shape) for nest in cut) for limit in limits):
        return text
    words = {Store.ACT: act_words, Store.WGT: wgt_words, Store.ACC: acc_words}
    lanes = {Store.ACT: config.activation_lanes, Store.WGT: config.cols, Store.ACC: config.cols}
    needed = {
        store: max(count(nest, lanes[store]) for nest in cut) for store, count in words.items()
    }
    over = [
        f"{least:,} words of {store.name} in a half, which has {half_words(store, config):,}"
        for store, least in needed.items()
        if least > half_words(store, config)
    ]
    return f"{text}: the smallest needs {', '.join(over)}" if over else text
