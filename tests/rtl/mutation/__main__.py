"""Command line of the mutation campaign."""

import argparse
import sys
from pathlib import Path

from hwsim.cosim import sources

from .campaign import campaign
from .covers import COVERS


def main() -> int:
    """Print each module's kills and every survivor; return 1 below the threshold."""
    parser = argparse.ArgumentParser(prog="python -m tests.rtl.mutation")
    parser.add_argument(
        "--modules", nargs="+", choices=COVERS, default=list(COVERS), metavar="NAME"
    )
    parser.add_argument("--count", type=int, default=20, help="mutants a module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("results/mutation/verdicts.jsonl"))
    parser.add_argument("--threshold", type=float, default=0.95, help="least part that is killed")
    given = parser.parse_args()
    killed = total = 0
    for module in given.modules:
        verdicts = campaign(module, given.count, given.seed, given.results)
        survivors = [verdict.mutant for verdict in verdicts if verdict.outcome == "survived"]
        killed, total = killed + len(verdicts) - len(survivors), total + len(verdicts)
        print(f"{module}: {len(verdicts) - len(survivors)} of {len(verdicts)} killed", flush=True)
        print("".join(f"  survived {mutant}\n" for mutant in survivors), end="")
    unnamed = sorted({path.stem for path in sources.RTL.glob("*.sv")} - set(COVERS))
    print(f"not in the campaign: {', '.join(unnamed)}")
    print(f"all: {killed} of {total} killed ({killed / max(total, 1):.1%})")
    return int(killed < given.threshold * total)


if __name__ == "__main__":
    sys.exit(main())
