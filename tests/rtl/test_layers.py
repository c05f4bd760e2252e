"""The law on what the compiler makes: layers under several tilings, and the passes beside them."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest

from cosparse.spec import NM, VNM, Block, Dense, Phase, UnsupportedError, products
from hwsim import supports, timing
from hwsim.compile.emit import emit
from hwsim.compile.images import build, result_span
from hwsim.compile.passes import (
    Pass,
    bias_gradient_pass,
    conv_gradient_pass,
    gradient_pass,
    prune_pass,
    transpose_pass,
    update_pass,
    vector_pass,
)
from hwsim.cosim.accelerator import Case, accelerator_design, run_programs
from hwsim.cosim.layers import UNWRITTEN, pass_case
from hwsim.isa import Flow
from tests.conformance.compiled import cuts
from tests.conformance.layers import batched, conv, flat, linear, pruned_conv, pruned_linear
from tests.rtl.law import Job, check_bits, check_law
from tests.rtl.test_accelerator import CONFIGS, NIGHTLY_CONFIGS

FF, BP, WU = Phase.FF, Phase.BP, Phase.WU

SMALL = {"images": 2, "hw": (5, 6), "inputs": 8, "outputs": 12, "padding": (1, 1)}
STRIDED = {**SMALL, "hw": (6, 7), "stride": (2, 2)}

PRODUCTS = {
    "dense FF": lambda rng: linear(rng, FF, 13, 20, 18),
    "dense BP": lambda rng: linear(rng, BP, 9, 24, 20),
    "fewer channels than a group": lambda rng: linear(rng, FF, 5, 3, 7),
    "dense WU": lambda rng: linear(rng, WU, 17, 12, 9),
    "a group that ends early": lambda rng: linear(rng, FF, 6, 10, 10, NM(2, 4)),
    "2:8 FF": lambda rng: linear(rng, FF, 11, 40, 20, NM(2, 8)),
    "3:8 FF": lambda rng: linear(rng, FF, 11, 40, 21, NM(3, 8)),
    "3:16 FF": lambda rng: linear(rng, FF, 7, 48, 21, NM(3, 16)),
    "2:4 BP": lambda rng: linear(rng, BP, 12, 16, 24, NM(2, 4)),
    "V:N:M": lambda rng: linear(rng, FF, 7, 32, 16, VNM(4, 2, 4)),
    "blocks FF": lambda rng: linear(rng, FF, 7, 32, 24, Block(8, 8, 0.4)),
    "blocks BP": lambda rng: linear(rng, BP, 7, 32, 24, Block(8, 8, 0.4)),
    "factor, dense to rank 6": lambda rng: linear(rng, FF, 10, 24, 6),
    "factor, 2:4 from rank 8": lambda rng: linear(rng, FF, 10, 8, 24, NM(2, 4)),
    "conv groups": lambda rng: linear(rng, FF, 8, 6, 10, groups=3),
    "conv FF": lambda rng: conv(rng, FF, **SMALL),
    "conv 2:8 FF": lambda rng: conv(rng, FF, **SMALL, pattern=NM(2, 8)),
    "conv 2:4 BP": lambda rng: conv(rng, BP, **SMALL, pattern=NM(2, 4)),
    "conv WU": lambda rng: conv(rng, WU, **SMALL),
    "stride 2 FF": lambda rng: conv(rng, FF, **STRIDED, pattern=NM(2, 4)),
    "stride 2 BP": lambda rng: conv(rng, BP, **STRIDED),
    "stride 2 WU": lambda rng: conv(rng, WU, **STRIDED),
    "conv of blocks": lambda rng: conv(rng, FF, **SMALL, pattern=Block(8, 4, 0.4)),
    "depthwise": lambda rng: conv(rng, FF, **{**SMALL, "inputs": 1, "outputs": 1}, groups=8),
    "im2col": lambda rng: flat(conv(rng, FF, **{**SMALL, "inputs": 1})),
    "batched": lambda rng: batched(rng, FF, 2, 7, 9, 10),
    "pruned gradient": lambda rng: pruned_linear(rng, 11, 16, 16, NM(2, 4)),
    "pruned gradient of a conv": lambda rng: pruned_conv(rng, pattern=NM(2, 4), **SMALL),
}


def passes(config) -> Iterator[Callable[[], Pass]]:
    geometry = products.conv_geometry(1, (3, 3), (2, 2), (1, 1), (0, 0), (1, 1))
    shape = (20, 16, 3, 3)
    yield lambda: update_pass((24, 20), 1, NM(2, 4), NM(2, 4), config)
    yield lambda: update_pass((24, 20), 1, Dense(), Dense(), config)
    yield lambda: update_pass(shape, 1, NM(1, 4), NM(2, 4), config)
    yield lambda: prune_pass(shape, 1, NM(2, 4), NM(1, 4), config)
    yield lambda: gradient_pass(11, 20, NM(2, 4), config)
    yield lambda: conv_gradient_pass(geometry, 12, NM(2, 4), config)
    yield lambda: transpose_pass(13, 20, config)
    yield lambda: bias_gradient_pass(19, 12, config)
    yield lambda: vector_pass(("bias", "relu"), 9, 20, config)
    yield lambda: vector_pass(("mask", "scale"), 9, 20, config)
    yield lambda: vector_pass(("add",), 9, 20, config, source="float32", result="float16")


def jobs(config, tilings: int) -> Iterator[tuple[Job, np.ndarray | None]]:
    """Job and the cut nests that it was emitted from; None for a pass. What does not fit is left out."""
    for number, (name, make) in enumerate(PRODUCTS.items()):
        case = make(np.random.default_rng(number))
        ways = [] if supports(case.gemm, config) else cuts(case, config, tilings)
        for index, made in enumerate(ways):
            image = build(case.gemm, made.whole, case.left, case.right, flat=case.flat).image.copy()
            span = result_span(case.gemm, made.whole, flat=case.flat)
            image[span.start : span.stop] = UNWRITTEN
            yield (config, emit(made.nests, config, f"{name}; tiling {index}"), image), made.nests
    for number, make in enumerate(passes(config)):
        with suppress(UnsupportedError):
            yield (config, *pass_case(make(), np.random.default_rng(number))), None


def check(name: str, tilings: int, least: tuple[int, int]) -> None:
    """least: products and passes that must fit."""
    config = (CONFIGS | NIGHTLY_CONFIGS)[name]
    found = list(jobs(config, tilings))
    fitting = {job[1].name.partition(";")[0] for job, made in found if made is not None}
    assert len(fitting) >= least[0]
    assert sum(made is None for _, made in found) >= least[1]
    nests = [nest for _, made in found if made is not None for nest in made]
    assert {int(nest["flow"]) for nest in nests} == {Flow.OS, Flow.WS}
    assert config.interleave == 1 or any(nest["ir"] == 2 for nest in nests)
    assert any(nest["channels"] > nest["block_channels"] for nest in nests), "no partial sums"
    check_law(accelerator_design(config), [job for job, _ in found])


def test_compiled_layers_and_passes():
    check("8x4", 2, (len(PRODUCTS), 11))


def check_short_queues(name: str, tilings: int, depth: int, latency: int) -> None:
    """A queue that does not cover the fetch latency costs time, and nothing else."""
    config = (CONFIGS | NIGHTLY_CONFIGS)[name]
    found = [job for job, _ in jobs(config, tilings)]
    design = accelerator_design(config, parameters={"QueueDepth": depth, "FetchLatency": latency})
    results = run_programs(design, [Case.of(program, config, image) for _, program, image in found])
    later = 0
    for job, result in zip(found, results, strict=True):
        check_bits(job, result)
        gained = result.cycles - timing.cycles(job[1], config)
        assert gained >= 0
        later += gained > 0
    assert later > len(found) // 2


def test_compiled_programs_come_to_their_end_with_a_queue_of_one_instruction():
    check_short_queues("2x2", 1, depth=1, latency=5)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "depth"), [("8x4", 1), ("4x8", 2), ("4x4", 4), ("8x8", 2)])
def test_compiled_programs_come_to_their_end_with_a_short_queue(name, depth):
    check_short_queues(name, 4, depth, latency=6)


@pytest.mark.nightly
def test_compiled_programs_have_their_times_with_the_shortest_queue_that_covers_the_latency():
    found = [job for job, _ in jobs(CONFIGS["4x4"], 4)]
    check_law(accelerator_design(CONFIGS["4x4"], parameters={"QueueDepth": 4}), found)


@pytest.mark.nightly
@pytest.mark.parametrize("name", [*CONFIGS, *NIGHTLY_CONFIGS])
def test_compiled_layers_and_passes_under_more_tilings(name):
    check(name, 8, (15, 6))
