"""The law: timing and engine give the same cycles, for every instruction of every legal program.

A failure names its seed; `check(seed)` repeats it. What the seeds contain is asserted beside their
generator, in tests/unit/test_random_programs.py.
"""

import pytest

from hwsim import engine
from hwsim.isa import Op
from hwsim.timing import timeline
from tests.programs import program_from_seed

COUNT = 1_000
NIGHTLY_COUNT = 10_000
STEP = 100


def check(seed):
    config, program = program_from_seed(seed)
    times = timeline(program, config)
    trace = engine.run(program, config)
    for record in trace.instructions:
        index, where = record.index, f"seed {seed}, instruction {record.index}: {record}"
        if record.op is Op.HALT:
            assert times.halts[record.unit] == record.issue, where
            continue
        assert times.issue[index] == record.issue, where
        assert times.free[index] == record.free, where
        assert times.completion[index] == record.completion, where
    assert times.cycles == trace.cycles, f"seed {seed}"
    assert times.bytes == trace.dram_bytes_read + trace.dram_bytes_written, f"seed {seed}"
    assert times.bursts == len(trace.bursts), f"seed {seed}"
    assert times.busy_cycles == trace.channel_busy_cycles, f"seed {seed}"


@pytest.mark.parametrize("start", range(0, COUNT, STEP))
def test_timing_is_the_engine(start):
    for seed in range(start, start + STEP):
        check(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(COUNT, NIGHTLY_COUNT, STEP))
def test_timing_is_the_engine_on_more_programs(start):
    for seed in range(start, start + STEP):
        check(seed)
