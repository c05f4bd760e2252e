"""What passed, on which sources: one JSON line a part, never rewritten."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from .shards import ROOT

LEDGER = ROOT / "results" / "nightly" / "parts.jsonl"
_CODE = ("cosparse", "hwsim", "algos", "kernels", "rtl", "scenarios", "tests")
_KINDS = {".py", ".sv", ".svh", ".cpp", ".yaml", ".toml", ".txt", ".j2", ".ipynb"}


def digest(root: Path = ROOT) -> str:
    """Of all sources: a change of any begins anew."""
    total = hashlib.sha256()
    for path in sorted(path for folder in _CODE for path in (root / folder).rglob("*")):
        if path.suffix in _KINDS and "__pycache__" not in path.parts and path.is_file():
            total.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def passed(sources: str, ledger: Path = LEDGER) -> set[str]:
    """Names of the parts that passed on these sources."""
    return {row["part"] for row in _rows(ledger) if row["sources"] == sources}


def add(part: str, sources: str, seconds: float, ledger: Path = LEDGER) -> None:
    """Note that a part passed."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    row = {"part": part, "sources": sources, "seconds": round(seconds)}
    with ledger.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _rows(ledger: Path) -> Iterator[dict[str, str]]:
    """Every whole line; a run that was killed may have left half of one."""
    for line in ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else ():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
