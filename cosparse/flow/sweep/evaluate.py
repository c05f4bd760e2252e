"""Figures of a chunk of points, in the process that is asked; needs neither torch nor the scenario."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cosparse.spec import Workload
from hwsim.compile.step import COLUMN, PHASE_CYCLES
from hwsim.config_vector import CONFIG_POSITION
from hwsim.energy import EVENTS, EnergyTable, estimate_many
from hwsim.step import StepPricer

from .axes import DATAFLOWS
from .figures import INTEGERS, REALS
from .space import FLOWS, Configs, area_of

PRICERS = 4
"""Kept by one process: the latest workloads and dataflows."""
_PHASES = [COLUMN[name] for name in PHASE_CYCLES]
_EVENTS = [COLUMN[name] for name in EVENTS]
_CLOCK = CONFIG_POSITION["clock_mhz"]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Points of one workload and dataflow. number: of the chunk, so that its result finds its way back."""

    number: int
    workload: int
    flow: int
    configs: Configs


@dataclass(frozen=True, eq=False)
class Evaluated:
    """integers: (points, INTEGERS). reals: (points, REALS). refused: why a point cannot run, by its row."""

    integers: npt.NDArray[np.int64]
    reals: npt.NDArray[np.float64]
    refused: dict[int, str]


class Evaluator:
    """Evaluates chunks one after the other; what they have in common is worked out once."""

    def __init__(self) -> None:
        self._workloads: dict[int, Workload] = {}
        self._pricers: OrderedDict[tuple[int, int], StepPricer] = OrderedDict()
        self._energy = EnergyTable.default()

    def knows(self, workload: int) -> bool:
        """Whether `add` was called for it."""
        return workload in self._workloads

    def add(self, number: int, workload: Workload) -> None:
        """Chunks name the workload by this number."""
        self._workloads[number] = workload

    def evaluate(self, chunk: Chunk) -> Evaluated:
        """Figures of every point; zeros for refused ones."""
        found = self._pricer(chunk).totals(chunk.configs)
        cycles = found.table[:, _PHASES].sum(axis=1)
        area = area_of(chunk.configs)
        clock = chunk.configs[:, _CLOCK]
        energy = estimate_many(found.table[:, _EVENTS], cycles, clock, self._energy)
        integers = np.concatenate([cycles[:, None], found.table, area], axis=1)
        reals = np.concatenate([(cycles / (clock * 1e3))[:, None], energy], axis=1)
        assert integers.shape[1] == len(INTEGERS) and reals.shape[1] == len(REALS)
        return Evaluated(integers, reals, found.refused)

    def _pricer(self, chunk: Chunk) -> StepPricer:
        key = chunk.workload, chunk.flow
        if key not in self._pricers:
            options = DATAFLOWS[FLOWS[chunk.flow]]
            self._pricers[key] = StepPricer(self._workloads[chunk.workload], **options)
            if len(self._pricers) > PRICERS:
                self._pricers.popitem(last=False)
        self._pricers.move_to_end(key)
        return self._pricers[key]
