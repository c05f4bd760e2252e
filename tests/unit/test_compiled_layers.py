"""Every kind of layer, compiled and executed: the bits of the canonical order, however it is cut."""

from dataclasses import replace

import numpy as np
import pytest

from cosparse.spec import NM, VNM, Block, Phase
from hwsim import AcceleratorConfig
from hwsim.compile.emit import emit
from hwsim.legality import require_legal
from tests.conformance.compiled import check_bits, check_time, cuts
from tests.conformance.layers import (
    Case,
    batched,
    conv,
    flat,
    linear,
    pruned_conv,
    pruned_linear,
)

FF, BP, WU = Phase.FF, Phase.BP, Phase.WU
CUTS = 2
"""Cuts that a test of one layer runs; nightly it runs all."""

IMAGE = {"images": 2, "hw": (7, 6), "padding": (1, 1)}


def of_phase(phase, build_case, *args, **sizes):
    return lambda rng: build_case(rng, phase, *args, **sizes)


def pruned(build_case, *args, **sizes):
    return lambda rng: build_case(rng, *args, **sizes)


LINEAR = {
    "dense FF": of_phase(FF, linear, 20, 33, 20),
    "dense BP": of_phase(BP, linear, 20, 33, 20),
    "WU": of_phase(WU, linear, 20, 33, 20),
    "one channel": of_phase(FF, linear, 9, 1, 1),
    "one channel WU": of_phase(WU, linear, 9, 1, 1),
    "2:4 FF": of_phase(FF, linear, 20, 33, 20, NM(2, 4)),
    "2:4 BP": of_phase(BP, linear, 20, 33, 20, NM(2, 4)),
    "2:8 FF": of_phase(FF, linear, 20, 33, 20, NM(2, 8)),
    "1:8 BP": of_phase(BP, linear, 20, 33, 20, NM(1, 8)),
    "16:2:8": of_phase(FF, linear, 20, 33, 70, VNM(16, 2, 8)),
    "48:2:8": of_phase(FF, linear, 20, 33, 70, VNM(48, 2, 8)),
    "block 16x16": of_phase(FF, linear, 20, 33, 70, Block(16, 16, 0.4)),
    "block 8x8 BP": of_phase(BP, linear, 20, 33, 70, Block(8, 8, 0.4)),
    "block 8x1": of_phase(FF, linear, 20, 33, 24, Block(8, 1, 0.3)),
    "block 16x12": of_phase(FF, linear, 20, 40, 40, Block(16, 12, 0.4)),
    "block as high as the layer": of_phase(FF, linear, 20, 33, 4, Block(4, 1, 0.3)),
    "block-diagonal FF": of_phase(FF, linear, 9, 16, 24, groups=3),
    "block-diagonal BP": of_phase(BP, linear, 9, 20, 4, groups=4),
    "block-diagonal WU": of_phase(WU, linear, 9, 20, 5, groups=3),
    "groups of 12 FF": of_phase(FF, linear, 9, 12, 20, groups=3),
    "groups of 20 BP": of_phase(BP, linear, 9, 12, 20, groups=5),
    "2:8, block-diagonal": of_phase(FF, linear, 9, 16, 24, NM(2, 8), groups=3),
    "low rank, first": of_phase(FF, linear, 20, 40, 3),
    "low rank, second": of_phase(FF, linear, 20, 3, 40),
    "batched FF": of_phase(FF, batched, 3, 10, 12, 14),
    "batched BP": of_phase(BP, batched, 2, 17, 5, 33),
    "batched WU": of_phase(WU, batched, 3, 10, 12, 14),
    "SDGP": pruned(pruned_linear, 20, 33, 24, NM(2, 8)),
}

CONV = {
    "conv FF": of_phase(FF, conv, **IMAGE, inputs=20, outputs=9),
    "conv BP": of_phase(BP, conv, **IMAGE, inputs=20, outputs=9),
    "conv WU": of_phase(WU, conv, **IMAGE, inputs=20, outputs=9),
    "conv 2:8": of_phase(FF, conv, **IMAGE, inputs=20, outputs=9, pattern=NM(2, 8)),
    "conv 2:8 BP": of_phase(
        BP, conv, **IMAGE, inputs=20, outputs=9, pattern=NM(2, 8), stride=(2, 2)
    ),
    "groups of 3 channels": of_phase(FF, conv, **IMAGE, inputs=3, outputs=5, groups=5),
    "groups of 3 channels BP": of_phase(
        BP, conv, **IMAGE, inputs=5, outputs=3, groups=5, stride=(2, 2)
    ),
    "groups of 3 channels BP, no tap": of_phase(
        BP, conv, 2, (5, 4), 5, 3, kernel=(1, 1), groups=5, stride=(2, 3)
    ),
    "stride 2, dilation": of_phase(
        FF, conv, 2, (9, 8), 5, 9, stride=(2, 2), dilation=(2, 1), padding=(2, 0)
    ),
    "stride 3x2 BP": of_phase(BP, conv, 2, (9, 8), 5, 9, stride=(3, 2), padding=(1, 1)),
    "stride and dilation BP": of_phase(
        BP, conv, 1, (9, 8), 5, 9, stride=(2, 2), dilation=(2, 2), padding=(1, 1)
    ),
    "phases without taps": of_phase(BP, conv, 2, (7, 6), 5, 9, kernel=(1, 1), stride=(2, 3)),
    "image smaller than the stride": of_phase(
        BP, conv, 2, (1, 2), 5, 9, kernel=(1, 1), stride=(3, 3)
    ),
    "stride 3x2 WU": of_phase(WU, conv, 2, (9, 8), 5, 9, stride=(3, 2), padding=(1, 1)),
    "pointwise, stride 2": of_phase(FF, conv, 2, (7, 6), 33, 9, kernel=(1, 1), stride=(2, 2)),
    "pointwise, stride 2 WU": of_phase(WU, conv, 2, (7, 6), 33, 9, kernel=(1, 1), stride=(2, 2)),
    "padding beyond the kernel": of_phase(FF, conv, 1, (3, 3), 3, 3, padding=(3, 3)),
    "conv block 16x8": of_phase(
        FF, conv, **IMAGE, inputs=20, outputs=40, pattern=Block(16, 8, 0.2)
    ),
    "conv block 16x16 BP": of_phase(
        BP, conv, **IMAGE, inputs=20, outputs=40, stride=(2, 2), pattern=Block(16, 16, 0.2)
    ),
    "grouped block BP": of_phase(
        BP, conv, **IMAGE, inputs=16, outputs=16, groups=2, pattern=Block(8, 8, 0.1)
    ),
    "grouped FF": of_phase(FF, conv, **IMAGE, inputs=8, outputs=16, groups=3),
    "grouped 2:4 BP": of_phase(BP, conv, **IMAGE, inputs=8, outputs=16, groups=2, pattern=NM(2, 4)),
    "4 channels a group": of_phase(FF, conv, **IMAGE, inputs=4, outputs=4, groups=3),
    "depthwise FF": of_phase(FF, conv, **IMAGE, inputs=1, outputs=1, groups=12),
    "depthwise BP": of_phase(BP, conv, **IMAGE, inputs=1, outputs=1, groups=12, stride=(2, 2)),
    "depthwise WU": of_phase(WU, conv, **IMAGE, inputs=1, outputs=1, groups=12),
    "depthwise x 2 FF": of_phase(FF, conv, **IMAGE, inputs=1, outputs=2, groups=12),
    "depthwise x 2 WU": of_phase(WU, conv, **IMAGE, inputs=1, outputs=2, groups=12),
    "depthwise x 8, 3 groups": of_phase(FF, conv, **IMAGE, inputs=1, outputs=8, groups=3),
    "stem FF": lambda rng: flat(conv(rng, FF, **IMAGE, inputs=3, outputs=9)),
    "stem WU": lambda rng: flat(conv(rng, WU, **IMAGE, inputs=3, outputs=9)),
    "SDGP conv": pruned(pruned_conv, **IMAGE, inputs=5, outputs=16, pattern=NM(2, 8)),
    "SDGP conv, stride 2": pruned(
        pruned_conv, **IMAGE, inputs=5, outputs=20, pattern=NM(2, 4), stride=(2, 2)
    ),
}

LAYERS = LINEAR | CONV

LARGE_GROUP = {
    "2:16": of_phase(FF, linear, 20, 33, 20, NM(2, 16)),
    "2:16 conv BP": of_phase(BP, conv, **IMAGE, inputs=20, outputs=33, pattern=NM(2, 16)),
    "depthwise x 2 BP": of_phase(BP, conv, **IMAGE, inputs=1, outputs=2, groups=12),
}
"""Layers whose group of 16 channels does not fit sat-4x4."""

CASES = [(preset, name) for preset in ("sat-4x4", "sat-8x8") for name in LAYERS]
CASES += [("sat-8x8", name) for name in LARGE_GROUP]


def made(name: str) -> Case:
    return (LAYERS | LARGE_GROUP)[name](np.random.default_rng(0))


@pytest.mark.parametrize(("preset", "name"), CASES)
def test_bits_of_the_canonical_order(preset, name):
    config, case = AcceleratorConfig.preset(preset), made(name)
    expected = case.bits()
    assert case.within_bound(expected)
    for cut in cuts(case, config, CUTS):
        check_bits(case, cut, config, expected)


SMALL = {
    "2:4": of_phase(FF, linear, 9, 24, 40, NM(2, 4)),
    "conv": of_phase(BP, conv, 1, (3, 4), 12, 17, kernel=(2, 2), padding=(1, 0)),
    "WU": of_phase(WU, conv, 2, (3, 4), 12, 33, kernel=(2, 2), padding=(1, 0)),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_tiling_flow_and_order_gives_the_same_bits(name):
    config, case = AcceleratorConfig.preset("sat-4x4"), SMALL[name](np.random.default_rng(0))
    expected, every = case.bits(), cuts(case, config)
    assert len(every) >= 20
    for cut in every:
        check_bits(case, cut, config, expected)


@pytest.mark.parametrize("pattern", [Block(16, 16, 0.3), Block(8, 12, 0.5)])
def test_the_mean_block_row_of_a_pattern_is_a_legal_program(pattern):
    config = AcceleratorConfig.preset("sat-8x8")
    case = replace(linear(np.random.default_rng(0), FF, 20, 75, 40, pattern), right=None)
    for cut in cuts(case, config, CUTS):
        require_legal(emit(cut.nests, config), config)
        check_time(cut, config)


@pytest.mark.nightly
@pytest.mark.parametrize(("preset", "name"), CASES)
def test_every_tiling_of_every_layer(preset, name):
    config, case = AcceleratorConfig.preset(preset), made(name)
    expected = case.bits()
    for cut in cuts(case, config):
        check_bits(case, cut, config, expected)
        check_time(cut, config)
