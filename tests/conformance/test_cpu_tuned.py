"""The table of tiles: what is measured, saved, found again, and refused."""

import pytest

from cosparse.spec import UnsupportedError
from kernels.cpu import isa, tune, tuned
from kernels.cpu.tiled import TileShape


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPARSE_KERNEL_CACHE", str(tmp_path))
    return tmp_path


def last_is_fastest(_weight, shapes, _x, _isa):
    return [float(len(shapes) - i) for i in range(len(shapes))]


@pytest.mark.parametrize("unit", [isa.AVX512, isa.AVX2], ids=lambda unit: unit.name)
def test_the_fastest_of_every_class_is_saved_and_used(unit, directory):
    table = tune.tune(unit, last_is_fastest, size=64)
    assert len(table) == len(tuned.SHARES) * len(tune.GROUPS)
    tuned.save_table(tuned.table_path(), table)
    assert [path.suffix for path in directory.iterdir()] == [".json"]
    for share in tuned.SHARES:
        for n, m in tune.GROUPS:
            fastest = tuned.candidates(share, unit)[-1]
            assert tuned.tile_shape(share, n / m, unit) == fastest
            assert share % fastest.rows == 0 or not fastest.shared


def test_without_a_table_every_machine_chooses_alike():
    assert tuned.tile_shape(1, 0.5, isa.AVX512) == TileShape(4, False, 128, 4)
    assert tuned.tile_shape(24, 0.5, isa.AVX512) == TileShape(4, True, 256, 2)
    for share in (1, 2, 3, 4, 6, 8, 16, 24, 32, 64, 100):
        for unit in (isa.AVX512, isa.AVX2):
            assert tuned.default_shape(share) in tuned.candidates(share, unit)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"rows": 4}}', '{"a": {"row": 4}}'])
def test_a_damaged_table_counts_as_none(text):
    tuned.table_path().write_text(text)
    tuned.load_table.cache_clear()
    assert tuned.tile_shape(1, 0.5, isa.AVX512) == tuned.default_shape(1)


def test_a_shape_that_does_not_fit_the_weight_is_not_used():
    key = tuned.key_of(8, 0.25, isa.AVX512)
    wrong = TileShape(16, shared=True, k_tile=4096, unroll=1, across=True)
    tuned.save_table(tuned.table_path(), {key: wrong})
    assert tuned.tile_shape(8, 0.25, isa.AVX512) == tuned.default_shape(8)


def test_measurements_come_from_every_shape():
    unit = isa.available_isas()[0]
    if unit is isa.PORTABLE:
        with pytest.raises(UnsupportedError, match="needs AVX2 or AVX-512"):
            tune.tune(unit)
        return
    seen = []

    def measure(weight, shapes, x, unit):
        if len(seen) < 2:
            seen.extend(tune.measured_s(weight, shapes[:2], x, unit))
        return last_is_fastest(weight, shapes, x, unit)

    tune.tune(unit, measure, size=64)
    assert len(seen) == 2 and min(seen) > 0
