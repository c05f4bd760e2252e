"""What to run when a GPU is at hand, one step a call, each under five minutes.

    python benchmarks/gpu_session.py STEP [--out DIR] [--print]

Steps, in the order in which they are worth a short loan:
    tests      every GPU test on the device, in place of the interpreter
    memcheck   the tests of tiny shapes under compute-sanitizer
    tune       launch configurations of everything, written to DIR/tuned.json
    bench      the table that the report shows, written to DIR/gpu.json
    steps      training steps only, pruning each step included, written to DIR/steps.json

Only PyTorch, Triton, NumPy and pytest are needed. Results are copied by hand to kernels/gpu/tuned and
benchmarks/results once they are looked at.
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not nightly")
TINY = ("tests/gpu/test_products.py", "tests/gpu/test_decoded.py", "tests/gpu/test_prune.py")


@dataclass(frozen=True)
class Step:
    """A command after the interpreter of Python, and the seconds that it may take."""

    arguments: tuple[str, ...]
    limit_s: int
    sanitized: bool = False


def steps(out: Path) -> dict[str, Step]:
    """Name -> step."""
    bench = ("-m", "kernels.gpu.bench", "--limit-s", "240", "--out")
    return {
        "tests": Step((*PYTEST, *TINY, "tests/gpu/test_ops.py", "tests/gpu/test_gpu_real.py"), 280),
        "memcheck": Step((*PYTEST, *TINY), 290, sanitized=True),
        "tune": Step(
            ("-m", "kernels.gpu.tune", "--limit-s", "250", "--out", str(out / "tuned.json")), 290
        ),
        "bench": Step((*bench, str(out / "gpu.json")), 290),
        "steps": Step((*bench, str(out / "steps.json"), "--only", r"\| step$"), 290),
    }


def command(step: Step) -> list[str]:
    """The whole command. Raises FileNotFoundError without compute-sanitizer, where a step needs it."""
    run = [sys.executable, *step.arguments]
    if not step.sanitized:
        return run
    found = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(found).exists():
        raise FileNotFoundError("compute-sanitizer is not on PATH; it comes with the CUDA toolkit")
    return [found, "--tool", "memcheck", "--error-exitcode", "9", *run]


def main(arguments: list[str] | None = None) -> int:
    """Run one step; returns its exit status, 124 past its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=list(steps(Path())))
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of results")
    parser.add_argument("--print", action="store_true", help="print the command, run nothing")
    options = parser.parse_args(arguments)
    step = steps(options.out)[options.step]
    if options.print:
        print(" ".join((sys.executable, *step.arguments)))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if step.sanitized:
        environment["PYTORCH_NO_CUDA_MEMORY_CACHING"] = "1"  # every tensor has bounds of its own
    try:
        done = subprocess.run(
            command(step), cwd=ROOT, env=environment, timeout=step.limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"stopped at the limit of {step.limit_s} s")
        return 124
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
