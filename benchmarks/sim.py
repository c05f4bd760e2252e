"""The simulator's speed: engine, timing of tiled layers, the price of a training step, SCALE-Sim beside.

Run: python benchmarks/sim.py [--scale-sim-python PATH]    CPU time, median of five after a first call.
PATH: an interpreter with `pip install scalesim==3.0.0 'numpy<2'` in an environment of its own.
"""

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np

from algos.lowering import lower
from algos.models import build, find_model, sample
from algos.sparsified import plan_layers
from algos.tracing import capture
from cosparse.spec import Gemm, Operand, Phase, Workload
from hwsim import AcceleratorConfig, price, total
from hwsim.compile.blocking import TILINGS, fits
from hwsim.compile.clock import new_clock
from hwsim.compile.emit import emit
from hwsim.compile.evaluate import COUNTERS, shape_vector, time_programs
from hwsim.compile.lower import gemm_nests
from hwsim.compile.nest import NEST
from hwsim.compile.search import MAX_STRIPS, cut_operation
from hwsim.config_vector import config_vector
from hwsim.engine import run
from hwsim.pricing import is_flat, product_schedules
from hwsim.support import DATAFLOWS

REPEATS = 5


def cpu_seconds(task: Callable[[], object]) -> float:
    """Median CPU time of REPEATS calls after a first one."""
    task()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        task()
        times.append(time.process_time() - start)
    return median(times)


def step_of(model: str, batch: int, pattern: str | None = "2:8") -> Workload:
    """The training step of a shipped model, BDWP or dense."""
    entry = find_model(model)
    network = build(model)
    plans = plan_layers(network, "bdwp", pattern, sample=sample(entry, 2)) if pattern else {}
    return lower(capture(network, sample(entry, batch)), plans).only((Phase.FF, Phase.BP, Phase.WU))


def bench_engine() -> None:
    """Simulated cycles a CPU second, on layers as the scheduler cuts them."""
    sat8, sat32 = AcceleratorConfig.preset("sat-8x8"), AcceleratorConfig.preset("sat-32x32")
    narrow = AcceleratorConfig.preset("sat-32x32", dram_bytes_per_cycle=8)
    resnet = {f"{g.name}:{g.phase}": g for g in step_of("resnet18", 4).gemms}
    digits = {f"{g.name}:{g.phase}": g for g in step_of("digits-cnn", 64).gemms}
    cases = [
        ("ResNet-18 layer1.0.conv1:FF", resnet["layer1.0.conv1:FF"], resnet, sat32),
        ("ResNet-18 layer3.0.conv2:WU", resnet["layer3.0.conv2:WU"], resnet, sat32),
        ("quickstart block2.conv:FF", digits["block2.conv:FF"], digits, sat8),
        ("quickstart block2.conv:WU", digits["block2.conv:WU"], digits, sat8),
        ("ResNet-18 layer4.1.conv2:FF, 8 B/cycle", resnet["layer4.1.conv2:FF"], resnet, narrow),
    ]
    print("engine")
    for name, gemm, step, config in cases:
        found = product_schedules(Workload(tuple(step.values())), config, gemm)
        program = emit(min(found.values(), key=lambda s: s.cycles).nests, config)
        trace = run(program, config)
        seconds = cpu_seconds(partial(run, program, config))
        rate = trace.cycles / seconds / 1e6
        events = 1000 * trace.events / trace.cycles
        print(
            f"  {name:40} {config.name[:9]:9} {trace.cycles:>11,} cycles  {rate:6.1f} M cycles/s"
            f"  {events:5.2f} events/1000 cycles"
        )


def candidates(step: Workload, config: AcceleratorConfig) -> list[np.ndarray]:
    """Every tiling of every product that fits, in both dataflows: what the scheduler chooses from."""
    shape, vector = shape_vector(config), config_vector(config)
    found = []
    for gemm in step.gemms:
        nests = gemm_nests(gemm, config, flat=is_flat(step, config, gemm))
        for flow in DATAFLOWS.values() if gemm.phase is not Phase.WU else (0,):
            nests["flow"] = flow
            for tiling in range(TILINGS):
                cut = np.zeros(len(nests) * MAX_STRIPS, NEST)
                cut = cut[: cut_operation(nests, tiling, shape, vector, cut)]
                if len(cut) and all(fits(nest, shape, config.interleave) for nest in cut):
                    found.append(cut)
    return found


def bench_timing() -> None:
    """Exact evaluations a second over all of ResNet-50's candidates, and the scheduler's whole step."""
    config = AcceleratorConfig.preset("sat-32x32")
    for batch in (1, 16, 256):
        step = step_of("resnet50", batch)
        cuts = candidates(step, config)
        slowest = _slowest_decile(cuts, config)
        print(
            f"timing, ResNet-50 batch {batch:3}: {len(cuts):,} tilings, {_rate(cuts, config):,.0f} exact "
            f"evaluations/s; slowest decile {_rate(slowest, config):,.0f}/s"
        )
        seconds = cpu_seconds(partial(price, step, config))
        print(
            f"  price of its products, all scheduled: {seconds:.3f} s, {total(price(step, config)):,} cycles"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  peak memory of this process, torch and captures included: {peak:.2f} GiB")


def _batch(cuts: list[np.ndarray], config: AcceleratorConfig) -> Callable[[], None]:
    """One compiled call that times all programs."""
    vector, found = config_vector(config), np.zeros((len(cuts), len(COUNTERS)), np.int64)
    nests, ends = np.concatenate(cuts), np.cumsum([len(cut) for cut in cuts])
    clock = new_clock(vector)
    return partial(time_programs, nests, ends, shape_vector(config), vector, *clock, found)


def _rate(cuts: list[np.ndarray], config: AcceleratorConfig) -> float:
    return len(cuts) / cpu_seconds(_batch(cuts, config))


def _slowest_decile(cuts: list[np.ndarray], config: AcceleratorConfig) -> list[np.ndarray]:
    times = np.array([cpu_seconds(_batch([cut], config)) for cut in cuts])
    return [cuts[place] for place in np.argsort(times)[-max(1, len(cuts) // 10) :]]


def bench_scale_sim(python: str) -> None:
    """128 x 768 x 768 in OS on 32 x 32: SCALE-Sim's CPU time, its start included, against ours."""
    config = AcceleratorConfig.preset("sat-32x32")
    layer = Gemm("gemm", Phase.FF, 128, 768, 768, Operand("x"), Operand("w"))
    step = Workload((layer,))
    schedule = product_schedules(step, config, layer)["OS"]
    program = emit(schedule.nests, config)
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [python, "-c", _SCALE_SIM, folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cycles = int(done.stdout.splitlines()[-1].split(",")[2])
    theirs = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    events = cpu_seconds(partial(run, program, config))
    priced = cpu_seconds(partial(price, step, config, dataflows=("OS",)))
    print("128x768x768 in OS on 32x32")
    print(f"  SCALE-Sim {theirs:8.2f} s, {cycles:,} cycles without memory")
    print(
        f"  engine    {events:8.4f} s, {schedule.cycles:,} cycles with it: {theirs / events:,.0f}x"
    )
    print(f"  price     {priced:8.4f} s, all its tilings searched: {theirs / priced:,.0f}x")


_SCALE_SIM = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "t.csv").write_text("Layer,M,N,K,\\ngemm,128,768,768,\\n")
(folder / "l.csv").write_text("Layer\\ngemm," + "1," * 30 + "\\n")
(folder / "c.cfg").write_text(
    "[general]\\nrun_name = r\\n[architecture_presets]\\nArrayHeight: 32\\nArrayWidth: 32\\n"
    "IfmapSramSzkB: 1024\\nFilterSramSzkB: 1024\\nOfmapSramSzkB: 1024\\nIfmapOffset: 0\\n"
    "FilterOffset: 10000000\\nOfmapOffset: 20000000\\nBandwidth: 10\\nDataflow: os\\n"
    "ReadRequestBuffer: 32\\nWriteRequestBuffer: 32\\n"
    "[layout]\\nIfmapCustomLayout: False\\nFilterCustomLayout: False\\n"
    "IfmapSRAMBankBandwidth: 10\\nIfmapSRAMBankNum: 10\\nIfmapSRAMBankPort: 2\\n"
    "FilterSRAMBankBandwidth: 10\\nFilterSRAMBankNum: 10\\nFilterSRAMBankPort: 2\\n"
    "[sparsity]\\nSparsitySupport: false\\n"
    "[run_presets]\\nInterfaceBandwidth: CALC\\nUseRamulatorTrace: False\\n"
)
from scalesim.scale_sim import scalesim
s = scalesim(save_disk_space=True, verbose=False, config=str(folder / "c.cfg"),
             topology=str(folder / "t.csv"), layout=str(folder / "l.csv"), input_type_gemm=True)
s.run_scale(top_path=str(folder))
print((folder / "r" / "COMPUTE_REPORT.csv").read_text().strip())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale-sim-python", metavar="PATH")
    options = parser.parse_args()
    bench_engine()
    bench_timing()
    if options.scale_sim_python:
        bench_scale_sim(options.scale_sim_python)


if __name__ == "__main__":
    main()
