"""Start-up: `cosparse --help`, `import cosparse`, `import hwsim`, against an empty interpreter.

Run: python benchmarks/startup.py      wall time, best of seven after a first call.
"""

import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "empty interpreter": [sys.executable, "-c", "pass"],
    "import cosparse": [sys.executable, "-c", "import cosparse"],
    "import hwsim": [sys.executable, "-c", "import hwsim"],
    "cosparse --help": [str(Path(sys.executable).with_name("cosparse")), "--help"],
}
REPEATS = 7


def best_seconds(command: list[str]) -> float:
    """Best of REPEATS after one call that warms the file cache."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    empty = best_seconds(COMMANDS["empty interpreter"])
    for name, command in COMMANDS.items():
        seconds = best_seconds(command)
        print(f"{name:18} {seconds:6.3f} s  {seconds / empty:5.1f}x an empty interpreter")


if __name__ == "__main__":
    main()
