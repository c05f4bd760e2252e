"""A whole sweep: points from the sampler, figures from an executor, all of it in the store."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import cosparse
from cosparse.spec import InputError, Workload
from hwsim.version import model_version

from ..progress import Reporter, Task
from ..scenario import Scenario, load_scenario
from ..store import RESULTS_ROOT
from .chunks import chunks_of, group_count
from .definition import MOST_LISTED, SEARCHES, Definition, define
from .evaluate import Chunk
from .executors import Cluster, Executor, InProcess, Processes, cores
from .objectives import columns_of
from .result import SweepResult
from .samplers import Search, costs_of, listed_points
from .space import Points
from .store import Store, Variant, point_keys
from .variants import RefusedError, Variants

STORE_NAME = "sweep.sqlite"
ASKS = 20
"""Points that a search may ask for, for each new one: it may come back to known ones."""


def sweep(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    out: str | Path | None = None,
    processes: int | None = None,
    dask: str | None = None,
    trust: bool = False,
    reporter: Reporter | None = None,
) -> SweepResult:
    """Evaluate the points of a scenario's `sweep` that its store does not have yet.

    out: folder of the store, default ./results/<name>-sweep. processes: of this machine, by default one for
    each processor; 1 works in this process. dask: address of a Dask scheduler, in their place. trust: allow
    code that the scenario names. Raises InputError and its kinds for bad input, and RunError; finished
    points stay in the store, and the same call goes on from there.
    """
    checked = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    definition = define(checked)
    if processes is not None and processes < 1:
        raise InputError(f"processes: expected at least 1, got {processes}")
    folder = folder_of(checked, out)
    told = reporter or Reporter()
    with Store.open(folder / STORE_NAME) as store, _executor(processes, dask) as executor:
        train: Callable[[Mapping[str, Any]], None] = _nothing
        if definition.metrics:
            from .accuracy import Trainer

            train = Trainer(checked, store, folder, told, trust, definition.metrics).train
        run = Run(definition, store, executor, Variants(checked, store, trust=trust), train)
        return run.finish(told)


def _nothing(settings: Mapping[str, Any]) -> None:
    """No objective reads what training reaches."""


@dataclass(frozen=True)
class Plan:
    """What `sweep` would do. groups: of points that share their exact times."""

    name: str
    axes: dict[str, int]
    combinations: int
    sampler: str
    points: int
    known: int
    groups: int
    variants: int
    left_out: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def summary(self) -> list[str]:
        """The plan in a few lines."""
        axes = " x ".join(f"{path} ({count})" for path, count in self.axes.items())
        return [
            f"{self.name}: {axes}",
            f"{self.combinations:,} combinations, sampler {self.sampler}: {self.points:,} points, "
            f"{self.known:,} of them in the store",
            f"{self.variants:,} workloads, {self.groups:,} groups that share exact times",
            *(f"  {count:,} left out: {rule}" for rule, count in self.left_out.items()),
        ]


def plan(
    scenario: str | Path | Mapping[str, Any] | Scenario,
    *,
    out: str | Path | None = None,
    trust: bool = False,
    reporter: Reporter | None = None,
) -> Plan:
    """Count the points without evaluating any; of a search only what its axes span.

    Raises InputError for more combinations than can be gone through.
    """
    checked = scenario if isinstance(scenario, Scenario) else load_scenario(scenario)
    definition = define(checked)
    space, sampler = definition.space, definition.sampler
    points = known = groups = 0
    left_out: Counter[str] = Counter()
    listed = sampler.model_copy(update={"kind": "grid"} if sampler.kind in SEARCHES else {})
    if listed.kind == "grid" and space.size > MOST_LISTED:
        raise InputError(
            f"{checked.name}: expected at most {MOST_LISTED:,} combinations to count, got {space.size:,}; "
            f"'{sampler.kind}' takes {sampler.points:,} of them"
        )
    told = reporter or Reporter()
    with (
        Store.open(folder_of(checked, out) / STORE_NAME) as store,
        told.task(f"plan of {checked.name}", sampler.points or space.size) as task,
    ):
        run = Run(definition, store, InProcess(), Variants(checked, store, trust=trust))
        for spanned, illegal in listed_points(space, listed):
            task.update(points + sum(left_out.values()))
            block, refused = run.lowered(spanned)
            points += len(block)
            left_out += illegal + refused
            groups += group_count(block)
            known += len(store.known(run.keys(block)))
    return Plan(
        checked.name,
        {axis.path: len(axis.values) for axis in space.axes},
        space.size,
        sampler.kind,
        points,
        known,
        groups,
        len(space.variants),
        dict(left_out.most_common()),
    )


def folder_of(scenario: Scenario, out: str | Path | None) -> Path:
    """Where a sweep's store lies: points of other axes of the same scenario lie there too."""
    return Path(out) if out is not None else RESULTS_ROOT / f"{scenario.name}-sweep"


def _executor(processes: int | None, dask: str | None) -> Executor:
    if dask is not None:
        return Cluster(dask)
    count = cores() if processes is None else processes
    return Processes(count) if count > 1 else InProcess()


@dataclass
class Tally:
    """What happened so far."""

    evaluated: int = 0
    reused: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return self.evaluated + self.reused + sum(self.left_out.values())


class Run:
    """One call of `sweep`."""

    def __init__(
        self,
        definition: Definition,
        store: Store,
        executor: Executor,
        variants: Variants,
        train: Callable[[Mapping[str, Any]], None] = _nothing,
    ) -> None:
        self._definition, self._space = definition, definition.space
        self._store, self._executor, self._lower, self._train = store, executor, variants, train
        self._model = model_version()
        self._version = store.version(self._model, cosparse.__version__)
        self._sweep = store.sweep(definition.scenario.name, definition.content())
        self._variants: dict[int, Variant] = {}
        self._workloads: dict[int, Workload] = {}
        self._refusals: dict[int, RefusedError] = {}
        self._asked: dict[int, tuple[Points, list[bytes]]] = {}
        self._tally = Tally()

    def finish(self, reporter: Reporter) -> SweepResult:
        """Evaluate what is missing."""
        sampler, begun = self._definition.sampler, time.perf_counter()
        total = sampler.points or self._space.size
        self._store.begin(self._sweep)
        with reporter.task(self._definition.scenario.name, total) as task:
            if sampler.kind in SEARCHES:
                self._search(task)
            else:
                self._all(listed_points(self._space, sampler), task)
        result = self._result(time.perf_counter() - begun)
        if self._refusals and not result.points:
            raise next(iter(self._refusals.values()))
        self._store.finish(self._sweep)
        return result

    def _all(self, blocks: Iterator[tuple[Points, Counter[str]]], task: Task) -> None:
        begun, done = time.perf_counter(), self._tally
        for chunk, found in self._executor.run(self._chunks(blocks, task), self._workloads):
            points, keys = self._asked.pop(chunk.number)
            variant = self._variants[chunk.workload].id
            self._store.add(self._sweep, self._version, variant, points, keys, found)
            done.evaluated += len(points)
            rate = done.evaluated / (time.perf_counter() - begun)
            task.update(done.done, f"{rate:,.0f} points/s")

    def _chunks(self, blocks: Iterator[tuple[Points, Counter[str]]], task: Task) -> Iterator[Chunk]:
        """Work on the points that the store does not have."""
        for spanned, left_out in blocks:
            points, refused = self.lowered(spanned)
            self._tally.left_out += left_out + refused
            keys = self.keys(points)
            known = self._store.known(keys)
            there = [row for row, key in enumerate(keys) if key in known]
            self._store.join(self._sweep, points.select(there), [keys[row] for row in there])
            self._tally.reused += len(there)
            task.update(self._tally.done)
            missing = np.array([row for row, key in enumerate(keys) if key not in known], np.int64)
            for part in chunks_of(points.select(missing)):
                yield self._chunk(
                    points.select(missing[part]), [keys[row] for row in missing[part]]
                )

    def _chunk(self, points: Points, keys: list[bytes]) -> Chunk:
        number = max(self._asked, default=-1) + 1
        self._asked[number] = points, keys
        return Chunk(number, int(points.variants[0]), int(points.flows[0]), points.configs)

    def lowered(self, points: Points) -> tuple[Points, Counter[str]]:
        """The points whose workload can be made, which is kept, and how many others, by the reason.

        Which method takes which pattern on which layers shows only when the model is lowered.
        """
        left_out: Counter[str] = Counter()
        for variant in np.unique(points.variants).tolist():
            settings = self._space.variants[variant]
            if variant not in self._variants and variant not in self._refusals:
                try:
                    self._add(variant, settings)
                except RefusedError as error:
                    self._refusals[variant] = error
            if variant in self._refusals:
                reason = str(self._refusals[variant]).partition("\n")[0]
                left_out[reason] += int(np.count_nonzero(points.variants == variant))
        good = ~np.isin(points.variants, [*self._refusals])
        return points.select(good), left_out

    def _add(self, variant: int, settings: Mapping[str, Any]) -> None:
        found = self._lower.of(settings)
        self._train(settings)
        self._variants[variant], self._workloads[variant] = found, found.workload

    def keys(self, points: Points) -> list[bytes]:
        """Keys of points that `lowered` let through."""
        digests = {number: found.digest for number, found in self._variants.items()}
        return point_keys(self._model, digests, points)

    # --- searches

    def _search(self, task: Task) -> None:
        """Ask, evaluate what is new, tell; until `points` different ones are known."""
        sampler = self._definition.sampler
        search = Search(self._space, self._definition.objectives, sampler)
        wanted, seen, asked = min(sampler.points or 0, self._space.size), dict[bytes, int](), 0
        while len(seen) < wanted and asked < ASKS * wanted:
            trials, codes = search.ask(sampler.batch)
            asked += len(trials)
            spanned, left_out = self._space.resolve(codes, fold=True)
            points, refused = self.lowered(spanned)
            self._tally.left_out += left_out + refused
            keys = self.keys(points)
            fresh = []
            for row, key in enumerate(keys):
                if key not in seen and len(seen) < wanted:
                    seen[key] = len(seen)
                    fresh.append(row)
            asked_for = points.select(fresh).numbered([seen[keys[row]] for row in fresh])
            self._all(iter([(asked_for, Counter[str]())]), task)
            costs = self._costs([key if key in seen else b"" for key in keys])
            by_trial = dict(zip(points.rows.tolist(), costs, strict=True))
            for position, trial in enumerate(trials):
                search.tell(trial, by_trial.get(position))

    def _costs(self, keys: list[bytes]) -> list[list[float] | None]:
        """Of each point; None where it cannot run, did not learn or was not asked for any more."""
        objectives = self._definition.objectives
        names = [*columns_of(objectives)]
        found = self._store.figures(self._sweep, keys, names)
        found = {key: row for key, row in found.items() if None not in row}  # a training diverged
        held = [found[key] for key in keys if key in found]
        columns = {name: np.array([row[place] for row in held]) for place, name in enumerate(names)}
        costs = iter(costs_of(objectives, columns, len(held)).tolist() if held else [])
        return [next(costs) if key in found else None for key in keys]

    def _result(self, seconds: float) -> SweepResult:
        done = self._tally
        points, refused = self._store.count(self._sweep)
        return SweepResult(
            path=self._store.path,
            sweep=self._sweep,
            name=self._definition.scenario.name,
            points=points,
            refused=refused,
            evaluated=done.evaluated,
            reused=done.reused,
            left_out=dict(done.left_out.most_common()),
            seconds=seconds,
            objectives=tuple(one.text for one in self._definition.objectives),
        )
