"""What a campaign has learned so far: one JSON line for each mutant and stage, never rewritten."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

KILLS = ("killed", "hung")


@dataclass(frozen=True)
class Verdict:
    """What a stage said about a mutant.

    outcome: killed; hung (killed, since it ran into the time limit); passed; stillborn (does not elaborate);
    equivalent (proved). digest: of the stage. by: the test that failed, or what was proved.
    """

    key: str
    module: str
    operator: str
    mutant: str
    stage: str
    digest: str
    outcome: str
    by: str = ""
    seconds: float = 0.0


class Ledger:
    """The verdicts of a file; a line that a killed run left half written is skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._verdicts: dict[str, list[Verdict]] = {}
        for verdict in _read(path):
            self._verdicts.setdefault(verdict.key, []).append(verdict)

    def add(self, verdict: Verdict) -> None:
        self._verdicts.setdefault(verdict.key, []).append(verdict)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")

    def of(self, key: str) -> list[Verdict]:
        return self._verdicts.get(key, [])

    def final(self, key: str) -> Verdict | None:
        """The verdict that needs no further stage: a kill, a proof or a stillbirth."""
        ends = (*KILLS, "stillborn", "equivalent")
        return next((verdict for verdict in self.of(key) if verdict.outcome in ends), None)

    def passed(self, key: str, stage: str, digest: str) -> bool:
        """Whether the mutant passed this stage, with the tests as they are."""
        return any(v.stage == stage and v.digest == digest for v in self.of(key))

    def stillborn(self) -> set[str]:
        return {key for key in self._verdicts if self.final_outcome(key) == "stillborn"}

    def final_outcome(self, key: str) -> str:
        """killed, hung, stillborn or equivalent; `survived` where no stage has decided."""
        final = self.final(key)
        return final.outcome if final else "survived"


def _read(path: Path) -> Iterator[Verdict]:
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield Verdict(**json.loads(line))
        except json.JSONDecodeError:
            continue
