"""Command line of the mutation campaign."""

import argparse
import sys
from pathlib import Path

from .campaign import Campaign, OutOfTimeError
from .covers import COVERS, ROOT
from .summary import SUMMARY, summarise, table, unexplained, write


def main() -> int:
    """Print the table by module and every survivor.

    Returns 1 below the threshold, for a survivor that nobody has explained, and when time is over.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.rtl.mutation")
    parser.add_argument(
        "--modules", nargs="+", choices=COVERS, default=list(COVERS), metavar="NAME"
    )
    parser.add_argument("--count", type=int, help="mutants a module; by default by its length")
    parser.add_argument(
        "--elaborated", type=int, default=1, help="further ones that need a build of their own"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "mutation")
    parser.add_argument("--hours", type=float, default=2.0, help="judge no mutant after that time")
    parser.add_argument("--threshold", type=float, default=0.95, help="least part that is killed")
    parser.add_argument("--write", action="store_true", help=f"write {SUMMARY.relative_to(ROOT)}")
    given = parser.parse_args()
    campaign = Campaign(
        given.modules,
        given.seed,
        given.folder.resolve(),
        given.count,
        given.elaborated,
        hours=given.hours,
    )
    try:
        drawn, ledger = campaign.run(lambda line: print(line, flush=True))
    except OutOfTimeError as error:
        print(f"{error}; the same command goes on")
        return 1
    summary = summarise(drawn, ledger, given.seed)
    print(table(summary))
    if given.write:
        write(summary)
    enough = summary["killed_of_not_equivalent"] >= given.threshold
    return int(not enough or bool(unexplained(summary)))


if __name__ == "__main__":
    sys.exit(main())
