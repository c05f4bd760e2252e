"""The keys of a scenario, their types, ranges and defaults. docs/scenarios.md describes each.

These models hold each key to its own rule; rules between keys are in `scenario_check`.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from algos.method_options import with_options
from algos.methods import METHODS, Method
from algos.models import MODELS
from cosparse.spec import GEMM_PHASES, Pattern, PatternError, parse_pattern
from cosparse.spec.errors import DataError, unknown_name
from hwsim.config import AcceleratorConfig

from .yamlfile import read_yaml

SCENARIO_SCHEMA = 1
SHIPPED_DATA = ("digits", "bytes")
BACKENDS = {
    "cpu": "the step's matrix products, timed on CPU kernels",
    "simulator": "the whole step, cycle by cycle on the simulated accelerator",
    "rtl": "the step's programs on the accelerator's RTL, held to the simulator",
}
DEFAULT_BACKENDS = ("cpu", "simulator")
EXECUTORS = ("machine", "rtl")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine")
SELECT_DTYPES = ("float16", "bfloat16", "float32")
PHASES = tuple(phase.value for phase in GEMM_PHASES)
DEFAULT_EPOCHS = 20
SAT_NETWORKS = ("resnet9", "vgg19", "cifar-vit", "resnet18-64", "resnet50")
"""The networks of the SAT paper, as far as it is known."""
MAX_COUNT = 2**31 - 1
_RUN_KEYS = ("method", "compare", "seeds", "on")
"""Keys of `train` that say which runs there are, not how each one goes."""
_WORKLOAD_KEYS = ("schema", "model", "data", "files", "input_shape", "phases", "batch")
_LOWERING_KEYS = ("method", "pattern", "options", "include", "exclude", "select_dtype", "optimizer")
"""Keys, and keys of `train`, that decide the workload."""
SAMPLERS = {
    "grid": "every point",
    "random": "points drawn one by one",
    "lhs": "a Latin hypercube: every axis is covered evenly",
    "nsga2": "Optuna's genetic search for the Pareto front of the objectives",
    "tpe": "Optuna's tree-structured Parzen estimator",
}


def is_code(name: str | None) -> bool:
    """Whether a model's name has the form `package.module:function`."""
    module, colon, function = (name or "").partition(":")
    return bool(colon) and function.isidentifier() and all(map(str.isidentifier, module.split(".")))


# --- rules of single values


def _known(what: str, choices: Iterable[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in choices:
            raise ValueError(unknown_name(what, name, choices))
        return name

    return AfterValidator(check)


def _model_name(name: str) -> str:
    if name in MODELS or is_code(name):
        return name
    if ":" in name:
        raise ValueError(f"expected package.module:function, got '{name}'")
    raise ValueError(f"{unknown_name('model', name, MODELS)}, or package.module:function")


def _pattern_text(text: str) -> str:
    try:
        parse_pattern(text)
    except PatternError as error:
        raise ValueError(str(error)) from None
    return text


def _whole(value: Any) -> Any:
    """1e3 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _items(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _unique(items: tuple[Any, ...]) -> tuple[Any, ...]:
    repeated = [item for index, item in enumerate(items) if item in items[:index]]
    if repeated:
        raise ValueError(f"expected each item once, got {repeated[0]!r} twice")
    return items


def _in_order_of(choices: tuple[str, ...]) -> AfterValidator:
    return AfterValidator(lambda items: tuple(sorted(items, key=choices.index)))


def _finite(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("expected finite numbers, got infinity or NaN") from None
    return value


def _text_means(key: str) -> BeforeValidator:
    """Let `model: name` stand for `model: {name: name}`."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, str) else value)


Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_COUNT)]
CountOrZero = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=MAX_COUNT)]
Share = Annotated[float, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Text = Annotated[str, Field(min_length=1)]
MethodName = Annotated[str, _known("method", METHODS)]
PhaseName = Annotated[str, _known("phase", PHASES)]
ExecutorName = Annotated[str, _known("executor", EXECUTORS)]
BackendName = Annotated[str, _known("backend", BACKENDS)]
UniqueItems = (BeforeValidator(_items), AfterValidator(_unique))


# --- sections


class Section(BaseModel):
    """Frozen; unknown keys, infinities and silent conversions are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelSource(Section):
    """Where the network comes from."""

    name: Annotated[str, AfterValidator(_model_name)] | None = None
    checkpoint: Text | None = None
    options: Annotated[dict[str, Any], AfterValidator(_finite)] = {}

    @property
    def is_code(self) -> bool:
        """Whether building the network runs code of the user's."""
        return is_code(self.name)


class DataSource(Section):
    """A shipped data set or a file of the user's; exactly one of them."""

    name: Annotated[str, _known("data set", SHIPPED_DATA)] | None = None
    file: Text | None = None


class Train(Section):
    """How the network is trained, and with what it is compared."""

    method: MethodName = "bdwp"
    pattern: Annotated[str, AfterValidator(_pattern_text)] = "2:8"
    options: Annotated[dict[str, Any], AfterValidator(_finite)] = {}
    compare: Annotated[tuple[MethodName, ...], *UniqueItems] | None = None
    epochs: CountOrZero | None = None
    steps: Count | None = None
    batch: Count = 64
    optimizer: Annotated[str, _known("optimizer", OPTIMIZERS)] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Share = 5e-4
    schedule: Annotated[str, _known("schedule", SCHEDULES)] = "cosine"
    decay: Share | None = None
    seeds: Annotated[
        tuple[Annotated[CountOrZero, Field(le=2**32 - 1)], ...], *UniqueItems, Field(min_length=1)
    ] = (0,)
    include: Annotated[tuple[Text, ...], *UniqueItems] = ()
    exclude: Annotated[tuple[Text, ...], *UniqueItems] = ()
    select_dtype: Annotated[str, _known("select_dtype", SELECT_DTYPES)] = "float16"
    on: Annotated[tuple[ExecutorName, ...], *UniqueItems, _in_order_of(EXECUTORS)] = ()

    @property
    def parsed_pattern(self) -> Pattern:
        return parse_pattern(self.pattern)

    @property
    def compared(self) -> tuple[str, ...]:
        """Methods trained beside `method`; dense unless the scenario says otherwise."""
        default = () if self.method == "dense" else ("dense",)
        return default if self.compare is None else self.compare

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that is trained: `method` first."""
        return (self.method, *self.compared)

    def row(self, name: str) -> Method:
        """A method that is trained, with `options` where it is `method`. Raises InputError."""
        return with_options(METHODS[name], self.options if name == self.method else {})

    @property
    def prunes(self) -> bool:
        """Whether any trained method uses the pattern."""
        return any(method != "dense" for method in self.methods)

    @property
    def max_epochs(self) -> int | None:
        """Epochs to train, or None where `steps` decides."""
        if self.steps is not None:
            return None
        return DEFAULT_EPOCHS if self.epochs is None else self.epochs

    @property
    def trains(self) -> bool:
        """False for `epochs: 0`: the initial weights or the checkpoint's are used as they are."""
        return self.max_epochs != 0


class Study(Section):
    """Networks and patterns priced beside the scenario's own, and whether ideas are taken away."""

    models: Annotated[
        tuple[Annotated[str, _known("model", MODELS)], ...], *UniqueItems, Field(min_length=1)
    ] = SAT_NETWORKS
    patterns: Annotated[
        tuple[Annotated[str, AfterValidator(_pattern_text)], ...], *UniqueItems, Field(min_length=1)
    ] = ("2:4", "2:8", "2:16")
    ablation: bool = False


class Rtl(Section):
    """What the backend `rtl` co-simulates: the scenario's step on an array and batch of its own."""

    accelerator: Annotated[dict[str, Any], _text_means("preset")] | None = None
    batch: Count | None = None
    cycles: Count = 1_000_000


class Sampler(Section):
    """Which points of a sweep's space are evaluated."""

    kind: Annotated[str, _known("sampler", SAMPLERS)] = "grid"
    points: Count | None = None
    seed: CountOrZero = 0
    batch: Count = 50


class Sweep(Section):
    """Axes over fields of the scenario, rules and objectives; see `cosparse.flow.sweep`."""

    axes: Annotated[dict[str, Any], AfterValidator(_finite), Field(min_length=1)]
    derived: Annotated[dict[str, Text], Field(alias="set")] = {}
    constraints: Annotated[tuple[Text, ...], *UniqueItems] = ()
    sampler: Annotated[Sampler, _text_means("kind")] = Sampler()
    objectives: Annotated[tuple[Text, ...], *UniqueItems] = ()


@dataclass(frozen=True)
class Origin:
    """Where a scenario comes from: the folder of its relative paths, and its text."""

    folder: Path = field(default_factory=Path.cwd)
    text: str = ""


class Scenario(Section):
    """A checked scenario: what to train, what to lower, and where to run it."""

    schema_version: int = Field(default=SCENARIO_SCHEMA, alias="schema")
    name: Name = "scenario"
    description: str = ""
    model: Annotated[ModelSource, _text_means("name")] = ModelSource()
    data: Annotated[DataSource, _text_means("name")] | None = None
    input_shape: (
        Annotated[tuple[Count, ...], BeforeValidator(_items), Field(min_length=1)] | None
    ) = None
    train: Train = Train()
    phases: Annotated[
        tuple[PhaseName, ...], *UniqueItems, Field(min_length=1), _in_order_of(PHASES)
    ] = PHASES
    batch: Count | None = None
    accelerator: Annotated[dict[str, Any], _text_means("preset")] = {"preset": "sat-8x8"}
    backends: Annotated[
        tuple[BackendName, ...], *UniqueItems, Field(min_length=1), _in_order_of(tuple(BACKENDS))
    ] = DEFAULT_BACKENDS
    threads: Annotated[Count, Field(le=64)] = 1
    rtl: Rtl | None = None
    study: Study | None = None
    sweep: Sweep | None = None

    _origin: Origin = PrivateAttr(default_factory=Origin)

    def model_post_init(self, context: Any) -> None:
        if isinstance(context, Origin):
            self._origin = context

    @property
    def folder(self) -> Path:
        """Where relative paths and `module:function` start."""
        return self._origin.folder

    @property
    def source(self) -> str:
        """The scenario's text as the user wrote it; empty for one given as a mapping."""
        return self._origin.text

    @property
    def requires_trust(self) -> bool:
        """Whether a run executes code that the scenario names."""
        return self.model.is_code

    @property
    def timed_batch(self) -> int:
        """Batch of the workload that the backends run."""
        return self.batch or self.train.batch

    @property
    def data_source(self) -> DataSource | None:
        """The data given, or the shipped model's own, or None."""
        entry = MODELS.get(self.model.name or "")
        if self.data is None and entry is not None and entry.data:
            return DataSource(name=entry.data)
        return self.data

    @property
    def checkpoint_path(self) -> Path | None:
        return self.folder / self.model.checkpoint if self.model.checkpoint else None

    @property
    def data_path(self) -> Path | None:
        return self.folder / self.data.file if self.data and self.data.file else None

    @property
    def code_path(self) -> Path | None:
        """The user's module where it lies beside the scenario; elsewhere Python looks it up."""
        if not self.requires_trust:
            return None
        module = str(self.model.name).partition(":")[0].replace(".", "/")
        candidates = (self.folder / f"{module}.py", self.folder / module / "__init__.py")
        return next((path for path in candidates if is_file(path)), None)

    def accelerator_config(self) -> AcceleratorConfig:
        """The accelerator, presets and overrides applied. Raises ConfigError, ScenarioError."""
        return AcceleratorConfig.from_mapping(accelerator_mapping(self))

    def rtl_config(self) -> AcceleratorConfig:
        """The accelerator whose RTL runs: that of `rtl`, else the scenario's. Raises as that does."""
        given = None if self.rtl is None else self.rtl.accelerator
        if given is None:
            return self.accelerator_config()
        return AcceleratorConfig.from_mapping(mapping_of(given, self.folder))

    @property
    def rtl_batch(self) -> int:
        """Batch of the step that the RTL runs."""
        own = None if self.rtl is None else self.rtl.batch
        return own or self.timed_batch

    def resolved(self) -> dict[str, Any]:
        """The scenario as plain JSON, defaults filled in; itself a valid scenario."""
        plain: dict[str, Any] = json.loads(self.model_dump_json(by_alias=True))
        train = plain["train"] | {"compare": list(self.train.compared)}
        if self.sweep is None:
            del plain["sweep"]
        return plain | {
            "train": train | {"epochs": self.train.max_epochs},
            "data": self._data_as_given(),
            "input_shape": self._sample_shape(),
            "batch": self.timed_batch,
            "accelerator": self.accelerator_config().to_mapping(),
            "rtl": self._resolved_rtl(),
        }

    def _resolved_rtl(self) -> dict[str, Any] | None:
        """Filled in where the RTL runs."""
        if "rtl" not in self.backends:
            return None
        config = self.rtl_config().to_mapping()
        cycles = (self.rtl or Rtl()).cycles
        return {"accelerator": config, "batch": self.rtl_batch, "cycles": cycles}

    def _data_as_given(self) -> str | dict[str, str] | None:
        data = self.data_source
        if data is None or data.file is None:
            return data.name if data else None
        return {"file": data.file}

    def _sample_shape(self) -> list[int] | None:
        """Shape of one input where no data says it."""
        if self.input_shape is not None or self.data_source is not None:
            return list(self.input_shape) if self.input_shape else None
        entry = MODELS.get(self.model.name or "")
        return list(entry.input_shape) if entry else None

    def content_hash(self) -> str:
        """SHA-256, in hex, of everything that decides the results.

        That is `resolved()` without labels (`name`, `description`), with the digest of each
        file in place of its path. Key order, comments and location do not matter. Raises DataError
        when a file cannot be read.
        """
        return _sha256(self._content())

    def training_hash(self) -> str:
        """SHA-256, in hex, of what decides a training run beside its method and seed."""
        content = self._content()
        train = {k: v for k, v in content["train"].items() if k not in _RUN_KEYS}
        kept = {key: content[key] for key in ("schema", "model", "data", "files", "threads")}
        return _sha256(kept | {"train": train})

    def workload_hash(self) -> str:
        """SHA-256, in hex, of what decides the workload of `train.method`."""
        content = self._content()
        train = {key: content["train"][key] for key in _LOWERING_KEYS}
        return _sha256({key: content[key] for key in _WORKLOAD_KEYS} | {"train": train})

    def _content(self) -> dict[str, Any]:
        """`resolved()` without labels, with the digest of each file in place of its path."""
        content = self.resolved()
        del content["name"], content["description"], content["accelerator"]["name"]
        files = {
            "checkpoint": self.checkpoint_path,
            "data": self.data_path,
            "code": self.code_path,
        }
        content["files"] = {key: _digest(path) for key, path in files.items() if path}
        content["model"]["checkpoint"] = None
        if self.data_path:
            content["data"] = None
        return content


SCHEMA: dict[tuple[str, ...], type[Section]] = {
    (): Scenario,
    ("model",): ModelSource,
    ("data",): DataSource,
    ("train",): Train,
    ("rtl",): Rtl,
    ("study",): Study,
    ("sweep",): Sweep,
    ("sweep", "sampler"): Sampler,
}
"""The section that stands at each key path."""


def keys_of(section: type[Section]) -> tuple[str, ...]:
    """A section's keys as they are written in YAML."""
    return tuple(row.alias or name for name, row in section.model_fields.items())


def accelerator_mapping(scenario: Scenario) -> dict[str, Any]:
    """The accelerator's fields as given, read from its file where it names one.

    Raises ScenarioError when that file cannot be read.
    """
    return mapping_of(scenario.accelerator, scenario.folder)


def mapping_of(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An accelerator's fields, read from its file where it names one."""
    if "file" not in given:
        return given
    document = read_yaml(folder / given["file"])
    document.refuse(document.problems)
    return document.data


def is_file(path: Path) -> bool:
    """Whether it is one; false too for a name that the file system cannot have."""
    try:
        return path.is_file()
    except OSError:
        return False


def _sha256(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from None
