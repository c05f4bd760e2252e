"""Run the nightly tests: all shards, or some by name. A part that passed on these sources is not run again.

python -m tests.nightly [--shards NAME ...] [--list]
"""

import argparse
import subprocess
import sys
import time

from . import ledger
from .shards import ROOT, SHARDS, Part

NO_TESTS = 5
"""pytest's exit code for a file without tests of this kind."""


def main() -> int:
    """Print a line a part; returns 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly", description=__doc__)
    parser.add_argument("--shards", nargs="+", choices=SHARDS, default=list(SHARDS), metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print shards and parts, run none")
    given = parser.parse_args()
    sources = ledger.digest()
    done, failed = ledger.passed(sources), []
    for shard in given.shards:
        for part in SHARDS[shard]:
            if given.list or part.name in done:
                print(f"{shard}: {part.name}{' (passed)' if part.name in done else ''}")
            elif not run(shard, part, sources):
                failed.append(part.name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


def run(shard: str, part: Part, sources: str) -> bool:
    """Whether it passed, which is then noted."""
    print(f"{shard}: {part.name}", flush=True)
    begun = time.monotonic()
    code = subprocess.run(part.command, cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - begun
    good = code in (0, NO_TESTS)
    print(f"{shard}: {part.name} {'passed' if good else 'failed'} in {seconds:.0f} s", flush=True)
    if good:
        ledger.add(part.name, sources, seconds)
    return good


if __name__ == "__main__":
    sys.exit(main())
