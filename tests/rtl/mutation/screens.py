"""Small parts of the tests, first to meet a mutant: what fails here fails there too.

They are not collected by a run of all tests.
"""

import pytest

from tests.rtl import test_accelerator, test_sore, test_stce, test_wuve, transfer_programs
from tests.rtl.law import check_law

OTHER_ARRAYS = ("groups wider than words", "more words than groups", "odd interleave")


def test_matmuls():
    test_stce.simulate(test_stce.CONFIGS["sat-4x4"], range(12))


@pytest.mark.parametrize("name", OTHER_ARRAYS)
def test_matmuls_of_other_arrays(name):
    test_stce.simulate(test_stce.CONFIGS[name], range(100))


def test_groups():
    test_sore.simulate(test_sore.CONFIGS["sat-4x4"], count=20)


@pytest.mark.parametrize("name", test_sore.OTHERS)
def test_groups_of_other_units(name):
    test_sore.simulate(test_sore.CONFIGS[name], count=100)


def test_vectors():
    test_wuve.check(test_wuve.CONFIGS["sat-4x4"], seed=1, batches=4)


def test_transfers():
    jobs = [transfer_programs.job("narrow", seed) for seed in range(10)]
    check_law(transfer_programs.design("narrow"), jobs)


def test_programs():
    jobs = [test_accelerator.job("4x4", seed) for seed in range(4)]
    check_law(test_accelerator.design("4x4"), jobs)
