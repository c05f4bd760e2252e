"""A scenario's `sweep` as axes, space, objectives; and everything that is wrong with it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from algos.models import MODELS
from cosparse.spec import CosparseError, InputError, PatternError, ScenarioError, parse_pattern
from cosparse.spec.errors import unknown_name
from hwsim.rules import FIELDS

from ..document import Problem
from ..scenario_schema import Sampler, Scenario, Sweep
from .axes import Axis, check_different, check_path, check_values, expand
from .expressions import parse
from .figures import METRIC_OF
from .objectives import Objective, parse_objective
from .space import (
    MOST_COMBINATIONS,
    Base,
    Constraint,
    Space,
    constraint_names,
    names_of,
)
from .variants import value_at, variant_scenario

RULES = 2
"""Of `Space.resolve`: a sweep whose points were found by others is another sweep."""
LISTED = ("random", "lhs")
"""Samplers that draw their points before any is evaluated."""
MOST_LISTED = 1_000_000_000
"""Combinations of a grid, which are gone through one by one."""
MOST_DRAWN = 10_000_000
"""Points of a sampler that draws or asks."""
SEARCHES = ("nsga2", "tpe")
"""Samplers that ask for points by what others gave."""


@dataclass(frozen=True, eq=False)
class Definition:
    """A sweep that is ready to run."""

    scenario: Scenario
    space: Space
    sampler: Sampler
    objectives: tuple[Objective, ...]

    @property
    def metrics(self) -> frozenset[str]:
        """What training reaches and objectives read."""
        return frozenset[str]().union(*(one.metrics for one in self.objectives))

    def content(self) -> dict[str, Any]:
        """Everything that decides which points belong to the sweep, and their numbers, as JSON.

        The axes are a list of [path, values], since their order decides the numbers.
        """
        resolved = self.scenario.resolved()
        resolved["sweep"]["axes"] = [[*item] for item in resolved["sweep"]["axes"].items()]
        resolved["sweep"]["rules"] = RULES
        for label in ("name", "description", "backends", "threads", "study", "rtl"):
            resolved.pop(label, None)
        return resolved


def define(scenario: Scenario) -> Definition:
    """Raises ScenarioError where the scenario has no `sweep`."""
    sweep = scenario.sweep
    if sweep is None:
        raise ScenarioError([
            f"{scenario.name}: expected the key 'sweep' with its axes, got none "
            "(scenarios/sweep-bandwidth.yaml has one)"
        ])  # fmt: skip
    objectives = tuple(parse_objective(text) for text in sweep.objectives)
    return Definition(scenario, _space(scenario, sweep), sweep.sampler, objectives)


def _space(scenario: Scenario, sweep: Sweep) -> Space:
    axes = tuple(axis_of(path, values) for path, values in sweep.axes.items())
    names = names_of(axes)
    derived = {_field(name): parse(text, names) for name, text in sweep.derived.items()}
    allowed = constraint_names(axes)
    constraints = tuple(Constraint(parse(text, allowed)) for text in sweep.constraints)
    return Space(base_of(scenario, axes), axes, derived, constraints)


def base_of(scenario: Scenario, axes: Sequence[Axis] = ()) -> Base:
    """The scenario's own point, with its values on `axes`."""
    workload = {
        "model": scenario.model.name or scenario.model.checkpoint,
        "method": scenario.train.method,
        "pattern": scenario.train.pattern,
        "batch": scenario.timed_batch,
    }
    data = json.loads(scenario.model_dump_json(by_alias=True))
    for axis in axes:
        if axis.decides_workload and axis.name not in workload:
            workload[axis.name] = value_at(data, axis.path)
    return Base(scenario.accelerator_config(), workload)


def axis_of(path: str, given: Any) -> Axis:
    """Raises InputError."""
    check_path(path)
    if not isinstance(given, list | tuple | Mapping):
        raise InputError(f"expected a list, or a mapping with range or log, got {given!r}")
    when = given.get("when") if isinstance(given, Mapping) else None
    if when is not None and not isinstance(when, str):
        raise InputError(f"when: expected a condition, got {when!r}")
    values = expand(given)
    check_values(path, values)
    check_different(_canonical(path, values))
    return Axis(path, values, when)


def _canonical(path: str, values: Sequence[Any]) -> tuple[str, ...]:
    """What the values mean, where a value may be written in several ways."""
    if path != "train.pattern":
        return ()
    texts = [value for value in values if isinstance(value, str)]
    try:
        return tuple(str(parse_pattern(text)) for text in texts)
    except PatternError:  # told with its place by the scenario's own rules
        return ()


def _field(name: str) -> str:
    """Of the accelerator; `accelerator.rows` and `rows` are the same."""
    field = name.removeprefix("accelerator.")
    if field not in FIELDS:
        raise InputError(unknown_name("accelerator field", name, FIELDS))
    return field


def sweep_problems(scenario: Scenario, sweep: Sweep) -> Iterator[Problem]:
    """Everything that is wrong with a sweep, each with its place."""
    found = [*_wrong_parts(scenario, sweep)]
    yield from found or _wrong_space(scenario, sweep)


def _wrong_parts(scenario: Scenario, sweep: Sweep) -> Iterator[Problem]:
    """What is wrong with a part by itself."""
    axes: list[Axis] = []
    for path, given in sweep.axes.items():
        at = ("sweep", "axes", path)
        try:
            axes.append(axis_of(path, given))
        except CosparseError as error:
            yield Problem(at, str(error))
            continue
        yield from _unfit_values(scenario, axes[-1])
    names = names_of(axes)
    yield from _wrong_conditions(axes, names)
    yield from _wrong_fields(sweep, axes, names)
    constraints = constraint_names(axes)
    for index, text in enumerate(sweep.constraints):
        yield from _told(("sweep", "constraints", index), partial(parse, text, constraints))
    for index, text in enumerate(sweep.objectives):
        yield from _told(("sweep", "objectives", index), partial(parse_objective, text))
    yield from _wrong_sampler(sweep)
    yield from _unmeasured(scenario, sweep)
    if "train.batch" in sweep.axes and scenario.batch is None and "batch" not in sweep.axes:
        message = (
            "expected the key 'batch' beside this axis, got none: without it the workload's batch is that "
            "of training too"
        )
        yield Problem(("sweep", "axes", "train.batch"), message)


def _wrong_space(scenario: Scenario, sweep: Sweep) -> Iterator[Problem]:
    """What is wrong with the parts together; an expression that mixes text and numbers is met at a point."""
    try:
        space = _space(scenario, sweep)
    except CosparseError:
        return  # of a part outside the sweep, such as the accelerator, which is told at its own place
    sampler = sweep.sampler
    if space.size > MOST_COMBINATIONS:
        spanned = f"expected axes that span at most {MOST_COMBINATIONS:,} combinations, "
        yield Problem(("sweep", "axes"), f"{spanned}got {space.size:,}")
        return
    if sampler.kind == "grid" and space.size > MOST_LISTED:
        spanned = f"expected axes of a grid to span at most {MOST_LISTED:,} combinations, "
        others = "; another sampler takes some of them"
        yield Problem(("sweep", "axes"), f"{spanned}got {space.size:,}{others}")
        return
    if min(sampler.points or 0, space.size) > MOST_DRAWN:
        drawn = f"expected at most {MOST_DRAWN:,}, which are held in memory, "
        yield Problem(("sweep", "sampler", "points"), f"{drawn}got {sampler.points:,}")
    first = np.zeros((1, len(space.axes)), np.int64)
    yield from _told(("sweep",), partial(space.resolve, first))


def _told(at: tuple[str | int, ...], attempt: Callable[[], object]) -> Iterator[Problem]:
    try:
        attempt()
    except CosparseError as error:
        yield Problem(at, str(error))


def _unfit_values(scenario: Scenario, axis: Axis) -> Iterator[Problem]:
    """Values of the workload's axes, each by itself in the scenario."""
    for value in axis.values if axis.decides_workload else ():
        try:
            variant_scenario(scenario, {axis.path: value})
        except CosparseError as error:
            yield Problem(("sweep", "axes", axis.path), str(error))


def _wrong_conditions(axes: list[Axis], names: tuple[str, ...]) -> Iterator[Problem]:
    for axis in axes:
        if axis.when is not None:
            yield from _told(("sweep", "axes", axis.path, "when"), partial(parse, axis.when, names))


def _wrong_fields(sweep: Sweep, axes: list[Axis], names: tuple[str, ...]) -> Iterator[Problem]:
    for name, text in sweep.derived.items():
        at = ("sweep", "set", name)
        yield from _told(at, partial(_field, name))
        yield from _told(at, partial(parse, text, names))
        if f"accelerator.{name.removeprefix('accelerator.')}" in {axis.path for axis in axes}:
            yield Problem(at, "expected a field that is no axis")
        if f"accelerator.{name}" in sweep.derived:
            yield Problem(at, f"expected one value, got another one under 'accelerator.{name}'")


def _wrong_sampler(sweep: Sweep) -> Iterator[Problem]:
    sampler, at = sweep.sampler, ("sweep", "sampler")
    if sampler.kind == "grid" and sampler.points is not None:
        yield Problem((*at, "points"), "expected no number of points with 'grid', which takes all")
    if sampler.kind != "grid" and sampler.points is None:
        yield Problem(at, f"expected 'points', how many '{sampler.kind}' takes, got none")
    if sampler.kind == "nsga2" and sampler.batch < 2:
        yield Problem((*at, "batch"), f"expected at least 2, got {sampler.batch}: a generation")
    if sampler.kind in SEARCHES and not sweep.objectives:
        yield Problem(at, f"expected 'objectives' for '{sampler.kind}' to look for, got none")


def _unmeasured(scenario: Scenario, sweep: Sweep) -> Iterator[Problem]:
    """Objectives of a metric that no training of the scenario gives."""
    model = MODELS.get(scenario.model.name or "")
    for index, text in enumerate(sweep.objectives):
        try:
            read = parse_objective(text).metrics
        except InputError:
            continue
        at = ("sweep", "objectives", index)
        if read and (not scenario.train.trains or scenario.data_source is None):
            message = (
                f"expected a scenario that trains (data, and epochs above 0) for '{min(read)}'"
            )
            yield Problem(at, message)
        elif model is not None and (other := read - {METRIC_OF[model.task]}):
            message = f"expected '{METRIC_OF[model.task]}', which '{model.name}' is measured by, "
            yield Problem(at, f"{message}got '{min(other)}'")
