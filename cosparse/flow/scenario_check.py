"""Everything that is wrong with a scenario's data, found in one pass.

Each key is held to its own rule first; rules between keys then look at what is left, and are silent
about a key that already has a problem. No code that the scenario names is executed.
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from algos.method_options import with_options
from algos.methods import METHODS
from algos.models import MODELS
from cosparse.spec import NM, ConfigError, InputError, ScenarioError, parse_pattern
from hwsim.config import AcceleratorConfig, check_mapping
from hwsim.cosim.accelerator import rtl_parameters
from hwsim.rules import Problem as ConfigProblem

from .document import KeyPath, Problem
from .scenario_messages import key_problems, show
from .scenario_schema import SCENARIO_SCHEMA, Origin, Scenario, Train, accelerator_mapping
from .yamlfile import read_yaml

CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth")


def version_problem(data: dict[str, Any]) -> Problem | None:
    """The problem of a scenario that this release cannot judge further."""
    got = data.get("schema", SCENARIO_SCHEMA)
    if type(got) is int and got == SCENARIO_SCHEMA:
        return None
    way_out = "rewrite it after docs/scenarios.md or install the cosparse release that reads it"
    message = f"expected scenario schema {SCENARIO_SCHEMA}, got {show(got)}; {way_out}"
    return Problem(("schema",), message)


def find_problems(data: dict[str, Any], origin: Origin) -> tuple[Scenario | None, list[Problem]]:
    """The scenario and no problems, or None and what is wrong with it."""
    scenario, wrong = _validate(data, origin)
    problems = [*_missing(data), *wrong]
    if scenario is None:
        sound = _without(data, [problem.path for problem in wrong])
        scenario, _ = _validate(sound, origin)
    if scenario is not None:
        broken = [problem.path for problem in problems]
        problems += [problem for check in CHECKS for problem in check.apply(scenario, broken)]
    if problems:
        return None, [replace(one, path=_as_written(one.path, data)) for one in problems]
    return scenario, []


# --- each key by itself


def _missing(data: dict[str, Any]) -> Iterator[Problem]:
    if "schema" not in data:
        yield Problem((), f"expected the key 'schema', got none; write 'schema: {SCENARIO_SCHEMA}'")
    if "model" not in data:
        yield Problem((), f"expected the key 'model', got none (valid: {_model_forms()})")


def _model_forms() -> str:
    return f"{', '.join(sorted(MODELS))}, package.module:function, or {{checkpoint: FILE}}"


def _validate(data: dict[str, Any], origin: Origin) -> tuple[Scenario | None, list[Problem]]:
    try:
        return Scenario.model_validate(data, context=origin), []
    except ValidationError as error:
        return None, key_problems(error)


def _as_written(path: KeyPath, data: dict[str, Any]) -> KeyPath:
    """`model.name` is written `model` where a plain name stands for the mapping."""
    inside: Any = data
    for depth, part in enumerate(path):
        if isinstance(inside, str):
            return path[:depth]
        if not isinstance(inside, dict) or part not in inside:
            break
        inside = inside[part]
    return path


def _without(data: dict[str, Any], paths: Iterable[KeyPath]) -> dict[str, Any]:
    """A copy of `data` that lacks the key, or the whole list, at each path."""
    rest = deepcopy(data)
    for path in paths:
        inside: dict[Any, Any] = rest
        key = path[0]
        for part in path[1:]:
            if not isinstance(inside.get(key), dict):
                break
            inside, key = inside[key], part
        inside.pop(key, None)
    return rest


# --- rules between keys


@dataclass(frozen=True)
class Check:
    """A rule: the keys that it reads, and how it finds problems."""

    reads: tuple[str, ...]
    find: Callable[[Scenario], Iterable[Problem]]

    def apply(self, scenario: Scenario, broken: Iterable[KeyPath]) -> Iterable[Problem]:
        """Nothing when a key that it reads has a problem of its own."""
        paths = [tuple(key.split(".")) for key in self.reads]
        if any(_overlaps(path, wrong) for path in paths for wrong in broken):
            return ()
        return self.find(scenario)


def _overlaps(path: KeyPath, other: KeyPath) -> bool:
    shared = min(len(path), len(other))
    return shared > 0 and path[:shared] == other[:shared]


def _model_is_named(scenario: Scenario) -> Iterator[Problem]:
    given = "model" in scenario.model_fields_set
    if given and not (scenario.model.name or scenario.model.checkpoint):
        yield Problem(("model",), f"expected a name or a checkpoint (valid: {_model_forms()})")


def _checkpoint_exists(scenario: Scenario) -> Iterator[Problem]:
    path, at = scenario.checkpoint_path, ("model", "checkpoint")
    if path is None:
        return
    if path.suffix not in CHECKPOINT_SUFFIXES:
        names = ", ".join(CHECKPOINT_SUFFIXES)
        yield Problem(at, f"expected a checkpoint ({names}), got '{path.name}'")
    elif scenario.model.name is None and path.suffix != ".safetensors":
        message = f"expected 'model.name' beside '{path.name}', which does not name its model"
        yield Problem(at, message)
    yield from _file_exists(path, at)


def _one_source_of_data(scenario: Scenario) -> Iterator[Problem]:
    data = scenario.data
    if data is None:
        return
    if (data.name is None) == (data.file is None):
        got = "nothing" if data.name is None else "both"
        yield Problem(("data",), f"expected the name of a data set or 'file', got {got}")
    path = scenario.data_path
    if path is not None:
        if path.suffix != ".npz":
            yield Problem(("data", "file"), f"expected a .npz file, got '{path.name}'")
        yield from _file_exists(path, ("data", "file"))


def _file_exists(path: Path, at: KeyPath) -> Iterator[Problem]:
    try:
        if path.is_file():
            return
        got = "a directory" if path.is_dir() else "no such file"
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
    yield Problem(at, f"expected a file at {show(str(path))}, got {got}")


def _data_fits_model(scenario: Scenario) -> Iterator[Problem]:
    entry = MODELS.get(scenario.model.name or "")
    data = scenario.data
    if entry is None or data is None or data.name is None or data.name == entry.data:
        return
    takes = f"'{entry.data}'" if entry.data else "no shipped data set"
    message = f"expected data for model '{entry.name}', which takes {takes}, got '{data.name}'"
    yield Problem(("data",), message)


def _inputs_are_known(scenario: Scenario) -> Iterator[Problem]:
    """Training needs data; timing alone needs at least the shape of one input.

    A checkpoint without a name decides when it is read.
    """
    has_data = scenario.data_source is not None
    if has_data and scenario.input_shape is not None:
        yield Problem(("input_shape",), "expected no input_shape beside data, which decides it")
    if has_data or scenario.model.name is None:
        return
    if scenario.train.trains:
        way_out = "give 'data', or 'train: {epochs: 0}' to time the initial weights"
        yield Problem(("model",), f"expected data to train on, got none; {way_out}")
    elif scenario.requires_trust and scenario.input_shape is None:
        yield Problem(("model",), "expected 'data' or 'input_shape' for a model of your own")


def _one_length(scenario: Scenario) -> Iterator[Problem]:
    if scenario.train.epochs is not None and scenario.train.steps is not None:
        yield Problem(("train", "steps"), "expected epochs or steps, got both")


def _momentum_is_used(scenario: Scenario) -> Iterator[Problem]:
    train = scenario.train
    default = type(train)().momentum
    if train.optimizer != "sgd" and train.momentum != default:
        message = f"expected no momentum with optimizer '{train.optimizer}', only sgd has it"
        yield Problem(("train", "momentum"), message)


def _compares_others(scenario: Scenario) -> Iterator[Problem]:
    train = scenario.train
    if train.method in train.compared:
        index = train.compared.index(train.method)
        message = f"expected other methods than train.method, got '{train.method}' again"
        yield Problem(("train", "compare", index), message)


def _methods_take_pattern(scenario: Scenario) -> Iterator[Problem]:
    train = scenario.train
    for name in train.methods:
        method = METHODS[name]
        if name != "dense" and not isinstance(train.parsed_pattern, method.patterns):
            message = f"method '{name}' takes {method.takes}, got '{train.pattern}'"
            yield Problem(("train", "pattern"), message)
            return


def _options_are_the_methods(scenario: Scenario) -> Iterator[Problem]:
    train, at = scenario.train, ("train", "options")
    found = []
    for name, value in train.options.items():
        try:
            with_options(METHODS[train.method], {name: value})
        except InputError as error:
            found.append(Problem((*at, name), str(error)))
    yield from found or _fit_together(train, at)


def _fit_together(train: Train, at: KeyPath) -> Iterator[Problem]:
    try:
        train.row(train.method)
    except InputError as error:
        yield Problem(at, str(error))


def _accelerator_can_train(scenario: Scenario) -> Iterator[Problem]:
    """The hardware's optimizer is SGD, its sparse operands are weights."""
    train, method = scenario.train, METHODS[scenario.train.method]
    if not train.on:
        return
    decay = method.decay if train.decay is None else train.decay
    rules = {
        "optimizer": (train.optimizer == "sgd", "'sgd'", train.optimizer),
        "decay": (decay == 0, "no decay of pruned weights", decay),
        "select_dtype": (train.select_dtype == "float16", "'float16'", train.select_dtype),
        "method": (
            not (method.prunes_gradient or method.reuses_ff_in_bp or method.structure),
            "a method that packs a weight of its own for FF and for BP",
            method.name,
        ),
    }
    for key, (holds, expected, got) in rules.items():
        if not holds:
            message = f"expected {expected} to train on the accelerator ('on'), got {show(got)}"
            yield Problem(("train", key), message)
    if "simulator" not in scenario.backends or not train.trains:
        message = "expected the backend 'simulator' and at least one step to train on it"
        yield Problem(("train", "on"), message)
    config = _config_or_none(scenario)
    if "rtl" in train.on and config is not None and config.simulation_only:
        yield Problem(("train", "on"), "expected an accelerator with one AXI port for 'rtl'")


def _accelerator_is_legal(scenario: Scenario) -> Iterator[Problem]:
    yield from _legal(scenario.accelerator, scenario, ("accelerator",))


def _legal(given: dict[str, Any], scenario: Scenario, path: KeyPath) -> Iterator[Problem]:
    """In the scenario, or in the accelerator's own file, which then gives the second position."""
    if "file" in given:
        yield from _accelerator_file(given, scenario, path)
        return
    for found in check_mapping(given):
        at = (*path, found.field) if found.field in given else path
        yield Problem(at, found.message)


def _accelerator_file(
    given: dict[str, Any], scenario: Scenario, path: KeyPath
) -> Iterator[Problem]:
    at = (*path, "file")
    name = given["file"]
    overrides = [key for key in given if key != "file"]
    if overrides:
        message = f"expected 'file' alone, got '{overrides[0]}' beside it"
        yield Problem((*path, overrides[0]), message)
        return
    if not isinstance(name, str) or not name:
        yield Problem(at, f"expected the name of a YAML file, got {show(name)}")
        return
    try:
        document = read_yaml(scenario.folder / name)
        found = [_in_own_file(problem) for problem in check_mapping(document.data)]
        document.refuse([*document.problems, *found])
    except ScenarioError as error:
        yield from (Problem(at, text) for text in error.problems)


def _in_own_file(problem: ConfigProblem) -> Problem:
    return Problem((problem.field,) if problem.field else (), problem.message)


def _pattern_fits_accelerator(scenario: Scenario) -> Iterator[Problem]:
    simulated = scenario.train.prunes and "simulator" in scenario.backends
    config = _config_or_none(scenario)
    if simulated and config is not None:
        yield from _pattern_fits(scenario, config)


def _pattern_fits(scenario: Scenario, config: AcceleratorConfig) -> Iterator[Problem]:
    pattern = scenario.train.parsed_pattern
    if not isinstance(pattern, NM):
        return
    sizes = {"M": (pattern.m, "group_max"), "N": (pattern.n, "n_max")}
    for letter, (size, field) in sizes.items():
        limit = getattr(config, field)
        if size > limit:
            message = f"expected {letter} <= {limit} (the accelerator's {field}), got {size}"
            yield Problem(("train", "pattern"), message)
            return
    if config.group_max % pattern.m:
        message = f"expected an M that divides the accelerator's group_max = {config.group_max}"
        yield Problem(("train", "pattern"), f"{message}, got {pattern.m}")


def _rtl_is_listed(scenario: Scenario) -> Iterator[Problem]:
    if scenario.rtl is not None and "rtl" not in scenario.backends:
        yield Problem(("rtl",), "expected the backend 'rtl' beside it, got none")


def _rtl_can_run(scenario: Scenario) -> Iterator[Problem]:
    """The accelerator is legal, has RTL and takes the pattern."""
    own = None if scenario.rtl is None else scenario.rtl.accelerator
    at = ("accelerator",) if own is None else ("rtl", "accelerator")
    if "rtl" not in scenario.backends:
        return
    problems = list(_legal(scenario.accelerator if own is None else own, scenario, at))
    if problems:
        yield from () if own is None else problems  # the scenario's own are told already
        return
    config = scenario.rtl_config()
    try:
        rtl_parameters(config)
    except ConfigError as error:
        yield Problem(at, str(error))
        return
    if scenario.train.prunes and (own is not None or "simulator" not in scenario.backends):
        yield from _pattern_fits(scenario, config)


def _study_is_simulated(scenario: Scenario) -> Iterator[Problem]:
    if scenario.study is not None and "simulator" not in scenario.backends:
        yield Problem(("study",), "expected the backend 'simulator' for a study, got none")


def _study_patterns_fit(scenario: Scenario) -> Iterator[Problem]:
    config = _config_or_none(scenario)
    if scenario.study is None or config is None:
        return
    for index, text in enumerate(scenario.study.patterns):
        pattern, at = parse_pattern(text), ("study", "patterns", index)
        if not isinstance(pattern, NM):
            yield Problem(at, f"expected an N:M pattern such as '2:8', got '{text}'")
        elif config.group_max % pattern.m or pattern.n > config.n_max:
            yield Problem(
                at,
                f"expected an M that divides the accelerator's group_max = {config.group_max} and "
                f"N <= n_max = {config.n_max}, got '{text}'",
            )


def _sweep_is_sound(scenario: Scenario) -> Iterator[Problem]:
    if scenario.sweep is not None:
        from .sweep.definition import sweep_problems

        yield from sweep_problems(scenario, scenario.sweep)


def _config_or_none(scenario: Scenario) -> AcceleratorConfig | None:
    """None where `_accelerator_is_legal` has something to say."""
    if any(True for _ in _accelerator_is_legal(scenario)):
        return None
    return AcceleratorConfig.from_mapping(accelerator_mapping(scenario))


CHECKS = (
    Check(("model",), _model_is_named),
    Check(("model.name", "model.checkpoint"), _checkpoint_exists),
    Check(("data",), _one_source_of_data),
    Check(("model.name", "data"), _data_fits_model),
    Check(
        ("model", "data", "input_shape", "train.epochs", "train.steps"),
        _inputs_are_known,
    ),
    Check(("train.epochs", "train.steps"), _one_length),
    Check(("train.optimizer", "train.momentum"), _momentum_is_used),
    Check(("train.method", "train.compare"), _compares_others),
    Check(("train.method", "train.compare", "train.pattern"), _methods_take_pattern),
    Check(("train.method", "train.options"), _options_are_the_methods),
    Check(("accelerator",), _accelerator_is_legal),
    Check(("accelerator", "backends", "train.pattern"), _pattern_fits_accelerator),
    Check(("train", "backends", "accelerator"), _accelerator_can_train),
    Check(("rtl", "backends"), _rtl_is_listed),
    Check(("accelerator", "rtl", "backends", "train.pattern"), _rtl_can_run),
    Check(("study", "backends"), _study_is_simulated),
    Check(("study", "accelerator"), _study_patterns_fit),
    Check(("sweep", "model", "train", "batch", "accelerator"), _sweep_is_sound),
)
