"""Command line of RTL coverage. Exit code 1 unless all that is asked for is covered."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from hwsim.cosim import sources

from . import exclusions, plan, report
from .campaign import Campaign
from .runs import ROOT, RUNS

RESULTS = ROOT / "results" / "coverage"
SUMMARY = ROOT / "tests" / "nightly" / "coverage.json"
PACKAGES = ("cosparse_pkg", "wuve_pkg")
"""They have constants and types only."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.rtl.coverage", description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=[run.name for run in RUNS], metavar="NAME")
    parser.add_argument("--hours", type=float, default=2.0, help="begin no run after that time")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--any-sources", action="store_true", help="also what other sources gave")
    given = parser.parse_args()
    campaign = Campaign(given.results, any_sources=given.any_sources)
    end = time.monotonic() + 3600 * given.hours
    for run in RUNS:
        if (not given.runs or run.name in given.runs) and time.monotonic() < end:
            campaign.ensure(run)
    done = campaign.done()
    hits = campaign.hits()
    excluded, problems = exclusions.apply(exclusions.parse(exclusions.FILE.read_text()), hits)
    table = report.tabulate(hits, excluded)
    modules = {path.stem for path in sources.RTL.glob("*.sv")} - set(PACKAGES)
    problems += [f"no run builds {module}" for module in report.unseen(table, modules)]
    problems += report.missing(hits, excluded)
    bins = campaign.bins()
    problems += plan.missing(bins)
    print(report.text(table), report.plan_text(bins), *problems, sep="\n")
    not_run = [run.name for run in RUNS if run not in done]
    for name in not_run:
        print(f"not run: {name}")
    if not given.runs and not given.any_sources:
        date = datetime.now(UTC).date().isoformat()
        beside = {"date": date, "source": campaign.source, "not_run": not_run, "missing": problems}
        summary = report.summary(table, bins, **beside)
        SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
    return int(bool(problems or (not_run and not given.runs)))


if __name__ == "__main__":
    sys.exit(main())
