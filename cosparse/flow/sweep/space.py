"""The space of a sweep: every point that its axes span and its rules allow, as columns of numbers.

A point is a row of codes, one for each axis: the position of its value. No object is made for a point.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from cosparse.spec.errors import InputError
from hwsim.area import ELEMENT, FITTED, RESOURCES, AreaModel, AreaTable, bram36
from hwsim.config import AcceleratorConfig
from hwsim.config_vector import CONFIG_FIELDS, CONFIG_POSITION, config_vector
from hwsim.rules import CROSS_RULES, FIELDS
from hwsim.step import GROUP_ORDER

from .axes import ACCELERATOR, DATAFLOW, DATAFLOWS, Axis, configuration
from .expressions import Expression, parse
from .order import evaluation_order

Codes = npt.NDArray[np.int64]
"""(points, axes) positions of the values."""
Configs = npt.NDArray[np.int64]
"""(points, CONFIG_FIELDS)."""

BLOCK = 1 << 17
"""Points of a grid that are enumerated at a time."""
MOST_COMBINATIONS = 2**63 - 1
"""Of a space's axes: their numbers are 64-bit."""
FLOWS = tuple(DATAFLOWS)
WORKLOAD_NAMES = ("model", "method", "pattern", "batch")
"""What expressions and the store know of a workload."""


@dataclass(frozen=True)
class Constraint:
    """A condition that points must fulfil."""

    expression: Expression

    @property
    def text(self) -> str:
        return self.expression.text


@dataclass(frozen=True, eq=False)
class Points:
    """Legal points as columns. numbers: their places in the sweep, its axes in the scenario's order.

    rows: of the codes that they were made of. flows: positions in FLOWS. variants: of `Space.variants`.
    """

    numbers: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    configs: Configs
    flows: npt.NDArray[np.int64]
    variants: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def select(self, rows: Any) -> "Points":
        """Some of the points."""
        parts = (self.numbers, self.rows, self.configs, self.flows, self.variants)
        return Points(*(part[rows] for part in parts))

    def numbered(self, numbers: Sequence[int]) -> "Points":
        """The same points under other numbers."""
        return replace(self, numbers=np.array(numbers, np.int64))


@dataclass(frozen=True, eq=False)
class Base:
    """What stands where no axis says otherwise. workload: name -> value, WORKLOAD_NAMES and other axes."""

    config: AcceleratorConfig
    workload: Mapping[str, Any]
    dataflow: str = "best"


@dataclass(eq=False)
class Space:
    """Axes, derived fields and constraints over a base.

    derived: accelerator field -> expression over the others. variants: the different values of the axes that
    decide the workload, as they are met.
    """

    base: Base
    axes: tuple[Axis, ...]
    derived: Mapping[str, Expression] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    variants: list[dict[str, Any]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def size(self) -> int:
        """Points that the axes span, before any rule."""
        return int(np.prod([1, *self.shape], dtype=object))

    def grid(self) -> Iterator[Codes]:
        """All codes, block by block, points that share work next to each other."""
        order = sorted(range(len(self.axes)), key=self._place)
        shape = tuple(len(self.axes[axis].values) for axis in order)
        for begin in range(0, self.size, BLOCK):
            numbers = np.arange(begin, min(begin + BLOCK, self.size))
            codes = np.empty((len(numbers), len(self.axes)), np.int64)
            codes[:, order] = np.stack(np.unravel_index(numbers, shape), axis=1)
            yield codes

    def _place(self, axis: int) -> tuple[int, int]:
        """Outer axes first: workloads, dataflows, then fields in the order of groups, then the rest."""
        one = self.axes[axis]
        if not one.is_field:
            return (0, int(one.path == DATAFLOW)) if one.path != ACCELERATOR else (1, 0)
        position = CONFIG_POSITION[one.path.partition(".")[2]]
        if position in GROUP_ORDER:
            return 2, GROUP_ORDER.index(position)
        return 3, position

    def resolve(self, codes: Codes, *, fold: bool = False) -> tuple[Points, Counter[str]]:
        """The legal points of some codes, and how many are left out by each rule.

        Where a condition switches an axis off, the point with its first value stands for all: others
        are left out or, with `fold`, become that one.
        """
        count, codes = len(codes), codes.copy()
        left_out: Counter[str] = Counter()
        columns = self._base_columns(count)
        variant = np.full((count, len(self._variant_axes)), -1, np.int64)
        inactive = np.zeros(count, bool)
        good = {}
        for one in self._order:
            if isinstance(one, str):
                good[one] = _derive(one, self.derived[one], columns)
                continue
            code, active = codes[:, self._position[one]], self._active(one, columns, count)
            if fold:
                code[~active] = 0
            inactive |= ~active & (code != 0)
            _take(one, code, active, columns)
            if one.decides_workload:
                variant[active, self._variant_axes.index(one)] = code[active]
        kept = ~inactive
        _note(left_out, "inactive axis", inactive)
        for name, expression in self.derived.items():
            _note(
                left_out, f"{name} = {expression.text}: {FIELDS[name].expected}", kept & ~good[name]
            )
            kept &= good[name]
        kept &= self._legal(columns, kept, left_out)
        kept &= self._allowed(columns, kept, left_out)
        rows = np.flatnonzero(kept)
        configs = np.stack([columns[name][rows] for name in CONFIG_FIELDS], axis=1)
        flows = np.array([FLOWS.index(name) for name in FLOWS])[columns["_flow"][rows]]
        numbers = self._numbers(codes[rows])
        return Points(numbers, rows, configs, flows, self._variant_ids(variant[rows])), left_out

    def _active(self, axis: Axis, columns: Mapping[str, Any], count: int) -> Any:
        """Where an axis takes its values."""
        if axis.when is None:
            return np.ones(count, bool)
        return self._conditions[axis.path].mask(columns, count)

    def _numbers(self, codes: Codes) -> npt.NDArray[np.int64]:
        if not len(codes):
            return np.zeros(0, np.int64)
        numbers: npt.NDArray[np.int64] = np.ravel_multi_index(tuple(codes.T), self.shape)
        return numbers

    def _base_columns(self, count: int) -> dict[str, Any]:
        vector = config_vector(self.base.config).tolist()
        columns: dict[str, Any] = {
            name: np.full(count, value) for name, value in zip(CONFIG_FIELDS, vector, strict=True)
        }
        columns |= {name: np.full(count, _array([v])) for name, v in self.base.workload.items()}
        columns["_flow"] = np.full(count, FLOWS.index(self.base.dataflow))
        columns["dataflow"] = np.array(FLOWS)[columns["_flow"]]
        return columns

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What conditions and derived fields may read."""
        return names_of(self.axes)

    @cached_property
    def _variant_axes(self) -> list[Axis]:
        return [axis for axis in self.axes if axis.decides_workload]

    @cached_property
    def _order(self) -> list[Axis | str]:
        return evaluation_order(self.axes, self._conditions, self.derived)

    @cached_property
    def _position(self) -> dict[Axis, int]:
        return {axis: position for position, axis in enumerate(self.axes)}

    @cached_property
    def _conditions(self) -> dict[str, Expression]:
        return {axis.path: parse(axis.when, self.names) for axis in self.axes if axis.when}

    def _legal(self, columns: Mapping[str, Any], kept: Any, left_out: Counter[str]) -> Any:
        """Where the accelerator breaks no rule between its fields."""
        config = SimpleNamespace(**{name: columns[name] for name in CONFIG_FIELDS})
        legal = kept.copy()
        for rule in CROSS_RULES:
            broken = legal & (np.asarray(rule.got(config)) > rule.limit(config))
            _note(left_out, rule.rule, broken)
            legal &= ~broken
        return legal

    def _allowed(self, columns: dict[str, Any], kept: Any, left_out: Counter[str]) -> Any:
        allowed = kept.copy()
        columns |= devices()
        if any(self._reads_area(one) for one in self.constraints):
            columns |= self._area(columns, kept)
        for constraint in self.constraints:
            holds = constraint.expression.mask(columns, len(kept))
            _note(left_out, constraint.text, allowed & ~holds)
            allowed &= holds
        return allowed

    @staticmethod
    def _reads_area(constraint: Constraint) -> bool:
        return bool(constraint.expression.names & set(RESOURCES))

    def _area(self, columns: Mapping[str, Any], kept: Any) -> dict[str, Any]:
        """Resources of legal points, 0 for others."""
        configs = np.stack([columns[name] for name in CONFIG_FIELDS], axis=1)
        found = np.zeros((len(kept), len(RESOURCES)), np.int64)
        found[kept] = area_of(configs[kept])
        return {name: found[:, place] for place, name in enumerate(RESOURCES)}

    def _variant_ids(self, codes: Codes) -> npt.NDArray[np.int64]:
        if not len(codes):
            return np.zeros(0, np.int64)
        different, place = np.unique(codes, axis=0, return_inverse=True)
        ids = np.array([self._variant_id(row) for row in different.tolist()])
        return ids[place.ravel()]

    def _variant_id(self, codes: Sequence[int]) -> int:
        values = {
            axis.path: axis.values[code]
            for axis, code in zip(self._variant_axes, codes, strict=True)
            if code >= 0
        }
        if values not in self.variants:
            self.variants.append(values)
        return self.variants.index(values)


def names_of(axes: Sequence[Axis]) -> tuple[str, ...]:
    """What conditions and derived fields may read: fields, workload, dataflow, other axes."""
    own = [axis.name for axis in axes if axis.path != ACCELERATOR]
    return tuple(dict.fromkeys((*CONFIG_FIELDS, *WORKLOAD_NAMES, DATAFLOW, *own)))


def constraint_names(axes: Sequence[Axis]) -> tuple[str, ...]:
    """What constraints may read: also resources, and those of devices."""
    return (*names_of(axes), *RESOURCES, *devices())


def devices() -> dict[str, int]:
    """`VU9P.lut` and the like."""
    table = AreaTable.default().devices
    return {
        f"{name}.{resource}": amount
        for name, amounts in table.items()
        for resource, amount in amounts.items()
    }


_FITTED = [CONFIG_POSITION[name] for name in ("rows", "cols", "group_max", "n_max", *ELEMENT[1:])]
_BRAM = [CONFIG_POSITION[name] for name in ("rows", "cols", "act_values_per_row_cycle",
                                            "activation_kib", "weight_kib", "accumulator_kib")]  # fmt: skip
"""Fields that resources depend on."""


def area_of(configs: Configs) -> npt.NDArray[np.int64]:
    """(points, RESOURCES) by `hwsim.area`; equal arrays and equal scratchpads are estimated once."""
    model = _area_model()

    def fitted(config: AcceleratorConfig) -> list[int]:
        area = model.estimate(config)
        return [getattr(area, name).value for name in FITTED]

    arrays = _for_different(configs, _FITTED, fitted, len(FITTED))
    blocks = _for_different(configs, _BRAM, lambda config: [bram36(config)], 1)
    return np.concatenate([arrays, blocks], axis=1)


def _for_different(
    configs: Configs,
    columns: Sequence[int],
    estimate: Callable[[AcceleratorConfig], list[int]],
    width: int,
) -> npt.NDArray[np.int64]:
    """(points, width): the estimate of each point, made once for points that are equal in `columns`."""
    _, first, place = np.unique(configs[:, columns], axis=0, return_index=True, return_inverse=True)
    rows = np.zeros((len(first), width), np.int64)
    for number, position in enumerate(first.tolist()):
        fields = dict(zip(CONFIG_FIELDS, configs[position].tolist(), strict=True))
        rows[number] = estimate(AcceleratorConfig(**fields))
    return rows[place.ravel()]


@cache
def _area_model() -> AreaModel:
    """Of the shipped table."""
    return AreaModel(AreaTable.default())


def _note(left_out: Counter[str], rule: str, rows: Any) -> None:
    count = int(np.count_nonzero(rows))
    if count:
        left_out[rule] += count


def _take(axis: Axis, code: Any, active: Any, columns: dict[str, Any]) -> None:
    """Write an axis's values where it is active."""
    if axis.path == ACCELERATOR:
        vectors = np.stack([config_vector(configuration(value)) for value in axis.values])
        for position, name in enumerate(CONFIG_FIELDS):
            columns[name] = np.where(active, vectors[:, position][code], columns[name])
        return
    if axis.path == DATAFLOW:
        flows = np.array([FLOWS.index(value) for value in axis.values])
        columns["_flow"] = np.where(active, flows[code], columns["_flow"])
        columns[DATAFLOW] = np.array(FLOWS)[columns["_flow"]]
        return
    values = _array(axis.values)
    if active.all():
        columns[axis.name] = values[code]
        return
    held = columns[axis.name]
    if values.dtype.kind != held.dtype.kind and "U" in (values.dtype.kind, held.dtype.kind):
        values, held = values.astype(np.str_), held.astype(np.str_)
    columns[axis.name] = np.where(active, values[code], held)


def _array(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Values as expressions see them; `null` among numbers is none: no comparison with it holds but !=."""
    if all(value is None or isinstance(value, int | float) for value in values):
        return np.array([np.nan if value is None else value for value in values])
    return np.array([_plain(value) for value in values])


def _plain(value: Any) -> int | float | str:
    """A value that is a number or a text; a model with options is its name."""
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return str(value["name"])
    return value if isinstance(value, int | float | str) else repr(value)


def _derive(name: str, expression: Expression, columns: dict[str, Any]) -> Any:
    """Write a derived field; where it is a value that the field may have."""
    found = np.asarray(expression(columns))
    if found.dtype.kind not in "iufb":
        raise InputError(f"set.{name}: '{expression.text}' gives text, expected a number")
    found = np.broadcast_to(found, columns[name].shape)
    whole = np.nan_to_num(found.astype(np.float64), nan=-1, posinf=-1, neginf=-1)
    values, rule = np.clip(whole, -1, 2**31).astype(np.int64), FIELDS[name]
    good = (values == whole) & (values >= rule.low) & (values <= rule.high)
    if rule.power_of_two:
        good &= (values & (values - 1)) == 0
    columns[name] = np.where(good, values, columns[name])
    return good
