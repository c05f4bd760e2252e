"""The nightly shards: all test files are in one, what passed is not run again, a change begins anew."""

import sys
from collections import Counter

import pytest

from tests.nightly import __main__ as nightly
from tests.nightly import ledger
from tests.nightly.shards import CAMPAIGNS, ROOT, SHARDS, Part


def test_every_test_file_is_in_one_shard():
    names = Counter(part.name for parts in SHARDS.values() for part in parts)
    assert max(names.values()) == 1
    for path in (ROOT / "tests").glob("*/**/test_*.py"):
        inside = path.relative_to(ROOT / "tests")
        named = names[str(inside)] + names[inside.parts[0]] + (str(inside) in CAMPAIGNS)
        assert named == 1, inside


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """A shard of two parts, of which the second fails; what each has run, and the ledger."""
    log, place = tmp_path / "log", tmp_path / "parts.jsonl"

    def part(name, code):
        script = f"open({str(log)!r}, 'a').write('{name} '); raise SystemExit({code})"
        return Part(name, (sys.executable, "-c", script))

    monkeypatch.setattr(nightly, "SHARDS", {"small": (part("good", 0), part("bad", 1))})
    monkeypatch.setattr(ledger, "LEDGER", place)
    monkeypatch.setattr(ledger.passed, "__defaults__", (place,))
    monkeypatch.setattr(ledger.add, "__defaults__", (place,))
    monkeypatch.setattr(sys, "argv", ["nightly"])
    return log, place


def test_what_passed_is_not_run_again_until_a_source_changes(notes, monkeypatch):
    log, place = notes
    monkeypatch.setattr(ledger, "digest", lambda: "one")
    assert nightly.main() == 1 and log.read_text() == "good bad "
    place.write_text(place.read_text() + '{"part": "half a li')  # a run that was killed
    assert nightly.main() == 1 and log.read_text() == "good bad bad "
    monkeypatch.setattr(ledger, "digest", lambda: "two")
    assert nightly.main() == 1 and log.read_text() == "good bad bad good bad "


def test_the_digest_is_of_every_source(tmp_path):
    file = tmp_path / "hwsim" / "one.py"
    file.parent.mkdir()
    file.write_text("1")
    before = ledger.digest(tmp_path)
    file.write_text("2")
    assert ledger.digest(tmp_path) != before
    file.write_text("1")
    (tmp_path / "hwsim" / "notes.md").write_text("no source")
    assert ledger.digest(tmp_path) == before
