"""The law for passes: their cycles are those of timing and engine on the emitted, legal program."""

import time
from random import Random

import pytest

from cosparse.spec import NM, ConvGeometry, Dense, UnsupportedError
from hwsim import AcceleratorConfig, engine
from hwsim.compile.cuts import Matrices, tiles
from hwsim.compile.passes import (
    bias_gradient_pass,
    conv_gradient_pass,
    emit_pass,
    gradient_pass,
    prune_pass,
    transpose_pass,
    update_pass,
    vector_pass,
)
from hwsim.compile.sections import cost, sections_program
from hwsim.compile.vectors import Elementwise, Tensor
from hwsim.isa import Space
from hwsim.legality import require_legal
from hwsim.timing import timeline
from tests.programs import random_config

COUNT = 60
NIGHTLY_COUNT = 2_000
STEP = 100
MOST_INSTRUCTIONS = 1_500


def random_pattern(rng, config):
    choices = [None, Dense(), NM(1, 4), NM(2, 4), NM(2, 8), NM(1, 8), NM(2, 16)]
    fitting = [
        item
        for item in choices
        if not isinstance(item, NM) or (config.group_max % item.m == 0 and item.n <= config.n_max)
    ]
    return rng.choice(fitting)


def random_weight(rng):
    groups = rng.choice((1, 1, 1, 2, 3))
    taps = rng.choice(((), (1, 1), (3, 3), (2, 1)))
    return (groups * rng.randint(1, 60), rng.randint(1, 60), *taps), groups


def random_weight_pass(rng, config):
    (shape, groups), ff, bp = random_weight(rng), *(random_pattern(rng, config) for _ in "ab")
    make = update_pass if rng.random() < 0.7 or (ff is None and bp is None) else prune_pass
    return make(shape, groups, ff, bp, config)


def random_conv_gradient(rng, config):
    kernel, dilation, in_hw = ((rng.randint(1, most), rng.randint(1, most)) for most in (3, 2, 16))
    padding = tuple(
        rng.randint(0, (taps - 1) * step) for taps, step in zip(kernel, dilation, strict=True)
    )
    conv = ConvGeometry(rng.randint(1, 5), in_hw, in_hw, kernel, (1, 1), padding, dilation)
    return conv_gradient_pass(conv, rng.randint(1, 50), NM(2, 4), config)


def random_activation_pass(rng, config):
    tokens, channels = rng.randint(1, 150), rng.randint(1, 100)
    kinds = rng.choices(("copy", "relu", "bias", "add", "mask", "scale"), k=rng.randint(1, 3))
    dtypes = {name: rng.choice(("float16", "float32")) for name in ("source", "result")}
    return rng.choice(
        (
            lambda: vector_pass(kinds, tokens, channels, config, **dtypes),
            lambda: bias_gradient_pass(tokens, channels, config),
            lambda: gradient_pass(tokens, channels, NM(2, 4), config),
            lambda: random_conv_gradient(rng, config),
            lambda: transpose_pass(tokens, channels, config),
        )
    )()


def check(seed):
    """Whether the seed gave a pass that its accelerator can run and that is short enough."""
    rng = Random(seed)
    config = random_config(rng)
    make = rng.choice((random_weight_pass, random_activation_pass))
    try:
        pass_ = make(rng, config)
    except UnsupportedError:
        return False
    if pass_.counters["instructions"] > MOST_INSTRUCTIONS:
        return False
    program = emit_pass(pass_)
    require_legal(program, config, pass_.size_bytes)
    times = timeline(program, config)
    where = f"seed {seed}: {pass_.name} on {config}"
    assert pass_.cycles == times.cycles, where
    assert pass_.cycles == engine.run(program, config, trace=False).cycles, where
    assert pass_.counters["bytes_read"] + pass_.counters["bytes_written"] == times.bytes, where
    assert pass_.counters["instructions"] == len(program) - 1, where
    return True


def test_cycles_are_those_of_timing_and_engine():
    assert sum(check(seed) for seed in range(COUNT)) > COUNT / 2


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(COUNT, NIGHTLY_COUNT, STEP))
def test_cycles_are_those_of_timing_and_engine_on_more_passes(start):
    assert sum(check(seed) for seed in range(start, start + STEP)) > STEP / 2


def relu(values, config):
    """ReLU of one row of values."""
    tensor = Tensor(0, Space.ACC16, values)
    return Elementwise(Matrices(1, 1, values), ("relu",), tensor, (None,), tensor, config)


@pytest.mark.parametrize("seed", range(12))
def test_every_tiling_is_exact_where_it_repeats(seed):
    """Hundreds of tiles, of which most are skipped."""
    rng = Random(seed)
    config = random_config(rng)
    job = relu(8 * rng.randint(4_000, 20_000), config)
    half = config.accumulator_half_words
    fitting = [tile for tile in tiles(job.matrices, *job.units) if job.words(tile).acc <= half]
    for tile in rng.sample(fitting, min(2, len(fitting))):
        sections = list(job.sections(tile))
        program = sections_program(sections, config, "relu")
        assert cost(sections, config).cycles == timeline(program, config).cycles, (seed, tile)


def seconds(pass_):
    """Least of some runs."""
    found = []
    for _ in range(5):
        start = time.perf_counter()
        cost(pass_.sections, pass_.config)
        found.append(time.perf_counter() - start)
    return min(found)


def test_time_does_not_depend_on_the_length():
    config = AcceleratorConfig.preset("sat-8x8")
    short, long = (vector_pass(("bias", "relu"), tokens, 64, config) for tokens in (2**14, 2**24))
    assert 900 < long.cycles / short.cycles < 1024
    assert seconds(long) < 5 * seconds(short)


def test_a_long_pass_costs_whole_periods():
    """Between two lengths the cycles grow by the same amount for the same number of tiles."""
    config = AcceleratorConfig.preset("sat-8x8")
    cycles = [
        vector_pass(("add",), tokens, 64, config).cycles for tokens in (2**16, 2**17, 3 * 2**16)
    ]
    assert cycles[1] - cycles[0] == cycles[2] - cycles[1]
