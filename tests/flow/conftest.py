"""Scenarios that run in a fraction of a second, and a CPU measurement of one round a product."""

import pytest

from cosparse.flow import measurement

TINY = {
    "schema": 1,
    "model": "digits-mlp",
    "train": {"method": "bdwp", "pattern": "2:8", "steps": 2, "batch": 16},
    "backends": ["simulator"],
}


@pytest.fixture(scope="session", autouse=True)
def one_round_a_product():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurement, "REPEATS", 1)
        patch.setattr(measurement, "SECONDS_A_PRODUCT", 0.0)
        yield


@pytest.fixture(scope="session")
def tiny():
    """Build a scenario: keys of `train` merged, other keys replaced."""

    def build(train=None, **keys):
        return TINY | keys | {"train": TINY["train"] | (train or {})}

    return build


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory):
    """One finished run on both backends: two methods, two seeds."""
    import cosparse as cs

    scenario = tiny({"seeds": [0, 1]}, backends=["cpu", "simulator"], description="a <b> & c | d")
    return cs.run(scenario, out=tmp_path_factory.mktemp("finished"))
