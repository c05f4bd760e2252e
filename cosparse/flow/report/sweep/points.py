"""The points of a sweep as columns of numbers, read from its store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosparse.spec import CorruptFileError, InputError
from hwsim import AcceleratorConfig
from hwsim.config_vector import CONFIG_FIELDS

from ...analysis import LIMITS, TOTALS_READ, limits_of_totals, pareto_front
from ...sweep.axes import ACCELERATOR, DATAFLOW, short_name
from ...sweep.database import guarded
from ...sweep.figures import METRICS
from ...sweep.objectives import Objective, columns_of, parse_objective
from ...sweep.space import FLOWS
from ...sweep.store import Store
from .arrays import accelerators_of

Values = NDArray[np.float64]

_DEFAULTS = ("milliseconds", "energy_j", "lut")
"""Objectives of a sweep that names fewer than two."""
_SHOWN = ("cycles", "milliseconds", "energy_j", "energy_low_j", "energy_high_j", "lut", "ff", "dsp",
          "bram36", "ws_cycles")  # fmt: skip
_ROWS = 50_000
"""Rows that are Python objects at a time."""


@dataclass(frozen=True)
class VariantRow:
    """A workload of the sweep. settings: axis path -> value.

    accuracies: `metric` of each seed that did not diverge.
    """

    id: int
    digest: str
    model: str
    method: str
    pattern: str
    batch: int
    settings: Mapping[str, Any]
    metric: str | None
    accuracies: tuple[float, ...]
    diverged: int


@dataclass(frozen=True, eq=False)
class SweepPoints:
    """The points that can run; every column is (points,).

    begun: when it last began. complete: whether it came to its end since.
    definition: the scenario that decides the points, as JSON. refused: how many points cannot run.
    number: place in the sweep. variant: id of each point's workload. flow: position in FLOWS. columns:
    configuration fields and figures by name.
    """

    path: Path
    name: str
    begun: str
    complete: bool
    version: str
    definition: Mapping[str, Any]
    refused: int
    variants: Mapping[int, VariantRow]
    number: NDArray[np.int64]
    variant: NDArray[np.int64]
    flow: NDArray[np.int64]
    columns: Mapping[str, Values]
    objectives: tuple[Objective, ...]

    def __len__(self) -> int:
        return len(self.number)

    @cached_property
    def axes(self) -> dict[str, list[Any]]:
        """Short name of each axis -> value of each point; only axes of more than one value."""
        found = {short_name(path): self._axis(path) for path in self.definition["sweep"]["axes"]}
        return {name: values for name, values in found.items() if len(set(values)) > 1}

    def _axis(self, path: str) -> list[Any]:
        if path == DATAFLOW:
            return [FLOWS[flow] for flow in self.flow.tolist()]
        column = self.columns.get(short_name(path))
        if column is not None and path.startswith("accelerator."):
            return [int(value) for value in column]
        if path == ACCELERATOR:
            return accelerators_of(self.definition, self.columns, len(self))
        named = {key: _value(path, variant) for key, variant in self.variants.items()}
        return [named[key] for key in self.variant.tolist()]

    @cached_property
    def costs(self) -> Values:
        """(points, objectives), the smaller the better; NaN where an accuracy is unknown."""
        reached = {name: self._reached(metric) for name, metric in METRICS.items()}
        columns = {**self.columns, "batch": self.of_variant("batch")} | reached
        costs = [
            np.broadcast_to(np.asarray(one.cost(columns), np.float64), (len(self),))
            for one in self.objectives
        ]
        return np.stack(costs, axis=1)

    @cached_property
    def known(self) -> NDArray[np.int64]:
        """Rows of the points whose every objective is known."""
        return np.flatnonzero(np.isfinite(self.costs).all(axis=1))

    @cached_property
    def front(self) -> NDArray[np.int64]:
        """Rows of the Pareto front in all objectives, by the first of them; equal points count once."""
        if not len(self.known):
            return self.known
        on = self.known[pareto_front(self.costs[self.known])]
        _, first = np.unique(self.costs[on], axis=0, return_index=True)
        rows: NDArray[np.int64] = on[first]  # in lexicographic order, thus by the first objective
        return rows

    def value(self, objective: int) -> Values:
        """The objective's own value, not its cost."""
        cost: Values = self.costs[:, objective]
        return -cost if self.objectives[objective].maximised else cost

    def _reached(self, metric: str) -> Values:
        """Mean over the seeds of each point's training; NaN where one diverged or is not there."""
        means = {
            key: float(np.mean(one.accuracies))
            if one.metric == metric and one.accuracies and not one.diverged
            else np.nan
            for key, one in self.variants.items()
        }
        return np.array([means[key] for key in self.variant.tolist()], np.float64)

    def of_variant(self, name: str) -> NDArray[Any]:
        """A property of each point's workload."""
        known = {key: getattr(one, name) for key, one in self.variants.items()}
        return np.array([known[key] for key in self.variant.tolist()])

    @cached_property
    def limits(self) -> dict[str, Values]:
        """Cycles of each point by entry of LIMITS."""
        return limits_of_totals(self.columns)

    @cached_property
    def limiter(self) -> list[str]:
        """The largest of a point's limits."""
        names, table = list(LIMITS), np.stack([self.limits[name] for name in LIMITS])
        return [names[row] for row in table.argmax(axis=0).tolist()]

    def config(self, row: int) -> AcceleratorConfig:
        """The accelerator of a point."""
        base = self.definition["accelerator"]["name"]
        return AcceleratorConfig(
            name=str(base), **{name: int(self.columns[name][row]) for name in CONFIG_FIELDS}
        )

    def label(self, objective: int) -> str:
        """What stands on an axis of a figure."""
        text = self.objectives[objective].text
        return _LABELS.get(text, text.removeprefix("maximise ").removeprefix("minimise "))


_LABELS = {
    "milliseconds": "step, ms (assumed clock)",
    "energy_j": "energy of a step, J (modelled)",
    "lut": "LUTs (estimated)",
}


def read_points(path: Path, sweep: int | None = None) -> SweepPoints:
    """sweep: its number in the store; by default the one that ran last. Raises InputError and the store's."""
    if not path.is_file():
        raise InputError(f"{path}: expected the store of a sweep, got no such file")
    with Store.open(path, read=True) as store:
        number, name, definition, begun, complete = _sweep_row(store, sweep)
        counted, refused = store.count(number)
        objectives = _objectives(definition)
        names = _columns(objectives)
        table = _table(store, number, names)
        variants = _variants(store, number, np.unique(table[:, 1]).astype(int).tolist())
        version = _version(store, number)
        (samples,) = next(store.rows("SELECT count(*) FROM sample WHERE sweep = ?", number))
    if samples != counted:
        raise CorruptFileError(
            f"{path}: damaged (sweep {number}: {samples - counted} points are gone)"
        )
    return SweepPoints(
        path=path,
        name=name,
        begun=begun,
        complete=complete,
        version=version,
        definition=definition,
        refused=refused,
        variants=variants,
        number=table[:, 0].astype(np.int64),
        variant=table[:, 1].astype(np.int64),
        flow=table[:, 2].astype(np.int64),
        columns={column: table[:, place] for place, column in enumerate(names, 3)},
        objectives=objectives,
    )


def _sweep_row(store: Store, sweep: int | None) -> tuple[int, str, dict[str, Any], str, bool]:
    """(number, name, definition, begun, complete)."""
    columns = "SELECT id, name, begun, finished FROM sweep"
    if sweep is None:
        rows = store.rows(f"{columns} WHERE begun IS NOT NULL ORDER BY begun DESC LIMIT 1")
    else:
        rows = store.rows(f"{columns} WHERE id = ?", sweep)
    found = list(rows)
    if not found:
        raise InputError(f"{store.path}: expected a sweep, got a store without any")
    number, name, begun, finished = found[0]
    definition = store.definition(number)
    date = str(begun).partition(".")[0].replace("T", " ")
    return int(number), str(name), definition, f"{date} UTC", finished is not None


def _objectives(definition: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Those of the sweep; where it names fewer than two, the usual ones beside it."""
    texts = list(definition["sweep"]["objectives"])
    if len(texts) < 2:
        texts += [text for text in _DEFAULTS if text not in texts]
    return tuple(parse_objective(text) for text in texts)


def _columns(objectives: tuple[Objective, ...]) -> list[str]:
    names = [*CONFIG_FIELDS, *_SHOWN, *TOTALS_READ, *columns_of(objectives)]
    return [name for name in dict.fromkeys(names) if name not in ("batch", *METRICS)]


def _table(store: Store, sweep: int, names: list[str]) -> Values:
    """(points, 3 + names): number, variant, dataflow and the columns."""
    flows = " ".join(f"WHEN '{flow}' THEN {place}" for place, flow in enumerate(FLOWS))
    listed = ", ".join(f"point.{name}" for name in names)
    query = (
        f"SELECT number, variant, CASE dataflow {flows} END, {listed} FROM sample "
        "JOIN point ON point.id = sample.point WHERE sweep = ? AND refused IS NULL ORDER BY number"
    )
    rows, parts = store.rows(query, sweep), [np.empty((0, 3 + len(names)))]
    try:
        while some := list(islice(rows, _ROWS)):
            parts.append(np.array(some, np.float64))
    except ValueError as error:
        raise CorruptFileError(f"{store.path}: damaged (sweep {sweep}: {error})") from error
    table = np.concatenate(parts)
    if not np.isfinite(table).all():
        raise CorruptFileError(f"{store.path}: damaged (sweep {sweep}: a point lacks a figure)")
    return table


def _variants(store: Store, sweep: int, ids: list[int]) -> dict[int, VariantRow]:
    marks = ",".join("?" * len(ids))
    query = (
        "SELECT id, digest, model, method, pattern, batch, settings, training FROM variant "
        f"WHERE id IN ({marks})"
    )
    found = {}
    for key, digest, model, method, pattern, batch, settings, training in [
        *store.rows(query, *ids)
    ]:
        reached = "SELECT metric_name, metric FROM reached WHERE sweep = ? AND training = ? AND method = ?"
        runs = [*store.rows(f"{reached} ORDER BY seed", sweep, training, method)]
        metrics = tuple(float(metric) for _, metric in runs if metric is not None)
        with guarded(store.path):
            values = json.loads(settings)
        found[int(key)] = VariantRow(
            int(key), digest, model, method, pattern, batch, values,
            runs[0][0] if runs else None, metrics, len(runs) - len(metrics),
        )  # fmt: skip
    return found


def _version(store: Store, sweep: int) -> str:
    query = (
        "SELECT DISTINCT cosparse FROM version JOIN point ON point.version = version.id "
        "JOIN sample ON sample.point = point.id WHERE sweep = ? LIMIT 1"
    )
    return next((str(row[0]) for row in store.rows(query, sweep)), "")


def _value(path: str, variant: VariantRow) -> Any:
    """Of an axis that decides the workload; where it takes no part the scenario's own stands."""
    if path in variant.settings:
        value = variant.settings[path]
        return value if isinstance(value, int | float | str) else json.dumps(value)
    name = short_name(path)
    return getattr(variant, name) if hasattr(variant, name) else "as in the scenario"
