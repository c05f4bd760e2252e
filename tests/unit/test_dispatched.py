"""Dispatch: the product whatever side runs, the choice by given times, what is kept on disk."""

import json
import math

import numpy as np
import pytest
import torch

import kernels.dense
from cosparse.spec import ShapeError, UnsupportedError, pack, parse_pattern
from kernels import dispatched, reference
from kernels.choice import Choice
from kernels.dispatched import Dispatched


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSPARSE_KERNEL_CACHE", str(tmp_path))
    return tmp_path


def packed_weight(text="2:8", shape=(32, 48), axis=1, **options):
    weight = np.random.default_rng(0).standard_normal(shape)
    return pack(weight, parse_pattern(text), axis=axis, **options)


def set_times(monkeypatch, sparse, dense, library=None):
    """Timing gives these; `library` is the fastest dense one, 1 % ahead of the others."""

    def interleaved(contestants, x, threads):
        for calls in contestants.values():
            for call in calls:
                call(x)
        return {
            name: sparse if name == "sparse" else dense * (1 if library in (None, name) else 1.01)
            for name in contestants
        }

    monkeypatch.setattr(dispatched, "_interleaved", interleaved)


def forbid_timing(monkeypatch):
    def interleaved(*_):
        raise AssertionError("timed again")

    monkeypatch.setattr(dispatched, "_interleaved", interleaved)


@pytest.mark.parametrize("axis", [1, 0])
@pytest.mark.parametrize("library", ["", *kernels.dense.linear_builders()])
def test_every_side_gives_the_linear_product(library, axis, monkeypatch):
    packed = packed_weight(axis=axis)
    x = np.random.default_rng(1).standard_normal((25, 48 if axis == 1 else 32)).astype(np.float32)
    set_times(monkeypatch, *((1, 2) if library == "" else (2, 1)), library)
    layer = Dispatched(packed)
    for tokens in (25, 19):  # a packed library was packed for 25
        got, expected = layer.matmul(x[:tokens]), reference.matmul(packed, x[:tokens])
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    for choice in layer.choices:
        assert choice.side == ("sparse" if library == "" else "dense")
        assert library in ("", choice.library)


@pytest.mark.parametrize("library", ["", *kernels.dense.conv_builders()])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_side_gives_the_convolution(library, groups, monkeypatch):
    packed = packed_weight(shape=(8, 16, 3, 3), conv_groups=groups)
    images = np.random.default_rng(1).standard_normal((2, 16 * groups, 6, 5)).astype(np.float32)
    set_times(monkeypatch, *((1, 2) if library == "" else (2, 1)), library)
    geometry = {"stride": (2, 1), "padding": 1, "dilation": 1}
    expected = reference.conv2d(packed, images, **geometry)
    last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    layer = Dispatched(packed)
    for given in (images, last):
        np.testing.assert_allclose(layer.conv2d(given, **geometry), expected, rtol=1e-4, atol=1e-4)
    assert len(layer.choices) == 2  # the order in memory is a part of the class


@pytest.mark.parametrize(
    ("sparse_s", "side"), [(0.5, "sparse"), (0.96, "sparse"), (0.98, "dense"), (1.5, "dense")]
)
def test_sparse_must_be_faster_by_the_margin(sparse_s, side, monkeypatch):
    set_times(monkeypatch, sparse_s, 1.0, "torch linear")
    choice = Dispatched(packed_weight()).choose("matmul", np.ones((4, 48), np.float32))
    assert (choice.side, choice.library, choice.ratio) == (side, "torch linear", sparse_s)
    assert choice.reason.startswith(f"{side}: the sparse kernel takes {sparse_s:.2f}")
    assert ("not below 0.97" in choice.reason) == (sparse_s == 0.98)


def test_a_choice_is_timed_once_a_class_and_kept(monkeypatch, own_cache):
    set_times(monkeypatch, 2.0, 1.0, "NumPy")
    x = np.ones((9, 48), np.float32)
    first = Dispatched(packed_weight()).choose("matmul", x)
    assert not first.kept and "timed now" in first.reason
    assert [choice.side for choice in dispatched.kept_choices()] == ["dense"]
    forbid_timing(monkeypatch)
    later = Dispatched(packed_weight())
    again = later.choose("matmul", x[:8].repeat(2, axis=0))  # 16 tokens: the class of 9
    assert again.kept and (again.side, again.library) == ("dense", "NumPy")
    np.testing.assert_allclose(later.matmul(x), reference.matmul(later.packed, x), rtol=1e-5)
    with pytest.raises(AssertionError, match="timed again"):
        later.matmul(x[:8])
    with pytest.raises(AssertionError, match="timed again"):
        Dispatched(packed_weight(), threads=2).matmul(x)
    with pytest.raises(AssertionError, match="timed again"):
        Dispatched(packed_weight("2:4")).matmul(x)


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"side": "sparse"}', "other class", "other side", "no library"]
)
def test_a_damaged_choice_is_timed_again(damage, monkeypatch, own_cache):
    set_times(monkeypatch, 2.0, 1.0, "NumPy")
    x = np.ones((4, 48), np.float32)
    Dispatched(packed_weight()).matmul(x)
    (path,) = own_cache.glob("choice-*.json")
    kept = json.loads(path.read_text())
    edits = {"other class": {"shape_class": "x"}, "other side": {"side": "x"},
             "no library": {"library": "x"}}  # fmt: skip
    path.write_text(json.dumps({**kept, **edits[damage]}) if damage in edits else damage)
    choice = Dispatched(packed_weight()).choose("matmul", x)
    assert (choice.kept, choice.side, choice.library) == (False, "dense", "NumPy")
    assert json.loads(path.read_text())["library"] == "NumPy"


def test_a_folder_that_cannot_be_written_costs_only_the_time(monkeypatch, own_cache):
    blocked = own_cache / "file"
    blocked.write_text("")
    monkeypatch.setenv("COSPARSE_KERNEL_CACHE", str(blocked / "folder"))
    monkeypatch.setenv("COSPARSE_CPU_ISA", "portable")
    set_times(monkeypatch, 1.0, 2.0)
    assert (
        Dispatched(packed_weight()).choose("matmul", np.ones((4, 48), np.float32)).side == "sparse"
    )


def test_without_a_dense_library_sparse_runs(monkeypatch):
    packed = packed_weight(shape=(32, 24), conv_groups=2)
    x = np.ones((4, 48), np.float32)
    layer = Dispatched(packed)
    choice = layer.choose("matmul", x)
    assert choice.side == "sparse" and math.isinf(choice.dense_s)
    assert "no dense library" in choice.reason
    np.testing.assert_allclose(layer.matmul(x), reference.matmul(packed, x), rtol=1e-5)
    assert Dispatched(packed).choose("matmul", x).kept


def test_without_torch_numpy_is_the_dense_side(monkeypatch):
    monkeypatch.setattr(kernels.dense, "torch_module", lambda: None)
    set_times(monkeypatch, 2.0, 1.0)
    layer = Dispatched(packed_weight())
    assert layer.choose("matmul", np.ones((4, 48), np.float32)).library.startswith("NumPy")


def test_the_real_timer_counts_every_contestant_and_writes_no_input():
    x = np.random.default_rng(1).standard_normal((4, 48)).astype(np.float32)
    before = x.copy()
    times = dispatched._interleaved({"a": [np.negative], "b": [np.negative] * 2}, x, 1)
    assert set(times) == {"a", "b"} and min(times.values()) >= 0
    choice = Dispatched(packed_weight()).choose("matmul", x)
    assert isinstance(choice, Choice) and min(choice.sparse_s, choice.dense_s) > 0
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(("tokens", "copies"), [(1, 3), (8, 3), (9, 1)])
def test_few_tokens_are_timed_over_copies_of_the_weight(tokens, copies, monkeypatch):
    monkeypatch.setattr(dispatched, "_COLD_BYTES", 2 * 4 * 32 * 48 + 1)
    seen = {}
    monkeypatch.setattr(
        dispatched,
        "_interleaved",
        lambda found, *_: seen.update(found) or dict.fromkeys(found, 1.0),
    )
    Dispatched(packed_weight()).choose("matmul", np.ones((tokens, 48), np.float32))
    assert {len(calls) for calls in seen.values()} == {copies}
    twins = {id(call.args[1]) for call in seen["sparse"]}
    assert len(twins) == copies


def test_every_library_has_a_weight_of_its_own(monkeypatch):
    """One that finds the weight in a cache because another has just used it would look faster."""
    seen = []

    def build(weight, _x, _threads):
        seen.append(weight)
        return lambda x: x @ weight.T

    monkeypatch.setattr(dispatched, "linear_builders", lambda: {"a": build, "b": build})
    set_times(monkeypatch, 2.0, 1.0, "b")
    x = np.ones((12, 48), np.float32)
    for axis in (1, 0):
        seen.clear()
        packed = packed_weight(axis=axis, shape=(48, 48))
        layer = Dispatched(packed)
        np.testing.assert_allclose(layer.matmul(x), reference.matmul(packed, x), rtol=1e-4)
        assert len(seen) == 2 and not np.shares_memory(*seen)
        assert all(weight.flags.c_contiguous for weight in seen)


def test_contestants_that_are_close_are_timed_again(monkeypatch):
    rounds = []
    first = {"sparse": 1.0, "NumPy": 1.1, "torch linear": 1.19, "torch linear, packed by MKL": 1.3}

    def interleaved(contestants, _x, _threads):
        rounds.append(set(contestants))
        again = {"sparse": 2.0, "NumPy": 0.9}
        return {
            name: first.get(name, 9.0) if len(rounds) == 1 else again.get(name, 1.5)
            for name in contestants
        }

    monkeypatch.setattr(dispatched, "_interleaved", interleaved)
    choice = Dispatched(packed_weight()).choose("matmul", np.ones((9, 48), np.float32))
    assert rounds[1:] == [{"sparse", "NumPy", "torch linear"}]
    assert (choice.side, choice.library, choice.sparse_s, choice.dense_s) == (
        "dense",
        "NumPy",
        2,
        0.9,
    )


def test_a_shape_that_was_seen_needs_no_look_up(monkeypatch):
    set_times(monkeypatch, 1.0, 2.0)
    layer = Dispatched(packed_weight())
    x = np.random.default_rng(1).standard_normal((4, 48)).astype(np.float32)
    expected = layer.matmul(x)
    monkeypatch.setattr(layer, "_side", None)
    np.testing.assert_array_equal(layer.matmul(x), expected)
    with pytest.raises(TypeError, match="NoneType"):  # another shape, dtype or order in memory
        layer.matmul(x[:3])
    monkeypatch.undo()
    np.testing.assert_array_equal(layer.matmul(np.asfortranarray(x)), expected)
    np.testing.assert_allclose(layer.matmul(x.astype(np.float64)), expected, rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_numpy_runs_on_so_many_threads_and_no_longer(threads, monkeypatch):
    """One library, and several, which are all set and restored."""
    weight, x = np.ones((8, 16), np.float32), np.ones((3, 16), np.float32)
    for count in (1, 2):
        counts, log = [5] * count, []

        def pair(i, counts=counts, log=log):
            return (lambda: counts[i]), lambda n: (log.append(n), counts.__setitem__(i, n))

        settings = tuple(map(pair, range(count)))
        monkeypatch.setattr(kernels.dense, "_blas_threads", lambda found=settings: found)
        call = kernels.dense.linear_builders()["NumPy"](weight, x, threads)
        assert (call(x) == 16).all()
        assert counts == [5] * count and log == [threads] * count + [5] * count


def test_openblas_is_asked_by_its_own_functions():
    libraries = kernels.dense._numpy_blas()
    for library, (get, set_) in zip(libraries, kernels.dense._blas_threads(), strict=True):
        found = library.get_num_threads()
        assert get() == found
        set_(found + 1)
        assert library.get_num_threads() == found + 1
        library.set_num_threads(found)
        assert get() == found


def test_thread_settings_of_libraries_are_restored(monkeypatch):
    found = torch.get_num_threads()
    blas = [library.get_num_threads() for library in kernels.dense._numpy_blas()]
    torch.set_num_threads(2)
    seen = []
    record = torch.nn.functional.linear

    def linear(*args):
        seen.append(torch.get_num_threads())
        return record(*args)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    try:
        set_times(monkeypatch, 2.0, 1.0, "torch linear")
        Dispatched(packed_weight()).matmul(np.ones((4, 48), np.float32))
        assert torch.get_num_threads() == 2 and set(seen) == {1}
    finally:
        torch.set_num_threads(found)
    assert blas == [library.get_num_threads() for library in kernels.dense._numpy_blas()]


def test_mistakes_are_told():
    layer = Dispatched(packed_weight())
    with pytest.raises(ShapeError, match=r"expected activations \(tokens, 48\)"):
        layer.matmul(np.ones((4, 47), np.float32))
    with pytest.raises(ShapeError, match="use conv2d"):
        Dispatched(packed_weight(shape=(8, 16, 3, 3))).matmul(np.ones((4, 16), np.float32))
    with pytest.raises(UnsupportedError, match=r"'wgrad' \(valid: conv2d, matmul\)"):
        layer.choose("wgrad", np.ones((4, 48), np.float32))
    with pytest.raises(UnsupportedError, match="threads >= 1, got 0"):
        Dispatched(packed_weight(), threads=0)
    with pytest.raises(UnsupportedError, match="BP copy"):
        Dispatched(packed_weight(shape=(8, 16, 3, 3), axis=0)).conv2d(
            np.ones((1, 8, 5, 5), np.float32)
        )
