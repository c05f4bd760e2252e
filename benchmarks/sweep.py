"""The claim of `sweep-million`: a million exact points of a ResNet-50 step in minutes, each as it is alone.

python benchmarks/sweep.py [--scenario NAME] [--out FOLDER] [--processes 2] [--check 1000]

Runs the sweep, prints its rate, CPU time, the memory of all its processes and the size of the store; then
recomputes points drawn at random, one by one with `hwsim.price`, and compares every figure. CPU time does not
depend on what else the machine does, the wall time does.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from cosparse.flow.scenario import load_scenario
from cosparse.flow.sweep.figures import FIGURE_NAMES
from cosparse.flow.sweep.run import STORE_NAME
from cosparse.flow.sweep.store import RESULT_COLUMNS, Store
from cosparse.flow.sweep.variants import Variants
from cosparse.spec import UnsupportedError
from hwsim import AcceleratorConfig, EnergyTable, EventCounts, estimate, estimate_area, price, total
from hwsim.area import RESOURCES
from hwsim.compile.step import TOTALS
from hwsim.config_vector import CONFIG_FIELDS
from hwsim.step import totals_of


def resident_mib(root: int) -> float:
    """Resident memory of a process and all below it, MiB; Linux only."""
    parents, pages = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            parents[int(entry.name)], pages[int(entry.name)] = int(fields[1]), int(fields[21])
    family = {root}
    for _ in range(4):
        family |= {process for process, parent in parents.items() if parent in family}
    held = sum(pages.get(process, 0) for process in family)
    return held * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(scenario: str, out: Path, processes: int) -> dict:
    """The sweep as a user starts it; its JSON, with wall and CPU seconds and the most memory."""
    command = [sys.executable, "-m", "cosparse.cli", "sweep", scenario, "--out", str(out)]
    begun, cpu, peaks = time.perf_counter(), os.times(), [0.0]
    process = subprocess.Popen(
        [*command, "--processes", str(processes), "--json"], stdout=subprocess.PIPE, text=True
    )

    def watch() -> None:
        while process.poll() is None:
            peaks.append(max(peaks.pop(), resident_mib(process.pid)))
            time.sleep(0.5)

    threading.Thread(target=watch, daemon=True).start()
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(process.returncode)
    after = os.times()
    used = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    wall = time.perf_counter() - begun
    return {**json.loads(output), "wall_s": wall, "cpu_s": used, "peak_mib": peaks[0]}


def alone(row: dict, workload) -> dict | None:
    """Every figure of a point by itself; None where the accelerator cannot run it."""
    config = AcceleratorConfig(**{name: row[name] for name in CONFIG_FIELDS})
    try:
        timings = price(workload, config)
    except UnsupportedError:
        return None
    cycles, area = total(timings), estimate_area(config)
    events = sum((timing.events for timing in timings), EventCounts())
    energy = estimate(events, cycles, config, EnergyTable.default())
    return {
        "cycles": cycles,
        **dict(zip(TOTALS, totals_of(timings).tolist(), strict=True)),
        **{name: getattr(area, name).value for name in RESOURCES},
        "milliseconds": cycles / (config.clock_mhz * 1e3),
        "energy_j": energy.value_j,
        "energy_low_j": energy.low_j,
        "energy_high_j": energy.high_j,
    }


def check(scenario: str, path: Path, count: int, seed: int = 0) -> int:
    """How many of `count` random points differ from what they are alone in any figure."""
    different, workloads = 0, {}
    with Store.open(path) as store:
        variants = Variants(load_scenario(scenario), store, trust=False)
        ((sweep,),) = store.rows("SELECT id FROM sweep ORDER BY begun DESC LIMIT 1")
        numbers = [n for (n,) in store.rows("SELECT number FROM sample WHERE sweep = ?", sweep)]
        columns = (*RESULT_COLUMNS, "settings")
        for number in sorted(random.Random(seed).sample(numbers, min(count, len(numbers)))):
            query = f"SELECT {', '.join(columns)} FROM result WHERE sweep = ? AND number = ?"
            (values,) = store.rows(query, sweep, number)
            point = dict(zip(columns, values, strict=True))
            key = point["settings"]
            workloads[key] = workloads.get(key) or variants.of(json.loads(key)).workload
            found = alone(point, workloads[key])
            stored = {name: point[name] for name in FIGURE_NAMES}
            same = point["refused"] is not None if found is None else stored == found
            different += not same
    return different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", default="sweep-million")
    parser.add_argument("--out", type=Path, default=Path("results/bench-sweep"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--check", type=int, default=1000, metavar="POINTS")
    options = parser.parse_args()
    found = run(options.scenario, options.out, options.processes)
    path = options.out / STORE_NAME
    print(
        f"{options.scenario}: {found['points']:,} points ({found['refused']:,} cannot run), "
        f"{found['evaluated']:,} evaluated in {found['seconds']:.0f} s: "
        f"{found['evaluated'] / max(found['seconds'], 1e-9):,.0f} a second\n"
        f"whole command {found['wall_s']:.0f} s, {found['cpu_s']:.0f} CPU s in all processes, "
        f"load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores; "
        f"{found['peak_mib']:,.0f} MiB of memory, store {path.stat().st_size / 2**20:,.0f} MiB"
    )
    if options.check:
        begun = time.process_time()
        different = check(options.scenario, path, options.check)
        each = (time.process_time() - begun) / options.check
        print(
            f"{options.check:,} random points alone, {each:.2f} CPU s each: {different} differ in any of "
            f"{len(FIGURE_NAMES)} figures"
        )


if __name__ == "__main__":
    main()
