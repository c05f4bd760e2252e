"""Lists of PRUNEs for the bench of SORE, and what each must do.

Expected bits come twice: from the machine, which keeps whole scratchpads, and from
`cosparse.spec.pack`, which sees one source matrix. Expected cycles come from `hwsim.durations`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
import numpy.typing as npt

from cosparse.spec import NM, pack
from hwsim.accesses import Job, Store, ceil_div, half_words, prune_lanes, prune_reduction
from hwsim.config import AcceleratorConfig
from hwsim.config_vector import config_vector
from hwsim.durations import prune_cycles
from hwsim.isa import REGISTERS, Instruction, Op, Unit, encode
from hwsim.limits import check_instruction
from hwsim.machine.scratchpads import Scratchpads
from hwsim.machine.sore import prune
from hwsim.machine.state import State

Bits = npt.NDArray[np.uint16]

_SPECIAL = np.array(
    [
        *(0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF),
        *(0x7C00, 0xFC00, 0x7C01, 0x7E00, 0x7FFF, 0xFC01, 0xFE00, 0xFFFF),
    ],
    np.uint16,
)
"""Zeros, subnormals and their neighbours, largest numbers, infinities, NaNs with payloads."""

_PLANNED = ((1, 2), (2, 4), (2, 8), (1, 8), (2, 16), (4, 4))
"""(n, m) of tests/rtl/coverage/plan.py."""


@dataclass(frozen=True)
class Case:
    """One PRUNE. gap: idle cycles before it issues."""

    registers: dict[str, int]
    act: int
    wgt: int
    gap: int

    @property
    def instruction(self) -> Instruction:
        return Instruction(Op.PRUNE, {"bank": 0, "act": self.act, "wgt": self.wgt})

    def job(self, config: AcceleratorConfig) -> Job:
        return Job(self.instruction, self.registers, config)

    def cycles(self, config: AcceleratorConfig) -> int:
        row = np.array([self.registers[item.name] for item in REGISTERS[Unit.SORE]], np.int64)
        return int(prune_cycles(config_vector(config), row))

    def words(self) -> list[int]:
        """The entry of the bench's list, nine words of 32 bits."""
        bank, position = 0, 0
        for item in REGISTERS[Unit.SORE]:
            bank |= self.registers[item.name] << position
            position += item.bits
        entry = encode(self.instruction) | bank << 128 | self.gap << 256
        return [entry >> 32 * word & 0xFFFFFFFF for word in range(9)]

    def result_rows(self) -> int:
        groups = ceil_div(prune_reduction(self.registers), self.registers["m"])
        return groups * self.registers["n"]


def supported(config: AcceleratorConfig) -> list[tuple[int, int]]:
    """Every (n, m) that the configuration takes."""
    sizes = [m for m in range(1, config.group_max + 1) if config.group_max % m == 0]
    return [(n, m) for m in sizes for n in range(1, min(m, config.n_max) + 1)]


class Source:
    """Random cases of one configuration; `seed` fixes them."""

    def __init__(self, config: AcceleratorConfig, seed: int) -> None:
        self._config = config
        self._random = np.random.default_rng(seed)

    def contents(self, words: int, lanes: int) -> Bits:
        """Values of ACT: stretches of any bits, of special values, of ties and of zeros."""
        kinds = [
            self._random.integers(0, 1 << 16, (words, lanes), np.uint16),
            self._random.choice(_SPECIAL, (words, lanes)),
            self._random.choice(self._random.choice(_SPECIAL, 3), (words, lanes)),
            self._random.standard_normal((words, lanes)).astype(np.float16).view(np.uint16),
        ]
        stretch = self._random.integers(0, len(kinds), ceil_div(words, 8)).repeat(8)[:words]
        return np.asarray(np.choose(stretch[:, None], kinds), np.uint16)

    def every_pattern(self) -> Iterator[Case]:
        """Each (n, m) in both directions, with a whole and with a cut group."""
        for (n, m), transpose, cut in product(supported(self._config), (0, 1), (0, 1)):
            yield self._case(n, m, transpose, m * int(self._random.integers(1, 4)) + cut)

    def anything(self, count: int) -> Iterator[Case]:
        """Random patterns and sizes."""
        patterns = supported(self._config)
        for _ in range(count):
            n, m = patterns[self._random.integers(len(patterns))]
            yield self._case(n, m, int(self._random.integers(2)), self._size(5 * m))

    def planned(self, count: int) -> Iterator[Case]:
        """Patterns that networks use; lanes and groups are whole in half of the cases."""
        for _ in range(count):
            n, m = _PLANNED[self._random.integers(len(_PLANNED))]
            lanes, depth = self._config.sore_lanes, m
            sizes = [
                unit * self._size(4) if self._random.random() < 0.5 else self._size(5 * unit)
                for unit in (lanes, depth)
            ]
            yield self._case(n, m, int(self._random.integers(2)), sizes[1], sizes[0])

    def batches(self, cases: Iterable[Case], limit: int = 40) -> Iterator[list[Case]]:
        """The cases in lists, the results of each list on words of their own.

        They are laid one behind the other with gaps in a half of WGT, one half a list.
        """
        half = half_words(Store.WGT, self._config)
        batch: list[Case] = []
        start = end = 0
        for case in cases:
            words = case.result_rows() * case.registers["wgt_words"]
            if batch and (len(batch) == limit or end + words + 3 > start + half):
                yield batch
                batch, start = [], half - start
                end = start
            first = min(end + int(self._random.integers(4)), start + half - words)
            batch.append(Case(case.registers, case.act, first, case.gap))
            end = first + words
        if batch:
            yield batch

    def _case(
        self, n: int, m: int, transpose: int, reduction: int, lanes: int | None = None
    ) -> Case:
        lanes = lanes or self._size(4 * self._config.sore_lanes)
        rows, columns = (lanes, reduction) if transpose else (reduction, lanes)
        spare = int(self._random.choice([0, 0, 1, 2]))
        source_words = ceil_div(columns, self._config.activation_lanes)
        act_words = source_words + int(self._random.choice([0, 0, 1, 5]))
        registers = {
            "n": n,
            "m": m,
            "rows": rows,
            "columns": columns,
            "transpose": transpose,
            "act_words": act_words,
            "wgt_words": ceil_div(lanes, self._config.cols) + spare,
        }
        act = self._place((rows - 1) * act_words + source_words)
        return Case(registers, act, 0, int(self._random.choice([0, 0, 1, 7])))

    def _place(self, words: int) -> int:
        half = half_words(Store.ACT, self._config)
        return half * int(self._random.integers(2)) + int(self._random.integers(half - words + 1))

    def _size(self, limit: int) -> int:
        return int(self._random.integers(1, limit + 1))


class Scoreboard:
    """What the scratchpads hold and how long each case takes, case after case."""

    def __init__(self, config: AcceleratorConfig, pads: Scratchpads) -> None:
        self._config = config
        self._state = State(np.zeros(0, np.uint8), pads)
        for pad in (pads.act, pads.wgt, pads.idx):
            pad.known[:] = True

    @property
    def pads(self) -> Scratchpads:
        return self._state.pads

    def execute(self, cases: Iterable[Case]) -> list[int]:
        """Run the machine; return the cycles of each case."""
        return [self._execute(case) for case in cases]

    def _execute(self, case: Case) -> int:
        problems = check_instruction(case.instruction, case.registers, self._config)
        assert not problems, problems
        prune(self._state, case.job(self._config))
        return case.cycles(self._config)


def packed(case: Case, act: Bits, config: AcceleratorConfig) -> tuple[Bits, Bits]:
    """Values and positions (entries, lanes) of the packed source, from `cosparse.spec` alone.

    act: the contents of ACT, (words, lanes of a word).
    """
    n, m = case.registers["n"], case.registers["m"]
    weight = weights(case, act, config)
    # `pack` pads a group that the edge cuts, but refuses a K that is shorter than one group.
    weight = np.pad(weight, ((0, 0), (0, max(m - weight.shape[1], 0))))
    image = pack(weight.view(np.float16), NM(n, m), axis=1)
    entries, lanes = case.result_rows(), prune_lanes(case.registers)
    values = image.values.view(np.uint16).reshape(entries, -1)[:, :lanes]
    positions = image.unpacked_indices().reshape(entries, -1)[:, :lanes]
    return values, positions.astype(np.uint16)


def weights(case: Case, act: Bits, config: AcceleratorConfig) -> Bits:
    """What a case packs, (lanes, K); groups lie along K."""
    rows, columns = case.registers["rows"], case.registers["columns"]
    flat, step = act.reshape(-1), case.registers["act_words"] * config.activation_lanes
    first = case.act * config.activation_lanes
    source = np.stack([flat[first + row * step :][:columns] for row in range(rows)])
    return source if case.registers["transpose"] else source.T


def result(case: Case, plane: Bits, config: AcceleratorConfig) -> Bits:
    """The lanes of the source in a result. plane: contents of WGT or IDX, (words, lanes)."""
    words = case.registers["wgt_words"]
    rows = plane[case.wgt : case.wgt + case.result_rows() * words]
    lanes = prune_lanes(case.registers)
    return rows.reshape(case.result_rows(), words * config.cols)[:, :lanes].astype(np.uint16)


def all_cases(source: Source, count: int, planned: int = 0) -> Iterator[Case]:
    """Every pattern, then `count` random cases, then `planned` of the plan of coverage."""
    return chain(source.every_pattern(), source.anything(count), source.planned(planned))
