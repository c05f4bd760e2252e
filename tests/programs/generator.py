"""Legal random programs in which several units work at the same time."""

from collections.abc import Callable
from random import Random

from hwsim.accesses import Store, half_words
from hwsim.config import AcceleratorConfig
from hwsim.program import Program

from .configs import random_config
from .contents import SCRATCHPADS, Block
from .image import Image, random_image
from .placement import loadable_words
from .products import matmul
from .transfers import fill, load, provide_indices, store
from .vectors import prune, update, vector
from .writer import Writer

_OPERATIONS: dict[Callable[[Writer], list[Block]], int] = {
    matmul: 5,
    prune: 2,
    update: 2,
    vector: 3,
}
"""How often each is drawn."""


def program_from_seed(seed: int) -> tuple[AcceleratorConfig, Program]:
    """The random configuration and the legal program of a seed."""
    rng = Random(f"program {seed}")
    config = random_config(rng)
    return config, random_program(rng, config, f"seed {seed}")


def image_from_seed(seed: int) -> Image:
    """The DRAM image that goes with `program_from_seed`; any random image does."""
    return random_image(Random(f"image {seed}"))


def random_program(rng: Random, config: AcceleratorConfig, name: str = "random") -> Program:
    """Operations on operands that are loaded when they are needed; their results are stored later.

    It reads nothing that it has not written, and runs on every image of `random_image`.
    """
    writer = Writer(rng, config)
    results: list[Block] = []
    for _ in range(rng.choice((1, 2, rng.randint(3, 9), rng.randint(10, 16)))):
        (operation,) = rng.choices(list(_OPERATIONS), list(_OPERATIONS.values()))
        results += operation(writer)
        while results and rng.random() < 0.4:
            store(writer, results.pop(rng.randrange(len(results))))
        if rng.random() < 0.2:
            stray(writer)
    for block in results:
        store(writer, block)
    dump(writer)
    return writer.program(name)


def stray(writer: Writer) -> None:
    """A LOAD or FILL that nothing asked for."""
    where = writer.rng.choice(SCRATCHPADS)
    size = half_words(where, writer.config)
    words = writer.rng.randint(1, min(loadable_words(writer, where), 40))
    start = writer.next_half(where) * size + writer.rng.randint(0, size - words)
    block = Block(where, start, 1, words, words)
    if where is Store.IDX:
        provide_indices(writer, block, 16)
    elif writer.rng.random() < 0.5:
        fill(writer, block)
    else:
        load(writer, block)


def dump(writer: Writer) -> None:
    """STORE some of what the scratchpads hold at the end."""
    for where in SCRATCHPADS:
        for half in (0, 1):
            for start, stop in writer.contents.runs(where, half)[:2]:
                words = min(stop - start, 64)
                first = writer.rng.randint(start, stop - words)
                store(writer, Block(where, first, 1, words, words))
