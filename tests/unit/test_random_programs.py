"""The generator: legal, repeatable, and rich in events."""

import numpy as np

from hwsim.legality import check_program
from tests.programs import IMAGE_BYTES, Coverage, image_from_seed, program_from_seed
from tests.programs.image import INDICES, TABLES


def test_programs_are_legal():
    for seed in range(150):
        config, program = program_from_seed(seed)
        assert check_program(program, config, IMAGE_BYTES) == [], seed


def test_a_seed_repeats_program_and_image():
    for seed in (0, 7):
        (config, program), (again, same) = program_from_seed(seed), program_from_seed(seed)
        assert config == again
        assert program.to_bytes() == same.to_bytes()
        assert np.array_equal(image_from_seed(seed), image_from_seed(seed))
    assert program_from_seed(0)[1].to_bytes() != program_from_seed(1)[1].to_bytes()


def test_a_thousand_seeds_hit_every_event():
    """Stops as soon as they have."""
    coverage = Coverage()
    for seed in range(1000):
        coverage.add(*program_from_seed(seed))
        if seed % 50 == 49 and not coverage.missing:
            return
    raise AssertionError(f"{coverage.missing}\n{coverage.table()}")


def test_indices_and_tables_of_an_image_keep_their_bounds():
    image = image_from_seed(3)
    assert len(image) == IMAGE_BYTES
    for m, area in INDICES.items():
        plane = image[area.start : area.stop]
        assert max(int((plane & 15).max()), int((plane >> 4).max())) == m - 1
    for alignment, area in TABLES.items():
        first = image[area.start : area.stop].view("<u4") & 0xFFFF
        assert set(first.tolist()) == {0, alignment, 2 * alignment, 3 * alignment}
