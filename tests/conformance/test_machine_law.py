"""Machine and scalar interpreter leave the same bytes and the same flag, on random programs."""

import numpy as np
import pytest

from hwsim.machine import Memory, run
from tests.programs import image_from_seed, program_from_seed
from tests.programs.interpreter import interpret

COUNT = 250
NIGHTLY_COUNT = 5_000


def check(seed):
    config, program = program_from_seed(seed)
    image = image_from_seed(seed)
    result = run(program, config, Memory(image))
    expected = interpret(program, config, image.tobytes())
    different = np.flatnonzero(result.memory.image != np.frombuffer(expected.dram, np.uint8))
    assert not different.size, f"seed {seed}: DRAM differs first at 0x{different[0]:x}"
    assert result.nonfinite == expected.nonfinite, f"seed {seed}"


@pytest.mark.parametrize("start", range(0, COUNT, COUNT // 5))
def test_machine_gives_the_bits_of_the_interpreter(start):
    for seed in range(start, start + COUNT // 5):
        check(seed)


@pytest.mark.nightly
@pytest.mark.parametrize("start", range(COUNT, NIGHTLY_COUNT, 250))
def test_machine_gives_the_bits_of_the_interpreter_on_more_programs(start):
    for seed in range(start, start + 250):
        check(seed)
