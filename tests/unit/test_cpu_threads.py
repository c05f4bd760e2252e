"""Threads of the CPU kernels: the caller's settings stay, shares are even, work grows in a straight line."""

import threading

import numba
import numpy as np
import pytest
import torch

import kernels
from cosparse.spec import pack, parse_pattern
from kernels import dense, factors
from kernels.cpu import int8, isa, linear, permute, workers
from kernels.cpu.support import Support

PATTERNS = ("2:8", "16:2:8", "block 16x16 @ 0.25", "unstructured @ 0.2")

needs_assembly = pytest.mark.skipif(
    isa.available_isas()[0] is isa.PORTABLE, reason="this processor has neither AVX2 nor AVX-512"
)


def packed_weight(pattern, shape=(96, 128), dtype="float32"):
    weight = np.random.default_rng(0).standard_normal(shape)
    return pack(weight, parse_pattern(pattern), axis=1, dtype=dtype)


def ones(tokens, columns=128):
    return np.ones((tokens, columns), np.float32)


def settings():
    blas = [library.get_num_threads() for library in dense._numpy_blas()]
    return torch.get_num_threads(), torch.get_num_interop_threads(), numba.get_num_threads(), blas


def own_threads():
    return sum(thread.name.startswith("cosparse-kernels") for thread in threading.enumerate())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_product_leaves_a_setting_changed(threads):
    support = Support(np.arange(0, 96 * 128, 7), (96, 128))
    values = np.ones(support.entries, np.float32)
    linear_weight, int8_weight = packed_weight("2:8"), packed_weight("4:2:8", dtype="int8")
    image_weight = pack(np.ones((16, 16, 3, 3)), parse_pattern("2:8"), axis=1)
    blocks = np.ones((2, 8, 8), np.float32)
    settings()  # asking Numba starts its threads, which sets OpenMP's number once
    found = settings()
    for tokens in (1, 5, 70):
        x = ones(tokens)
        kernels.matmul(linear_weight, x, threads=threads)
        kernels.matmul_int8(int8_weight, x, threads=threads)
        support.matmul(values, x, threads=threads)
        support.gradient(ones(tokens, 96), x, threads=threads)
        factors.block_diagonal(blocks, ones(tokens, 16), threads=threads)
        assert settings() == found
    kernels.conv2d(image_weight, np.ones((1, 16, 5, 5), np.float32), threads=threads)
    assert settings() == found


@needs_assembly
def test_a_product_starts_no_more_threads_than_it_was_given():
    before = own_threads()
    weight = packed_weight("2:8", (256, 128))
    for _ in range(5):
        kernels.matmul(weight, ones(300), threads=3)
    assert own_threads() - before <= 2  # the caller is the third


@needs_assembly
@pytest.mark.parametrize("tokens", [128, 512, 784])
@pytest.mark.parametrize("threads", [2, 4])
def test_threads_have_even_shares(tokens, threads):
    """Of tokens times rows; the widest panel and a unit of rows are the grain."""
    unit = isa.available_isas()[0]
    lanes, rows = unit.lanes, 3072
    units = -(-tokens // lanes)
    parts = linear.parts_of(units, 4, lanes, rows, threads)
    work = [sum(run.tokens * run.panels for run in p.runs) * (p.end - p.first) for p in parts]
    assert sum(work) == units * lanes * rows
    assert max(work) <= 1.15 * sum(work) / threads


def test_two_panels_are_shared_and_packed_once():
    """Not the rows, for which both threads would pack both panels."""
    first, second = linear.parts_of(8, 4, 16, 3072, 2)
    assert (first.first, first.end, second.first, second.end) == (0, 3072, 0, 3072)
    assert first.runs[0].tokens == second.runs[0].tokens == 64
    assert second.runs[0].first == 64


@needs_assembly
@pytest.mark.parametrize("pattern", ["1:16", "2:16", "4:16", "8:16", "16:2:8"])
def test_steps_are_the_nonzeros_and_nothing_else(pattern):
    """Cost in nonzeros: a kernel takes as many steps as N:M rows have entries, of whole k tiles."""
    packed = packed_weight(pattern, (64, 1024))
    tiled = kernels.prepare(packed).register_tiles(isa.current())
    steps = tiled.values.size // tiled.shape.rows
    assert steps * tiled.shape.rows == packed.mask().sum()
    assert tiled.pointers[-1, -1] == steps


@needs_assembly
def test_panels_are_the_tokens_and_nothing_else():
    """Cost in the batch: whole vectors of tokens, each in one panel."""
    lanes = isa.current().lanes
    for tokens in (32, 64, 128, 256, 512, 1024, 77):
        units = -(-tokens // lanes)
        (part,) = linear.parts_of(units, 4, lanes, 3072, 1)
        assert sum(run.tokens * run.panels for run in part.runs) == units * lanes < tokens + lanes


@needs_assembly
def test_int8_panels_are_few_more_than_the_tokens():
    wide, middle, narrow = int8.panel_shapes(isa.current())
    for tokens in range(1, 400):
        covered = sum(shape.tokens * count for shape, count in int8._runs(tokens, isa.current()))
        assert tokens <= covered
        if tokens <= narrow.tokens:
            assert covered == narrow.tokens
        elif tokens % wide.tokens <= wide.tokens // 2:
            assert covered < tokens + middle.tokens


@pytest.mark.parametrize("pattern", PATTERNS)
def test_threads_do_not_change_a_result(pattern):
    """An element is summed by one thread, in one order."""
    weight = kernels.prepare(packed_weight(pattern))
    for tokens in (1, 5, 128, 300):
        x = np.random.default_rng(1).standard_normal((tokens, 128)).astype(np.float32)
        one = kernels.matmul(weight, x)
        for threads in (2, 3):
            np.testing.assert_array_equal(kernels.matmul(weight, x, threads=threads), one)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("hw", [(3, 5), (9, 14), (28, 28)])
def test_threads_do_not_change_a_convolution(pattern, hw):
    weight = np.random.default_rng(0).standard_normal((80, 32, 3, 3))
    images = np.random.default_rng(1).standard_normal((2, 80, *hw)).astype(np.float32)
    ff, bp = (kernels.prepare(pack(weight, parse_pattern(pattern), axis=axis)) for axis in (1, 0))
    one = kernels.conv2d(ff, images[:, :32], padding=1)
    back = kernels.conv2d_input_gradient(bp, images, hw, padding=1)
    for threads in (2, 3):
        again = kernels.conv2d(ff, images[:, :32], padding=1, threads=threads)
        np.testing.assert_array_equal(again, one)
        again = kernels.conv2d_input_gradient(bp, images, hw, padding=1, threads=threads)
        np.testing.assert_array_equal(again, back)


def test_a_single_part_runs_in_the_caller():
    seen = []
    workers.run_parts(lambda _: seen.append(threading.current_thread()), [0])
    assert seen == [threading.current_thread()]
    with pytest.raises(ZeroDivisionError):
        workers.run_parts(lambda part: 1 // part, [0])


@pytest.mark.skipif(isa.AVX512 not in isa.available_isas(), reason="no AVX-512")
def test_bytes_of_few_tokens_grow_with_the_nonzeros():
    packed = [packed_weight(f"{n}:16", (64, 1024)) for n in (1, 2, 4)]
    sizes = [permute.permuted(one).values.nbytes for one in packed]
    assert sizes == [sizes[0], 2 * sizes[0], 4 * sizes[0]]
