"""Steps on many configurations at once are what `price` says of each alone."""

from random import Random

import numpy as np
import pytest

from cosparse.spec import ConfigError, UnsupportedError
from hwsim import AcceleratorConfig, EnergyTable, EventCounts, estimate, price
from hwsim.compile.step import COLUMN, TOTALS
from hwsim.config_vector import config_vector
from hwsim.energy import EVENTS, estimate_many
from hwsim.step import GROUP_ORDER, StepPricer, groups_of, totals_of
from tests.timing.random_steps import PATTERNS, random_step

COUNT, NIGHTLY_COUNT, STEP = 12, 600, 50
OPTIONS = (
    {},
    {"dataflows": ("OS",)},
    {"dataflows": ("WS",), "fallback": "OS"},
    {"pregenerate": False},
)
AXES = {
    "rows": (4, 8),
    "cols": (4, 8),
    "add_latency": (1, 3),
    "interleave": (1, 4, 8),
    "activation_kib": (4, 8, 64),
    "weight_kib": (8, 16, 64),
    "accumulator_kib": (2, 8, 64),
    "dram_bytes_per_cycle": (3, 16),
    "clock_mhz": (100, 200),
}


def random_configs(rng, count):
    """Legal ones that have most of their fields in common with others."""
    axes = {name: rng.sample(values, min(2, len(values))) for name, values in AXES.items()}
    axes |= {name: rng.sample(axes[name], 1) for name in rng.sample(("rows", "cols"), 1)}
    found = []
    while len(found) < count:
        fields = {name: rng.choice(values) for name, values in axes.items()}
        try:
            one = AcceleratorConfig.preset("sat-8x8", sore_lanes=4, wuve_lanes=4, **fields)
        except ConfigError:
            continue
        found.append(one)
    return found


def check(seed):
    """How many of the configurations run the step, and how many do not."""
    rng = Random(seed)
    step, options = random_step(rng, rng.choice(PATTERNS)), rng.choice(OPTIONS)
    configs = random_configs(rng, 24)
    totals = StepPricer(step, **options).totals(np.stack([*map(config_vector, configs)]))
    for row, config in enumerate(configs):
        try:
            alone = totals_of(price(step, config, **options))
        except UnsupportedError:
            assert row in totals.refused, (seed, config)
            assert not totals.table[row].any()
            continue
        assert row not in totals.refused, (seed, config, totals.refused[row])
        assert dict(zip(TOTALS, totals.table[row], strict=True)) == dict(
            zip(TOTALS, alone, strict=True)
        ), (seed, config)
    return len(configs) - len(totals.refused), len(totals.refused)


def test_totals_are_those_of_each_alone():
    ran, refused = np.sum([check(seed) for seed in range(COUNT)], axis=0)
    assert ran > 100 and refused > 10


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(COUNT, NIGHTLY_COUNT, STEP))
def test_totals_are_those_of_each_alone_on_more(start):
    for seed in range(start, start + STEP):
        check(seed)


def test_groups_share_what_products_depend_on():
    configs = np.stack([*map(config_vector, random_configs(Random(3), 40))])
    groups = list(groups_of(configs))
    assert sorted(np.concatenate(groups)) == list(range(40))
    shared = [configs[rows][:, GROUP_ORDER] for rows in groups]
    assert all((rows == rows[0]).all() for rows in shared)
    assert len({tuple(rows[0]) for rows in shared}) == len(groups) < 40


def test_no_configurations_no_totals():
    step = random_step(Random(1), PATTERNS[0])
    nothing = np.zeros((0, len(config_vector(AcceleratorConfig.preset("sat-4x4")))), np.int64)
    assert StepPricer(step).totals(nothing).table.shape == (0, len(TOTALS))


def test_energy_of_many_is_that_of_each():
    rng = np.random.default_rng(0)
    events = rng.integers(0, 2**50, (20, len(EVENTS)))
    cycles, clock = rng.integers(0, 2**45, 20), rng.integers(1, 2000, 20)
    table = EnergyTable.default()
    found = estimate_many(events, cycles, clock, table)
    for row in range(20):
        config = AcceleratorConfig.preset("sat-4x4", clock_mhz=int(clock[row]))
        counts = EventCounts(**dict(zip(EVENTS, events[row].tolist(), strict=True)))
        one = estimate(counts, int(cycles[row]), config, table)
        assert found[row].tolist() == [one.value_j, one.low_j, one.high_j]


def test_columns_are_named_once():
    assert len(COLUMN) == len(TOTALS)
