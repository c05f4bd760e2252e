"""Weights in register tiles and the compiled kernels that read them."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import kernels
from cosparse.spec import CorruptFileError, UnsupportedError, pack, parse_pattern
from kernels import cpu, reference
from kernels.cpu import convolution, isa, linear, objects, permute, products, tuned, workers
from kernels.cpu.tiled import TileShape, tile

from .conformance import KernelConformance, activations, summation_bound, weights

pytestmark = pytest.mark.skipif(
    isa.available_isas()[0] is isa.PORTABLE, reason="this processor has neither AVX2 nor AVX-512"
)
SHAPES = (
    TileShape(4, False, 128, 2),
    TileShape(2, False, 32, 4),
    TileShape(8, True, 4096, 1),
    TileShape(4, True, 64, 2),
    TileShape(16, True, 4096, 1, across=True),
)


def dense_of(tiled):
    """The weight of the tiles, every step by itself."""
    shape = tiled.shape
    dense = np.zeros((tiled.rows, tiled.k_tiles, shape.k_tile + 1), np.float32)
    values = tiled.values.reshape(-1, shape.rows)
    for k in range(tiled.k_tiles):
        for row_tile in range(tiled.row_tiles):
            for step in range(*tiled.pointers[k, row_tile : row_tile + 2]):
                rows = row_tile * shape.rows + np.arange(shape.rows)
                dense[rows, k, tiled.indices[step]] += values[step]
    assert not dense[:, :, shape.k_tile].any()
    return dense[:, :, : shape.k_tile].reshape(tiled.rows, -1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [(21, 70), (64, 300), (1, 1)], ids=str)
def test_tiles_hold_every_entry_once(shape, size):
    rows, columns = size
    share = 4 if shape.shared else 1
    runs = -(-rows // share)
    mask = np.random.default_rng(0).random((runs, columns)) < 0.3
    run, column = np.nonzero(mask)
    values = weights((len(run), share)).astype(np.float32)
    if shape.rows > 4 and shape.shared:  # runs of one tile have their columns in common
        mask = mask[:: shape.rows // share].repeat(shape.rows // share, axis=0)[:runs]
        run, column = np.nonzero(mask)
        values = weights((len(run), share)).astype(np.float32)
    pointers = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    tiled = tile(shape, pointers, column, values, columns)
    expected = np.zeros((runs, share, columns), np.float32)
    expected[run, :, column] = values
    got = dense_of(tiled)
    assert tiled.rows % 16 == 0 and (not tiled.values.size or tiled.values.ctypes.data % 64 == 0)
    np.testing.assert_array_equal(got[: runs * share, :columns], expected.reshape(-1, columns))
    assert not got[runs * share :].any() and not got[:, columns:].any()


@pytest.mark.parametrize("unit", [isa.AVX512, isa.AVX2, isa.PORTABLE], ids=lambda unit: unit.name)
class TestUnits(KernelConformance):
    """The cases of the products on every vector unit of this machine."""

    backend = kernels

    @pytest.fixture(autouse=True)
    def _unit(self, unit, monkeypatch):
        if unit not in isa.available_isas():
            pytest.skip(f"this processor has no {unit.name}")
        monkeypatch.setenv("COSPARSE_CPU_ISA", unit.name)

    # what does not depend on the vector unit, and what test_cpu.py runs on the best one
    test_conv2d_weight_gradient = test_every_stored_dtype = test_wrong_activations_are_refused = (
        None
    )
    test_the_other_phases_copy_is_refused = test_every_pattern = test_bitmap = None

    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize(
        "pattern", ["2:4", "1:16", "3:7", "4:2:4", "16:1:8", "32:2:4", "block 8x3 @ 0.2"]
    )
    def test_many_tokens(self, unit, pattern, threads):
        packed = pack(weights((70, 413)), parse_pattern(pattern), axis=1)
        x = activations((77, 2 * 413))[:, ::2]
        before = x.copy()
        expected = reference.matmul(packed, x)
        magnitudes = np.abs(x.astype(np.float64)) @ np.abs(packed.unpack().astype(np.float64)).T
        got = kernels.matmul(packed, x, threads=threads)
        assert (np.abs(got - expected) <= summation_bound(413, magnitudes, 2.0**-24)).all()
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("columns", [413, 4300])
@pytest.mark.parametrize("pattern", ["1:16", "32:1:16"])
@pytest.mark.parametrize("unit", [isa.AVX512, isa.AVX2], ids=lambda unit: unit.name)
def test_every_shape_of_tiles(pattern, columns, unit):
    if unit not in isa.available_isas():
        pytest.skip(f"this processor has no {unit.name}")
    packed = pack(weights((64, columns)), parse_pattern(pattern), axis=1)
    prepared = cpu.prepare(packed)
    x = activations((30, columns))
    magnitudes = np.abs(x.astype(np.float64)) @ np.abs(packed.unpack().astype(np.float64)).T
    expected = reference.matmul(packed, x)
    for shape in tuned.candidates(prepared.shared_rows, unit):
        tiled = tile(
            shape, prepared.tap_pointers, prepared.columns, prepared.values, prepared.panel_rows
        )
        for threads in (1, 2):
            got = linear.multiply(tiled, x, unit, threads)[:, : prepared.rows]
            bound = summation_bound(columns, magnitudes, 2.0**-24)
            assert (np.abs(got - expected) <= bound).all(), shape


@pytest.mark.parametrize("unit", [isa.AVX512, isa.AVX2], ids=lambda unit: unit.name)
@pytest.mark.parametrize("pattern", ["2:8", "8:2:8"])
def test_convolutions_past_the_caches_and_in_groups_are_the_same(pattern, unit, monkeypatch):
    """Whole lines of images of 16 x 16, panels across images of 12 x 12, k tiles, tables of few images."""
    if unit not in isa.available_isas():
        pytest.skip(f"this processor has no {unit.name}")
    monkeypatch.setenv("COSPARSE_CPU_ISA", unit.name)
    prepared = cpu.prepare(pack(weights((40, 48, 3, 3)), parse_pattern(pattern), axis=1))
    for size in (16, 12):
        x = activations((3, 48, size, size))
        expected = kernels.conv2d(prepared, x, padding=1)
        changes = {
            "_PAST_BYTES": 0,
            "_CACHED_WEIGHT_BYTES": 0,
            "_SUMS_BYTES": 40_000,
            "_PIXELS": 300,
        }
        for name, value in changes.items():
            monkeypatch.setattr(convolution, name, value)
            for threads in (1, 2):
                got = kernels.conv2d(prepared, x, padding=1, threads=threads)
                np.testing.assert_array_equal(got, expected)
        monkeypatch.undo()
        monkeypatch.setenv("COSPARSE_CPU_ISA", unit.name)


@pytest.mark.parametrize("unit", [isa.AVX512, isa.AVX2], ids=lambda unit: unit.name)
def test_what_passes_the_caches_is_the_same(unit, monkeypatch):
    if unit not in isa.available_isas():
        pytest.skip(f"this processor has no {unit.name}")
    prepared = cpu.prepare(pack(weights((80, 413)), parse_pattern("2:8"), axis=1))
    tiled, x = prepared.register_tiles(unit), activations((150, 413))
    expected = linear.multiply(tiled, x, unit, 1)
    monkeypatch.setattr(linear, "_CACHED_BYTES", 0)
    for threads in (1, 2):
        np.testing.assert_array_equal(linear.multiply(tiled, x, unit, threads), expected)


def test_a_cut_group_and_a_filled_tile_meet_no_infinity():
    packed = pack(weights((6, 21)), parse_pattern("2:8"), axis=1)
    mask = packed.mask()
    x = activations((16, 21))
    x[:, ~mask.any(axis=0)] = np.inf
    assert np.isfinite(kernels.matmul(packed, x)).all()


def test_panels_of_different_widths():
    assert linear.panel_widths(13, 4) == [4, 3, 3, 3]
    assert linear.panel_widths(8, 3) == [3, 3, 2]
    assert linear.panel_widths(1, 4) == [1]


def test_corrupt_indices_are_refused_before_a_kernel_runs():
    packed = pack(weights((16, 32)), parse_pattern("1:32"), axis=1)
    packed.indices[0, 0, 0, 0, 3] = 40
    with pytest.raises(CorruptFileError, match="ascending positions below 32"):
        cpu.prepare(packed)


def test_an_unknown_vector_unit_names_the_valid_ones(monkeypatch):
    monkeypatch.setenv("COSPARSE_CPU_ISA", "avx3")
    with pytest.raises(UnsupportedError, match=r"avx3.*valid: avx2, avx512, portable"):
        isa.current()


class TestObjects:
    ASSEMBLY = """define void @kernel(i64 %place, i64 %value) {
      %pointer = inttoptr i64 %place to ptr
      store i64 %value, ptr %pointer, align 8
      ret void
    }"""

    @pytest.fixture
    def directory(self, tmp_path, monkeypatch):
        monkeypatch.setenv("COSPARSE_KERNEL_CACHE", str(tmp_path))
        return tmp_path

    def call(self):
        place = np.zeros(1, np.int64)
        objects.load_kernel("store", self.ASSEMBLY, 2)(place.ctypes.data, 7)
        return place[0]

    def test_a_second_load_compiles_nothing(self, directory, monkeypatch):
        assert self.call() == 7
        assert len(list(directory.iterdir())) == 1
        monkeypatch.setattr(objects, "compile_assembly", None)
        assert self.call() == 7

    @pytest.mark.parametrize("damage", [lambda d: d[:-9], lambda d: d[:0], lambda d: d[::-1]])
    def test_a_damaged_object_is_compiled_again(self, directory, damage):
        self.call()
        (path,) = directory.iterdir()
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert self.call() == 7
        assert path.read_bytes() == whole

    def test_a_directory_that_cannot_be_made(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("COSPARSE_KERNEL_CACHE", str(tmp_path / "file" / "below"))
        assert self.call() == 7

    def test_threads_that_compile_the_same_kernel(self, directory):
        found = []
        threads = [threading.Thread(target=lambda: found.append(self.call())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [7] * 4 and len(list(directory.iterdir())) == 1

    def test_processes_at_once_and_a_warm_start(self, tmp_path):
        script = (
            "import numpy as np, kernels\n"
            "from cosparse.spec import NM, pack\n"
            "from kernels.cpu import objects\n"
            "compile_assembly, made = objects.compile_assembly, []\n"
            "objects.compile_assembly = lambda text: made.append(1) or compile_assembly(text)\n"
            "packed = pack(np.ones((16, 64)), NM(2, 8), axis=1)\n"
            "y = kernels.matmul(packed, np.ones((48, 64), np.float32))\n"
            "assert (y == 16).all()\n"
            "print(len(made))\n"
        )
        run = [sys.executable, "-c", script]
        root = str(Path(kernels.__file__).parents[1])
        environment = os.environ | {"COSPARSE_KERNEL_CACHE": str(tmp_path), "PYTHONPATH": root}
        options = {"env": environment, "stdout": subprocess.PIPE, "text": True}
        together = [subprocess.Popen(run, **options) for _ in range(2)]
        assert all(int(process.communicate()[0]) <= 1 for process in together)
        (kept,) = tmp_path.iterdir()
        stamp = kept.stat().st_mtime_ns
        again = subprocess.run(run, check=True, **options)
        assert int(again.stdout) == 0
        assert kept.stat().st_mtime_ns == stamp


class TestWorkers:
    def test_parts_cover_and_raise(self):
        assert workers.bounds(70, 2, 32) == [(0, 32), (32, 70)]
        assert workers.bounds(3, 8) == [(0, 1), (1, 2), (2, 3)]
        assert workers.bounds(0, 2) == []
        seen = []
        workers.run_parts(seen.append, [1, 2, 3])
        assert sorted(seen) == [1, 2, 3]
        with pytest.raises(ZeroDivisionError):
            workers.run_parts(lambda part: 1 // part, [0, 1])

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_process_has_threads_of_its_own(self):
        script = (
            "import os, numpy as np, kernels\n"
            "from cosparse.spec import NM, pack\n"
            "packed = pack(np.ones((64, 64)), NM(2, 8), axis=1)\n"
            "x = np.ones((48, 64), np.float32)\n"
            "run = lambda: kernels.matmul(packed, x, threads=2).sum()\n"
            "first = run(); child = os.fork()\n"
            "if child == 0: os._exit(0 if run() == first else 1)\n"
            "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        )
        root = str(Path(kernels.__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": root}
        subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)


needs_avx512 = pytest.mark.skipif(
    isa.AVX512 not in isa.available_isas(), reason="this processor has no AVX-512"
)


@needs_avx512
class TestPermute:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "float16"])
    @pytest.mark.parametrize("tokens", [1, 3, 8])
    def test_few_tokens_read_weights_as_stored(self, dtype, tokens, monkeypatch):
        calls = []
        multiply = products.multiply_permuted
        monkeypatch.setattr(
            products, "multiply_permuted", lambda *a: calls.append(a[0]) or multiply(*a)
        )
        for pattern in ("2:4", "2:8", "1:8", "1:16", "2:16", "4:8", "1:2", "3:4", "16:2:8"):
            packed = pack(weights((70, 173)), parse_pattern(pattern), axis=1, dtype=dtype)
            x = activations((tokens, 2 * 173))[:, ::2]
            expected = reference.matmul(packed, x)
            wide = np.abs(packed.unpack().astype(np.float64))
            for threads in (1, 2):
                got = kernels.matmul(packed, x, threads=threads)
                bound = summation_bound(175, np.abs(x.astype(np.float64)) @ wide.T, 2.0**-24)
                assert (np.abs(got - expected) <= bound).all(), pattern
        fits = [one for one in calls if one.stored == (dtype if dtype != "float16" else "float32")]
        assert len(calls) == len(fits) == 2 * 9

    def test_a_group_s_positions_fill_a_word(self):
        for n, m, entries, windows in ((2, 4, 8, 2), (2, 8, 4, 2), (1, 8, 2, 4), (1, 16, 1, 8)):
            grouping = permute.Grouping(n, m)
            assert (grouping.entries, grouping.windows, grouping.fits) == (entries, windows, True)
        assert not permute.Grouping(12, 16).fits
        assert not permute.Grouping(1, 32).fits
        assert not permute.Grouping(2, 5).fits

    def test_bytes_read_for_one_token(self):
        """Values and positions: .531, .281, .141 and .070 of a dense float32 weight."""
        for pattern, share in (
            ("2:4", 17 / 32),
            ("2:8", 9 / 32),
            ("1:8", 9 / 64),
            ("1:16", 9 / 128),
        ):
            packed = pack(weights((64, 256)), parse_pattern(pattern), axis=1, dtype="float32")
            weight = permute.permuted(packed)
            assert weight.values.nbytes + weight.words.nbytes == share * 4 * 64 * 256


@pytest.mark.parametrize("tokens", [1, 5, 40])
def test_a_copied_or_pickled_weight_gives_the_same(tokens):
    """A copy's arrays begin anywhere, not on the boundary of a vector: no load may need one."""
    weight = np.random.default_rng(0).standard_normal((96, 256)).astype(np.float32)
    prepared = cpu.prepare(pack(weight, parse_pattern("2:8"), axis=1, dtype="float32"))
    x = np.random.default_rng(1).standard_normal((tokens, 256)).astype(np.float32)
    expected = cpu.matmul(prepared, x)
    copies = [copy.deepcopy(prepared) for _ in range(4)] + [pickle.loads(pickle.dumps(prepared))]
    for one in copies:
        np.testing.assert_array_equal(cpu.matmul(one, x), expected)
