"""Chains of programs: legal, the same bytes as the parts one after the other, exact in time.

The parts' tensors lie on the same few pages in random order, so that nearly every pair conflicts.
"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from cosparse.spec import NM, Dense, Operand, Phase, UnsupportedError, products
from cosparse.spec.errors import ProgramError
from cosparse.spec.products import Side
from hwsim import AcceleratorConfig, engine, machine
from hwsim.compile import chain as chains
from hwsim.compile.chain import chain
from hwsim.compile.operation import PAGE_BYTES, pass_operation, product
from hwsim.compile.passes import bias_gradient_pass, prune_pass, update_pass, vector_pass
from hwsim.decoded import decode_program
from hwsim.isa import UNIT_OF, Instruction, Op, Unit
from hwsim.legality import check_program, require_legal
from hwsim.program import Program
from hwsim.timing import cycles

CONFIGS = (
    AcceleratorConfig.preset("sat-4x4", group_max=16, n_max=16),
    AcceleratorConfig.preset("sat-8x8"),
    AcceleratorConfig.preset("sat-8x8", activation_kib=4, weight_kib=8, accumulator_kib=4),
)
PATTERNS = (Dense(), NM(2, 16), NM(4, 16))
"""M = 16: every index that lies in memory is one."""
CHAINS, NIGHTLY_CHAINS, PARTS = 40, 1000, 5
STEP = 20


def gemm_of(rng, phase):
    forward = products.matrix_product("layer", "w", *(rng.randint(1, 48) for _ in range(3)))
    if phase is Phase.WU:
        return products.gradient(forward, Side.RHS, "w")
    gemm = forward if phase is Phase.FF else products.gradient(forward, Side.LHS, "w")
    pattern = rng.choice(PATTERNS)
    fits = isinstance(pattern, Dense) or gemm.k >= pattern.m
    return replace(gemm, rhs=Operand(gemm.rhs.tensor, pattern)) if fits else gemm


def random_operation(rng, config):
    tokens, channels = rng.randint(1, 60), rng.randint(1, 40)
    shape = (rng.randint(1, 40), rng.randint(1, 40))
    return rng.choice(
        (
            lambda: product(gemm_of(rng, Phase.FF), config),
            lambda: product(gemm_of(rng, Phase.BP), config),
            lambda: product(gemm_of(rng, Phase.WU), config),
            lambda: pass_operation(update_pass(shape, 1, NM(2, 8), NM(2, 16), config)),
            lambda: pass_operation(prune_pass(shape, 1, NM(2, 8), None, config)),
            lambda: pass_operation(vector_pass(("bias", "relu"), tokens, channels, config)),
            lambda: pass_operation(vector_pass(("mask",), tokens, channels, config)),
            lambda: pass_operation(bias_gradient_pass(tokens, channels, config)),
        )
    )()


def some_operation(rng, config):
    """One that the scratchpads hold."""
    while True:
        try:
            return random_operation(rng, config)
        except UnsupportedError:
            continue


def placed(rng, operation):
    """Its program, tensors in random order from one of the first pages."""
    page, addresses = rng.randint(0, 2), {}
    for role in rng.sample(sorted(operation.sizes), len(operation.sizes)):
        addresses[role] = page * PAGE_BYTES
        page += -(-operation.sizes[role] // PAGE_BYTES)
    return operation.program(addresses), page * PAGE_BYTES


def random_parts(seed):
    rng = Random(seed)
    config = rng.choice(CONFIGS)
    made = [placed(rng, some_operation(rng, config)) for _ in range(PARTS)]
    return [program for program, _ in made], max(end for _, end in made), config


def memory_of(seed, size):
    return machine.Memory(np.random.default_rng(seed).integers(0, 256, size, np.uint8))


@pytest.mark.parametrize("start", range(0, CHAINS, STEP))
def test_a_chain_is_its_parts_one_after_the_other(start):
    for seed in range(start, start + STEP):
        check_chain(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(CHAINS, NIGHTLY_CHAINS, STEP))
def test_more_chains_are_their_parts(start):
    for seed in range(start, start + STEP):
        check_chain(seed)


def check_chain(seed):
    parts, size, config = random_parts(seed)
    program = chain(parts)
    require_legal(program, config, size)
    memory, nonfinite = memory_of(seed, size), False
    after = machine.run(program, config, memory)
    for part in parts:
        step = machine.run(part, config, memory)
        memory, nonfinite = step.memory, nonfinite | step.nonfinite
    assert (after.memory.image == memory.image).all()
    assert after.nonfinite == nonfinite
    assert engine.run(program, config, trace=False).cycles == cycles(program, config)
    check_registers(program, parts)


def check_registers(program, parts):
    """Every instruction sees the registers that it sees in its part alone."""
    rows = decode_program(program).rows
    alone = [decode_program(part).rows for part in parts]
    for op in UNIT_OF:
        np.testing.assert_array_equal(rows[op], np.concatenate([part[op] for part in alone]))


def test_without_barriers_the_parts_race(monkeypatch):
    """The same tensors on the same pages: what the barriers are for."""
    monkeypatch.setattr(chains, "_closed", lambda body, _: body)
    found = 0
    for seed in range(4):
        parts, size, config = random_parts(seed)
        found += bool(check_program(chain(parts), config, size))
    assert found == 4


def muted(program):
    """The program without what tells the DMA that it is over."""
    kept = [item for item in program if item.op is not Op.STORE]
    own = [item if item.unit is Unit.DMA else replace(item, signal=0) for item in kept]
    return Program.assemble(own)


SILENT = {
    Unit.STCE: lambda config: product(gemm_of(Random(0), Phase.WU), config),
    Unit.SORE: lambda config: pass_operation(prune_pass((32, 32), 1, NM(2, 8), None, config)),
    Unit.WUVE: lambda config: pass_operation(vector_pass(("relu",), 4, 16, config)),
}


@pytest.mark.parametrize("unit", SILENT)
def test_a_barrier_waits_for_every_unit(unit, monkeypatch):
    config = CONFIGS[1]
    program, size = placed(Random(0), SILENT[unit](config))
    parts = [muted(program)] * 2
    require_legal(parts[0], config, size)
    require_legal(chain(parts), config, size)
    others = {key: value for key, value in chains.TO_DMA.items() if key is not unit}
    monkeypatch.setattr(chains, "TO_DMA", others)
    assert check_program(chain(parts), config, size)


def test_one_part_stays_as_it_is():
    config = CONFIGS[0]
    program = pass_operation(bias_gradient_pass(20, 24, config)).program(
        {"source": 0, "result": 2 * PAGE_BYTES, "sums_1": 3 * PAGE_BYTES, "sums_2": 4 * PAGE_BYTES}
    )
    assert (chain([program]).words == program.words).all()


def test_a_chain_is_not_a_part():
    parts, _, _ = random_parts(0)
    with pytest.raises(ProgramError, match="barriers write"):
        chain([chain(parts), parts[0]])
    waiting = Program.assemble(
        [
            Instruction(
                Op.CONFIG,
                {"unit": 0, "bank": 0, "register": 0, "value0": 0, "value1": 0},
                wait=1,
            )
        ]
    )
    with pytest.raises(ProgramError, match="without semaphores"):
        chain([waiting])
