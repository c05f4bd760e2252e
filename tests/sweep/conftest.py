"""A small design space and its complete sweep, computed once a session."""

import os

import pytest

import cosparse as cs

AXES = {
    "accelerator.rows": [4, 8],
    "train.pattern": ["2:4", "2:8"],
    "accelerator.interleave": [1, 4],
    "accelerator.activation_kib": [8, 64],
    "accelerator.dram_bytes_per_cycle": {"values": [4, 16], "when": "rows == 8"},
}
SET = {"cols": "rows", "sore_lanes": "rows", "wuve_lanes": "rows"}


@pytest.fixture(scope="session")
def scenario():
    """Build a scenario of digits-mlp with a sweep; keys of the sweep replaced."""

    def build(**sweep):
        return {
            "schema": 1,
            "name": "small",
            "model": "digits-mlp",
            "train": {"method": "bdwp", "epochs": 0, "compare": ["dense"]},
            "batch": 16,
            "accelerator": "sat-8x8",
            "backends": ["simulator"],
            "sweep": {"axes": AXES, "set": SET} | sweep,
        }

    return build


@pytest.fixture(scope="session")
def complete(scenario, tmp_path_factory):
    """The whole grid: 2 patterns x 2 interleaves x 2 scratchpads x (rows 4, rows 8 at 2 bandwidths)."""
    return cs.sweep(scenario(), out=tmp_path_factory.mktemp("complete"), processes=1)


@pytest.fixture
def unwritable(monkeypatch):
    """Make a folder into which nothing can be written, as `os.access` has it even for root."""
    access = os.access

    def forbid(folder):
        folder.mkdir(exist_ok=True)
        inside = {folder, *folder.iterdir()}
        monkeypatch.setattr(
            os,
            "access",
            lambda path, mode: (path not in inside or mode != os.W_OK) and access(path, mode),
        )

    return forbid
