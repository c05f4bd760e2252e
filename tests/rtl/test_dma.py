"""Front end, semaphores and DMA: programs of transfers; the other units are stand-ins.

A failure names its seed; the jobs of a seed are `job(name, seed)`.
"""

import pytest

from tests.rtl.law import check_law, check_under_stalls
from tests.rtl.transfer_programs import CONFIGS, NIGHTLY_CONFIGS, design, job

COUNT = 100
NIGHTLY_COUNT = 2_000


def jobs(name, seeds):
    return [job(name, seed) for seed in seeds]


@pytest.mark.parametrize("name", CONFIGS)
def test_transfers_have_the_bits_and_the_times_of_the_contract(name):
    check_law(design(name), jobs(name, range(COUNT)))


@pytest.mark.parametrize("name", CONFIGS)
def test_transfers_have_the_bits_under_random_back_pressure(name):
    check_under_stalls(design(name), jobs(name, range(COUNT // 2)), 100)
    check_under_stalls(design(name), jobs(name, range(COUNT // 2, 3 * COUNT // 4)), 230)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*CONFIGS, *NIGHTLY_CONFIGS])
def test_more_transfers(name):
    check_law(design(name), jobs(name, range(COUNT, NIGHTLY_COUNT)))
    check_under_stalls(design(name), jobs(name, range(COUNT, NIGHTLY_COUNT)), 160)


@pytest.mark.nightly
@pytest.mark.parametrize("depth", [1, 2])
def test_a_short_instruction_queue_only_costs_time(depth):
    short = design("narrow", QueueDepth=depth, FetchLatency=5)
    check_under_stalls(short, jobs("narrow", range(COUNT)), 50)


@pytest.mark.nightly
@pytest.mark.parametrize(("depth", "latency"), [(7, 5), (3, 1)])
def test_a_queue_that_covers_the_fetch_latency_keeps_the_pace(depth, latency):
    check_law(design("wide", QueueDepth=depth, FetchLatency=latency), jobs("wide", range(COUNT)))
