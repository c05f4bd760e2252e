"""Counters of 48 bits: the host reads all of them, whatever they have come to."""

import pytest

from hwsim import engine
from hwsim.cosim.accelerator import Case, run_programs
from hwsim.cosim.law import expected_counters
from hwsim.host import Counter
from hwsim.isa import Unit
from tests.rtl.jumps import REGISTERS, jumped, jumps
from tests.rtl.transfer_programs import design, job


def check(seeds: range) -> None:
    jobs = [job("narrow", seed) for seed in seeds]
    cases = [Case.of(program, config, image) for config, program, image in jobs]
    results = run_programs(design("narrow", registers=REGISTERS), cases, module="jump_bench")
    for number, ((config, program, _), result) in enumerate(zip(jobs, results, strict=True)):
        trace, by = engine.run(program, config, trace=False), iter(jumps(number))
        assert result.cycles == jumped(trace.cycles, next(by)), program.name
        for unit in Unit:
            expected = expected_counters(trace, unit)
            wanted = {counter: jumped(expected[counter], next(by)) for counter in Counter}
            assert result.counters[unit] == wanted, (program.name, unit)


@pytest.mark.nightly
def test_counters_carry_through_all_their_bits():
    check(range(60))
