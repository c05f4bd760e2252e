"""The law on thousands of random programs, in shards that can be cut short and go on.

    python -m tests.rtl.nightly --hours 2

runs programs that have no verdict yet, configurations in turn; the summary is tests/nightly/rtl.json.
Verdicts are kept in results/nightly/rtl.jsonl by a digest of all that they depend on: a change of
RTL, simulator or generator begins anew. Exit code 1 when a program differs.
"""

import argparse
import ast
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cosparse.spec.errors import RunError
from hwsim.cosim.accelerator import Case, run_programs
from hwsim.cosim.law import judge
from hwsim.cosim.sources import BENCHES, RTL, closure, meaning
from tests.rtl.test_accelerator import CONFIGS, NIGHTLY_CONFIGS, NIGHTLY_COUNT, design, job

ROOT = Path(__file__).parents[2]
VERDICTS = ROOT / "results" / "nightly" / "rtl.jsonl"
SUMMARY = ROOT / "tests" / "nightly" / "rtl.json"
STEP = 50
NAMES = (*CONFIGS, *NIGHTLY_CONFIGS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--count", type=int, default=NIGHTLY_COUNT, help="programs a configuration")
    given = parser.parse_args()
    end, source = time.monotonic() + 3600 * given.hours, digest()
    VERDICTS.parent.mkdir(parents=True, exist_ok=True)
    done = [one for one in verdicts() if one["source"] == source]
    known = {(one["configuration"], one["first"]) for one in done}
    for name, first in shards(given.count):
        if (name, first) in known:
            continue
        if time.monotonic() > end:
            break
        done.append({"source": source, **run_shard(name, first, min(STEP, given.count - first))})
        with VERDICTS.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    summary = summarise(source, done)
    SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary, indent=1))
    return int(bool(summary["differences"]))


def shards(count: int) -> Iterator[tuple[str, int]]:
    """Every configuration in turn, so that a run cut short has seen all of them."""
    for first in range(0, count, STEP):
        for name in NAMES:
            yield name, first


def run_shard(name: str, first: int, count: int) -> dict[str, Any]:
    begin, cycles, size = time.monotonic(), 0, 0
    jobs = [job(name, seed) for seed in range(first, first + count)]
    differences: list[str] = []
    try:
        cases = [Case.of(program, config, image) for config, program, image in jobs]
        results = run_programs(design(name), cases, random_start=True, timeout_seconds=3600)
        for one, result in zip(jobs, results, strict=True):
            verdict = judge(one, result)
            differences += verdict.differences
            cycles, size = cycles + verdict.counted, size + verdict.bytes_compared
    except RunError as error:
        differences.append(str(error))
    return {
        "configuration": name,
        "first": first,
        "programs": count,
        "cycles": cycles,
        "bytes": size,
        "differences": differences,
        "seconds": round(time.monotonic() - begin, 1),
    }


def summarise(source: str, done: list[dict[str, Any]]) -> dict[str, Any]:
    """What stands in the repository."""
    rows = {}
    for name in NAMES:
        own = [one for one in done if one["configuration"] == name]
        rows[name] = {key: sum(one[key] for one in own) for key in ("programs", "cycles", "bytes")}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "source": source,
        "programs": sum(row["programs"] for row in rows.values()),
        "seconds": round(sum(one["seconds"] for one in done)),
        "configurations": rows,
        "differences": [text for one in done for text in one["differences"]],
    }


def verdicts() -> list[dict[str, Any]]:
    """Every whole line; a run that was killed may have left half of one."""
    found = []
    for line in VERDICTS.read_text().splitlines() if VERDICTS.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def digest() -> str:
    """Of the RTL and its bench, simulator, random programs and their configurations.

    Comments and layout do not count, nor what no program runs through.
    """
    total = hashlib.sha256()
    folders = (ROOT / "hwsim", ROOT / "tests" / "programs")
    code = {path for folder in folders for path in folder.rglob("*.py")}
    code -= {ROOT / "hwsim" / "cosim" / name for name in ("formal.py", "lint.py", "synth.py")}
    code |= {ROOT / "tests" / "rtl" / "test_accelerator.py", BENCHES / "accelerator_bench.py"}
    texts = [(path.name, meaning(path)) for path in closure("tb_top", (RTL, BENCHES))]
    texts += [(str(p.relative_to(ROOT)), ast.dump(ast.parse(p.read_text()))) for p in sorted(code)]
    for name, text in [*texts, ("dpi_mem.cpp", (BENCHES / "dpi_mem.cpp").read_text())]:
        total.update(f"{name}\0{text}\0".encode())
    return total.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
