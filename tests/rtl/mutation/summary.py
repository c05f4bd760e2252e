"""What a campaign found, as the table that it prints and the file that the repository keeps."""

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .covers import CONFIGURATIONS, ROOT
from .ledger import KILLS, Ledger
from .mutants import Mutant

SUMMARY = ROOT / "tests" / "nightly" / "mutation.json"
EXPLAINED = Path(__file__).with_name("explained.toml")
PROVED = f"Yosys, for the parameters of {', '.join(CONFIGURATIONS)}"
UNEXPLAINED = "unexplained"
CLASSES = ("equivalent-proved", "equivalent-explained", "not-killed")
_EQUIVALENT = CLASSES[:2]


def explanations() -> Mapping[str, Mapping[str, str]]:
    """By key of a mutant: what it is, whether it is equivalent or only not killed, and why."""
    found: dict[str, dict[str, str]] = tomllib.loads(EXPLAINED.read_text())
    return found


def summarise(drawn: Sequence[Mutant], ledger: Ledger, seed: int) -> dict[str, Any]:
    """Counts by module and by operator, and every survivor with its class and reason."""
    explained = explanations()
    outcomes = {mutant.key: ledger.final_outcome(mutant.key) for mutant in drawn}
    survivors = [
        {"key": mutant.key, "mutant": str(mutant), **_reason(mutant, outcomes, explained)}
        for mutant in drawn
        if outcomes[mutant.key] not in KILLS
    ]
    classes = {one["key"]: one["class"] for one in survivors}
    killed = sum(outcome in KILLS for outcome in outcomes.values())
    equivalent = sum(one["class"] in _EQUIVALENT for one in survivors)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": seed,
        "mutants": len(drawn),
        "killed": killed,
        "of_these_hung": sum(outcome == "hung" for outcome in outcomes.values()),
        "killed_of_all": round(killed / max(len(drawn), 1), 4),
        "killed_of_not_equivalent": round(killed / max(len(drawn) - equivalent, 1), 4),
        "modules": _counted({m.key: m.module for m in drawn}, outcomes, classes),
        "operators": _counted({m.key: m.operator for m in drawn}, outcomes, classes),
        "killed_by": _killers(drawn, ledger),
        "survivors": survivors,
    }


def _reason(
    mutant: Mutant, outcomes: Mapping[str, str], explained: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    if outcomes[mutant.key] == "equivalent":
        return {"class": CLASSES[0], "reason": PROVED}
    known = explained.get(mutant.key)
    if known is None:
        return {"class": CLASSES[2], "reason": UNEXPLAINED}
    return {"class": known["class"], "reason": known["reason"]}


def unexplained(summary: Mapping[str, Any]) -> list[str]:
    """Keys of survivors that nothing proves and nobody has explained."""
    return [one["key"] for one in summary["survivors"] if one["reason"] == UNEXPLAINED]


def _counted(
    groups: Mapping[str, str], outcomes: Mapping[str, str], classes: Mapping[str, str]
) -> dict[str, dict[str, int]]:
    """Of each group: mutants, killed ones, and survivors by class."""
    rows = {}
    for group in sorted(set(groups.values())):
        keys = [key for key, own in groups.items() if own == group]
        found = Counter(classes.get(key, "killed") for key in keys)
        rows[group] = {"mutants": len(keys), **{name: found[name] for name in ("killed", *CLASSES)}}
    return rows


def _killers(drawn: Sequence[Mutant], ledger: Ledger) -> dict[str, int]:
    """Mutants by the stage that killed them."""
    finals = (ledger.final(mutant.key) for mutant in drawn)
    return dict(Counter(one.stage for one in finals if one and one.outcome in KILLS).most_common())


def table(summary: Mapping[str, Any]) -> str:
    head = (
        f"{'module':20}{'mutants':>9}{'killed':>9}{'proved':>9}{'explained':>11}{'not killed':>12}"
    )
    lines = [head]
    for name, row in summary["modules"].items():
        counts = (row["mutants"], row["killed"], *(row[one] for one in CLASSES))
        lines.append("{:20}{:>9}{:>9}{:>9}{:>11}{:>12}".format(name, *counts))
    lines += [
        f"{one['class']} {one['key']} {one['mutant']}: {one['reason']}"
        for one in summary["survivors"]
    ]
    lines.append(
        f"{summary['killed']} of {summary['mutants']} killed ({summary['killed_of_all']:.1%}), "
        f"{summary['killed_of_not_equivalent']:.1%} of those that are not equivalent"
    )
    return "\n".join(lines)


def write(summary: Mapping[str, Any]) -> None:
    SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")
