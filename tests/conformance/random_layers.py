"""Random layers on random accelerators, each cut at random. A seed gives everything."""

from collections.abc import Callable
from random import Random

import numpy as np

from cosparse.spec import NM, VNM, Block, Dense, PatternError, Phase, UnsupportedError
from hwsim import AcceleratorConfig, supports
from hwsim.isa import Flow
from tests.programs import random_config

from .compiled import BLOCK_BYTES, Cut, Tiling, cut
from .layers import Case, batched, conv, flat, linear, pruned_conv, pruned_linear

_INTERLEAVES = ((1, 1), (2, 1), (1, 2), (4, 1), (2, 2), (8, 1))
_PHASES = (Phase.FF, Phase.BP, Phase.WU)
_CHANNELS = (1, 2, 3, 4, 8, 8, 12, 16, 20, 24, 33, 40)
_PATTERNS = (
    *(Dense(), Dense(), NM(2, 4), NM(2, 8), NM(1, 8), NM(2, 16), NM(3, 4), VNM(4, 2, 8)),
    *(VNM(16, 2, 4), Block(8, 8, 0.4), Block(16, 16, 0.3), Block(16, 4, 0.3), Block(8, 12, 0.5)),
)


def random_layer(seed: int):
    """(case, Cut, configuration)."""
    rng = Random(seed)
    while True:
        config = _config(rng)
        try:
            case = rng.choice(_KINDS)(rng, np.random.default_rng(rng.getrandbits(32)))
            found = None if supports(case.gemm, config) else cut(case, config, _tiling(rng))
        except (PatternError, UnsupportedError):
            continue
        if found is not None:
            return case, found, config


def _config(rng: Random) -> AcceleratorConfig:
    """A preset with another memory, or any small array."""
    if rng.random() < 0.5:
        return random_config(rng)
    memory = {"dram_latency_cycles": rng.randint(1, 80), "outstanding": rng.randint(1, 12)}
    return AcceleratorConfig.preset(rng.choice(("sat-4x4", "sat-8x8")), **memory)


def _tiling(rng: Random) -> Tiling:
    return Tiling(
        rng.choice((0, 1)),
        rng.choice(_INTERLEAVES),
        rng.choice(BLOCK_BYTES[:4]),
        rng.choice((None, 0, 1)),
        rng.choice((1, 1, 1, 2, 3)),
    )


def _pattern(rng: Random, phase: Phase):
    return Dense() if phase is Phase.WU else rng.choice(_PATTERNS)


def _linear(rng: Random, values: np.random.Generator) -> Case:
    phase, groups = rng.choice(_PHASES), rng.choice((1, 1, 1, 2, 3))
    sizes = rng.randint(1, 60), rng.randint(1, 90 // groups), rng.randint(1, 90 // groups)
    return linear(values, phase, *sizes, _pattern(rng, phase), groups)


def _geometry(rng: Random) -> dict:
    """Any kernel, stride, padding and dilation, on images that are large enough."""
    kernel, dilation = (rng.randint(1, 3), rng.randint(1, 4)), _pair(rng, 1, 2)
    least = [(taps - 1) * step + 1 for taps, step in zip(kernel, dilation, strict=True)]
    return {
        "images": rng.randint(1, 3),
        "hw": tuple(size + rng.randint(0, 8) for size in least),
        "kernel": kernel,
        "stride": _pair(rng, 1, 3),
        "padding": _pair(rng, 0, 3),
        "dilation": dilation,
    }


def _pair(rng: Random, low: int, high: int) -> tuple[int, int]:
    return rng.randint(low, high), rng.randint(low, high)


def _conv(rng: Random, values: np.random.Generator) -> Case:
    phase, groups = rng.choice(_PHASES), rng.choice((1, 1, 1, 2, 3, 4, 6))
    channels = [size for size in _CHANNELS if groups == 1 or size <= 16]
    sizes = {"inputs": rng.choice(channels), "outputs": rng.choice(channels)}
    pattern = _pattern(rng, phase)
    return conv(values, phase, **_geometry(rng), **sizes, pattern=pattern, groups=groups)


def _depthwise(rng: Random, values: np.random.Generator) -> Case:
    sizes = {"inputs": 1, "outputs": rng.choice((1, 1, 2)), "groups": rng.choice((3, 8, 12, 20))}
    return conv(values, rng.choice(_PHASES), **_geometry(rng), **sizes)


def _stem(rng: Random, values: np.random.Generator) -> Case:
    phase = rng.choice((Phase.FF, Phase.WU))
    sizes = {"inputs": rng.choice((1, 3)), "outputs": rng.choice(_CHANNELS)}
    return flat(conv(values, phase, **_geometry(rng), **sizes))


def _batched(rng: Random, values: np.random.Generator) -> Case:
    sizes = (rng.randint(2, 4), rng.randint(1, 30), rng.randint(1, 30), rng.randint(1, 30))
    return batched(values, rng.choice(_PHASES), *sizes)


def _pruned(rng: Random, values: np.random.Generator) -> Case:
    pattern = rng.choice((NM(2, 4), NM(2, 8), NM(1, 8)))
    if rng.random() < 0.5:
        sizes = rng.randint(1, 60), rng.randint(1, 60), rng.randint(8, 60)
        return pruned_linear(values, *sizes, pattern)
    sizes = {"inputs": rng.choice(_CHANNELS), "outputs": rng.choice((8, 12, 20, 33))}
    return pruned_conv(values, pattern=pattern, **_geometry(rng), **sizes)


_KINDS: tuple[Callable[[Random, np.random.Generator], Case], ...] = (
    *(_linear, _linear, _conv, _conv, _conv, _conv),
    *(_depthwise, _stem, _batched, _pruned),
)


FEATURES: dict[str, Callable[[Case, np.void], bool]] = {
    "WS": lambda _, nest: nest["flow"] == Flow.WS,
    "rows outer": lambda _, nest: nest["order"] == 0,
    "columns outer": lambda _, nest: nest["order"] == 1,
    "Ir = 2": lambda _, nest: nest["ir"] == 2,
    "tap rows of K split": lambda case, nest: _sums(case) and _split(nest, "taps_y"),
    "tap columns of K split": lambda case, nest: _sums(case) and _split(nest, "taps_x"),
    "channels of K split": lambda case, nest: _sums(case) and _split(nest, "channels"),
    "columns split": lambda _, nest: _split(nest, "columns"),
    "token rows split": lambda _, nest: nest["out_h"] > nest["block_h"],
    "images split": lambda _, nest: _split(nest, "images"),
    "taps of a gradient split": lambda case, nest: not _sums(case) and _split(nest, "taps_x"),
    "several images a block": lambda _, nest: nest["block_images"] > 1,
    "several conv groups": lambda case, nest: case.gemm.groups > 1 and nest["groups"] > 1,
    "merged conv groups": lambda case, nest: case.gemm.groups > 1 and nest["columns"] > case.gemm.n,
    "no tap": lambda _, nest: nest["origin_y"] >= nest["in_h"],
    "negative step": lambda _, nest: nest["step_y"] < 0,
    "segment table": lambda _, nest: nest["segments"] > 0,
    "segment table of a convolution": lambda case, nest: (
        case.gemm.taps > 1 and nest["segments"] > 0
    ),
    "V:N:M": lambda case, _: isinstance(case.gemm.rhs.pattern, VNM),
    "packed convolution": lambda case, nest: case.gemm.taps > 1 and nest["packed"] > 0,
    "pruned gradient": lambda case, _: case.gemm.lhs.pattern != Dense(),
    "im2col": lambda case, _: case.flat,
    "batch": lambda case, _: case.gemm.batch > 1,
}
"""What the layers must come upon, by one of their cut nests."""


def features(case: Case, made: Cut) -> set[str]:
    """FEATURES of a layer."""
    return {name for name, has in FEATURES.items() if any(has(case, nest) for nest in made.nests)}


def _sums(case: Case) -> bool:
    """Whether channels and taps lie in K."""
    return case.gemm.phase is not Phase.WU


def _split(nest: np.void, axis: str) -> bool:
    return bool(nest[axis] > nest[f"block_{axis}"])
