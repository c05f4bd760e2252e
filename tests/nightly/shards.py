"""Which parts make up the nightly tests: one command a part, at most two hours of parts a shard."""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOURS = 2.0
"""Of a shard on two cores; campaigns that are cut short go on in the next run."""


@dataclass(frozen=True)
class Part:
    """One command, run in the root of the project. name: of its row in the ledger."""

    name: str
    command: tuple[str, ...]


def files(*names: str, processes: int = 1) -> tuple[Part, ...]:
    """The nightly tests of some files or folders of tests/, a part each."""
    shared = ("-n", str(processes)) if processes > 1 else ()
    options = ("-q", "-m", "nightly", "-p", "no:cacheprovider", *shared)
    return tuple(
        Part(name, (sys.executable, "-m", "pytest", *options, f"tests/{name}")) for name in names
    )


def campaign(module: str, *options: str) -> Part:
    """A command that keeps what it found and says with its exit code whether it is complete and good."""
    return Part(module, (sys.executable, "-m", module, *options))


FOLDERS = ("architecture", "conformance", "flow", "gpu", "packaging",
           "scenarios", "sweep", "timing", "unit")  # fmt: skip
ACCELERATOR = tuple(
    f"rtl/test_{name}.py"
    for name in ("accelerator", "layers", "training", "reset", "dma", "axi_models", "upset")
)
CAMPAIGNS = ("rtl/test_coverage.py", "rtl/test_mutation.py")
"""Their nightly tests are the campaigns, which have shards of their own."""
UNITS = tuple(
    name
    for path in sorted((ROOT / "tests" / "rtl").glob("test_*.py"))
    if (name := f"rtl/{path.name}") not in (*ACCELERATOR, *CAMPAIGNS)
)

SHARDS: dict[str, tuple[Part, ...]] = {
    "software": files(*FOLDERS, processes=2),
    "accelerator": files(*ACCELERATOR),
    "units of rtl": files(*UNITS),
    "law": (campaign("tests.rtl.nightly", "--hours", str(HOURS)),),
    "coverage": (campaign("tests.rtl.coverage", "--hours", str(HOURS)),),
    "mutation": (campaign("tests.rtl.mutation", "--write", "--hours", str(HOURS)),),
}
