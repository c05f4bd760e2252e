"""The MATMULs of the layers that kernels and machine are tested on, as the array meets them in programs.

Shapes, patterns and convolutions are those of tests/conformance; FF and BP of each, in OS and in WS.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np

from cosparse.spec import Phase, UnsupportedError, parse_pattern
from hwsim import supports
from hwsim.banks import Banks
from hwsim.compile.emit import emit
from hwsim.compile.images import build
from hwsim.config import AcceleratorConfig
from hwsim.isa import Flow, Op, Unit
from hwsim.machine import Memory, run
from hwsim.program import Program
from tests.conformance.compiled import cuts
from tests.conformance.conformance import CONV_PATTERNS, CONVS, PATTERNS, SHAPES, TOKENS
from tests.conformance.layers import Case as Layer
from tests.conformance.layers import conv, linear
from tests.rtl.matmuls import Case, times

MOST_A_PROGRAM = 2
_TILINGS = 6


def layer_matmuls(config: AcceleratorConfig) -> Iterator[tuple[str, Case]]:
    """Name and case of MATMULs of every layer that the configuration and the compiler support."""
    for name, layer in layers():
        if supports(layer.gemm, config):
            continue
        with suppress(UnsupportedError):
            for flow, program, image in _programs(name, layer, config):
                for case in _matmuls(program, config, image):
                    yield f"{name}, {flow.name}", case


def layers() -> Iterator[tuple[str, Layer]]:
    """Patterns that the array has no format for are left out, and those that do not divide a layer."""
    for number, pattern in enumerate(("dense", *PATTERNS)):
        for outputs, inputs in SHAPES:
            for phase in (Phase.FF, Phase.BP):
                tokens = TOKENS[number % len(TOKENS)]
                sizes = (phase, tokens, inputs, outputs)
                yield from _made(f"{pattern} {sizes}", linear, sizes, {}, pattern)
    for name, case in CONVS.items():
        inner = case.inputs // case.groups
        sizes = (Phase.FF, case.batch, case.in_hw, inner, case.out // case.groups, case.kernel)
        for pattern in ("dense", *CONV_PATTERNS):
            options = {**case.geometry, "groups": case.groups}
            yield from _made(f"{pattern} {name}", conv, sizes, options, pattern)


def _made(name, make, sizes, options, pattern) -> Iterator[tuple[str, Layer]]:
    rng = np.random.default_rng(len(name))
    given = {} if pattern == "dense" else {"pattern": parse_pattern(pattern)}
    with suppress(UnsupportedError):
        yield name, make(rng, *sizes, **options, **given)


def _programs(name: str, layer: Layer, config: AcceleratorConfig) -> Iterator[tuple]:
    """The first tiling of each dataflow, and the image that the program finds."""
    flows = set()
    for made in cuts(layer, config, _TILINGS):
        flow = {int(nest["flow"]) for nest in made.nests}
        if len(flow) == 1 and not flow <= flows:
            flows |= flow
            image = build(layer.gemm, made.whole, layer.left, layer.right, flat=layer.flat).image
            yield Flow(*flow), emit(made.nests, config, name), image.copy()


def _matmuls(program: Program, config: AcceleratorConfig, image: np.ndarray) -> Iterator[Case]:
    """The first MATMULs of a program: scratchpads before and sums after, by the machine."""
    banks, count = Banks(Unit.STCE), 0
    listed = list(program)
    for index, instruction in enumerate(listed):
        if instruction.op is Op.CONFIG and instruction.unit is Unit.STCE:
            banks.write(instruction)
        if instruction.op is not Op.MATMUL:
            continue
        before, after = (
            run(Program.assemble(listed[:end]), config, Memory(image)) for end in (index, index + 1)
        )
        registers = banks.read(instruction.args["bank"])
        alone = replace(instruction, args={**instruction.args, "bank": 0}, wait=0, signal=0)
        expected = after.scratchpads.acc.bits
        yield Case(
            index, registers, alone, before.scratchpads, expected, *times(config, registers, alone)
        )
        count += 1
        if count == MOST_A_PROGRAM:
            return
