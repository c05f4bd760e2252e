"""Programs of so many transfers that the counters and queues of the deepest DMA wrap around."""

from random import Random

from hwsim.cosim.law import Job
from tests.programs import random_image
from tests.programs.generator import dump, stray
from tests.programs.writer import Writer
from tests.rtl import transfer_programs

ROUNDS = 600


def many_transfers(name: str, seed: int) -> Job:
    """LOADs, FILLs and short STOREs in turn."""
    rng = Random(f"many {name} {seed}")
    config = transfer_programs.NIGHTLY_CONFIGS[name]
    writer = Writer(rng, config)
    for _ in range(ROUNDS):
        stray(writer)
        transfer_programs._store_some(writer)
    dump(writer)
    return config, writer.program(f"many transfers, {name}, seed {seed}"), random_image(rng)
