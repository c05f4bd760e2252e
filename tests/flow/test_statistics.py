"""Means, deviations and intervals against NumPy and SciPy."""

import numpy as np
import pytest
from scipy import stats

from algos.loop import TrainingResult
from cosparse.flow.statistics import summarise

DENSE = [97.1, 96.4, 97.8, 96.9, 97.0]
BDWP = [96.2, 96.6, 97.1, 95.8, 96.9]


def results(**values):
    return [
        TrainingResult(method, seed, "accuracy", value, 10, 1.0, [])
        for method, row in values.items()
        for seed, value in enumerate(row)
    ]


def row(method, rows):
    return next(found for found in rows if found.method == method)


def test_mean_and_sample_deviation():
    found = row("bdwp", summarise(results(bdwp=BDWP)))
    assert found.values == tuple(BDWP)
    assert found.mean == pytest.approx(np.mean(BDWP))
    assert found.deviation == pytest.approx(np.std(BDWP, ddof=1))
    assert found.difference is None and found.half_width is None


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_paired_interval_is_that_of_a_t_test(seeds):
    found = row("bdwp", summarise(results(bdwp=BDWP[:seeds], dense=DENSE[:seeds])))
    differences = np.subtract(BDWP, DENSE)[:seeds]
    interval = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    assert found.difference == pytest.approx(differences.mean())
    assert found.difference - found.half_width == pytest.approx(interval.low)
    assert found.difference + found.half_width == pytest.approx(interval.high)


def test_one_seed_has_no_deviation_and_no_interval():
    found = row("bdwp", summarise(results(bdwp=[90.0], dense=[91.5])))
    assert (found.mean, found.deviation) == (90.0, None)
    assert (found.difference, found.half_width) == (-1.5, None)


def test_the_baseline_has_no_difference_to_itself():
    assert row("dense", summarise(results(dense=DENSE))).difference is None


def test_diverged_runs_are_left_out_of_means_and_pairs():
    found = row("bdwp", summarise(results(bdwp=[None, 96.0, 95.0], dense=[97.0, None, 96.5])))
    assert found.values == (None, 96.0, 95.0)
    assert found.mean == pytest.approx(95.5)
    assert (found.difference, found.half_width) == (pytest.approx(-1.5), None)


def test_all_diverged():
    found = row("bdwp", summarise(results(bdwp=[None, None], dense=[97.0, 96.0])))
    assert (found.mean, found.deviation, found.difference, found.half_width) == (None,) * 4


def test_order_of_first_appearance_and_nothing_at_all():
    names = [found.method for found in summarise(results(sdwp=[1.0], dense=[1.0], bdwp=[1.0]))]
    assert names == ["sdwp", "dense", "bdwp"]
    assert summarise([]) == []


def test_several_methods_share_a_pooled_bonferroni_interval():
    """Against the formula written out with SciPy: k methods, n seeds, k (n - 1) degrees of freedom."""
    sdwp = [96.9, 96.3, 97.5, 97.0, 96.6]
    rows = summarise(results(bdwp=BDWP, sdwp=sdwp, dense=DENSE))
    differences = np.array([np.subtract(BDWP, DENSE), np.subtract(sdwp, DENSE)])
    pooled = np.sqrt(differences.var(axis=1, ddof=1).mean())
    expected = stats.t.ppf(1 - 0.05 / 2 / 2, 2 * 4) * pooled / np.sqrt(5)
    assert row("bdwp", rows).half_width == pytest.approx(expected)
    assert row("sdwp", rows).half_width == pytest.approx(expected)
