"""The roofline of an accelerator (Williams, Waterman, Patterson, CACM 2009) with a step's products."""

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim import AcceleratorConfig, LayerTiming


@dataclass(frozen=True)
class RooflinePoint:
    """intensity: issued MACs a byte of DRAM; macs_per_cycle: issued MACs over cycles."""

    name: str
    phase: str
    intensity: float
    macs_per_cycle: float


@dataclass(frozen=True)
class Roofline:
    """peak: MACs a cycle, R * C; bandwidth: bytes a cycle."""

    peak: int
    bandwidth: int
    points: tuple[RooflinePoint, ...]

    @property
    def ridge(self) -> float:
        """The intensity from which on the array can be busy all the time."""
        return self.peak / self.bandwidth

    def bound(self, intensity: float) -> float:
        """MACs a cycle that the roof allows."""
        return min(self.peak, self.bandwidth * intensity)


def roofline(timings: Sequence[LayerTiming], config: AcceleratorConfig) -> Roofline:
    """Every matrix product of a priced step."""
    points = tuple(
        RooflinePoint(
            timing.name,
            timing.phase.value,
            timing.issued_macs / timing.dram_bytes,
            timing.issued_macs / timing.cycles,
        )
        for timing in timings
        if timing.array and timing.dram_bytes
    )
    return Roofline(config.rows * config.cols, config.dram_bytes_per_cycle, points)
