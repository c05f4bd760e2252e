"""Data sets: shipped ones are fixed and do not leak, the user's arrays are checked."""

import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_digits

from algos.data import DATASETS, load_data, load_npz
from algos.data.stdlib_bytes import TEST_MODULES, TRAIN_MODULES
from cosparse.spec import DataError, UnsupportedError


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def text():
    return load_data("bytes")


def rows(images):
    return {image.tobytes() for image in images}


# --- shipped


def test_digits_are_scikit_learns(digits):
    bunch = load_digits()
    both = np.concatenate([digits.x_train, digits.x_test])
    labels = np.concatenate([digits.y_train, digits.y_test])
    assert both.shape == (1797, 1, 8, 8) and both.dtype == np.float32 and labels.dtype == np.int64
    assert both.min() == 0 and both.max() == 1
    assert rows(both) == rows((bunch.images / 16).astype(np.float32))
    assert np.bincount(labels).tolist() == np.bincount(bunch.target).tolist()


def test_digits_are_split_by_class_without_overlap(digits):
    assert len(digits.x_test) == 360
    shares = np.bincount(digits.y_test) / np.bincount(
        np.concatenate([digits.y_train, digits.y_test])
    )
    np.testing.assert_allclose(shares, 0.2, atol=0.01)
    assert rows(digits.x_train).isdisjoint(rows(digits.x_test))


def test_the_split_is_always_the_same(digits):
    again = load_data("digits")
    assert again.content_hash == digits.content_hash
    assert again.describe()["sha256"] == digits.content_hash


def test_the_hash_depends_on_every_array(digits):
    from dataclasses import replace

    for name in ("x_train", "y_train", "x_test", "y_test"):
        changed = getattr(digits, name).copy()
        changed.flat[0] += 1
        assert replace(digits, **{name: changed}).content_hash != digits.content_hash


def test_bytes_are_two_streams_of_different_modules(text):
    assert set(TRAIN_MODULES).isdisjoint(TEST_MODULES)
    assert text.task == "language" and text.classes == 256
    assert text.x_train.dtype == np.uint8 and text.x_train.ndim == 1
    assert len(text.x_train) > 2_000_000 and len(text.x_test) > 100_000
    assert b"class ArgumentParser" in text.x_train.tobytes()
    assert b"class ArgumentParser" not in text.x_test.tobytes()
    assert b"class Fraction" in text.x_test.tobytes()
    assert text.x_train is text.y_train


def test_bytes_hold_no_test_code(text):
    assert b"unittest.TestCase):" not in text.x_test.tobytes()
    assert text.details["test_modules"] == len(TEST_MODULES)


def test_unknown_names():
    with pytest.raises(UnsupportedError, match="did you mean 'digits'"):
        load_data("digit")
    assert sorted(DATASETS) == ["bytes", "digits"]


# --- the user's


def arrays(samples=20, classes=4):
    random = np.random.default_rng(0)
    return {"x": random.random((samples, 3, 5)), "y": random.integers(0, classes, samples)}


def saved(path, compressed=False, **content):
    (np.savez_compressed if compressed else np.savez)(path, **content)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_x_and_y_are_split_once_and_for_all(tmp_path, compressed):
    given = arrays()
    data = load_npz(saved(tmp_path / "a.npz", compressed, **given))
    assert (len(data.x_train), len(data.x_test)) == (16, 4)
    assert data.x_train.dtype == np.float32 and data.y_train.dtype == np.int64
    pairs = {
        (x.tobytes(), y) for x, y in zip(given["x"].astype(np.float32), given["y"], strict=True)
    }
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert {(a.tobytes(), b) for a, b in zip(x, y, strict=True)} <= pairs
    assert rows(data.x_train).isdisjoint(rows(data.x_test))
    assert load_npz(tmp_path / "a.npz").content_hash == data.content_hash
    assert (data.name, data.task, data.classes) == ("a", "classification", given["y"].max() + 1)


def test_a_given_split_is_kept(tmp_path):
    x, y = arrays()["x"], arrays()["y"]
    path = saved(tmp_path / "a.npz", x_train=x[:5], y_train=y[:5], x_test=x[5:], y_test=y[5:])
    data = load_npz(path)
    np.testing.assert_array_equal(data.x_train, x[:5].astype(np.float32))
    np.testing.assert_array_equal(data.y_test, y[5:])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64", "bool"])
def test_numbers_of_any_kind(tmp_path, dtype):
    given = arrays() | {"x": (arrays()["x"] * 2).astype(dtype)}
    assert load_npz(saved(tmp_path / "a.npz", **given)).x_train.dtype == np.float32


NAN, HUGE = arrays()["x"], arrays()["x"] * 1e300
NAN[3, 1, 2] = np.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": NAN}, "got 1 that are NaN or infinite"),
        ({"x": HUGE}, "NaN or infinite"),
        ({"x": np.zeros(20)}, r"expected x \(samples, ...\)"),
        ({"x": np.zeros((19, 3))}, r"got shapes \(19, 3\) and \(20,\)"),
        ({"x": np.array(["a"] * 20)[:, None]}, "expected numbers"),
        ({"y": arrays()["y"] - 1}, "expected classes from 0, got -1"),
        ({"y": np.full(20, 2**63, np.uint64)}, "expected classes below"),
        ({"y": arrays()["y"] * 1.0}, "expected 16 integer classes, got float64"),
        ({"y": arrays()["y"][:, None]}, r"got shapes \(20, 3, 5\) and \(20, 1\)"),
        ({"x": np.zeros((1, 3)), "y": np.zeros(1, int)}, "at least two samples"),
        ({"x": np.array([object()] * 20)}, "Object arrays cannot be loaded"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        load_npz(saved(tmp_path / "a.npz", **arrays() | change))


def test_missing_arrays_are_named(tmp_path):
    with pytest.raises(DataError, match="x_train, y_train, x_test, y_test or x, y; got a, x"):
        load_npz(saved(tmp_path / "a.npz", x=np.zeros((4, 2)), a=np.zeros(3)))


def test_samples_of_different_shapes(tmp_path):
    split = {"x_train": np.zeros((4, 2)), "x_test": np.zeros((4, 3))}
    labels = dict.fromkeys(("y_train", "y_test"), np.zeros(4, int))
    with pytest.raises(DataError, match=r"different sample shapes, \(2,\) and \(3,\)"):
        load_npz(saved(tmp_path / "a.npz", **split, **labels))


def _array_file(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _truncated(path):
    saved(path, **arrays())
    path.write_bytes(path.read_bytes()[:500])


def _flipped(path):
    saved(path, compressed=True, **arrays(200))
    content = bytearray(path.read_bytes())
    content[300:400] = bytes(100)
    path.write_bytes(content)


def _other_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"not an array")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"hello"),
        _array_file,
        _truncated,
        _flipped,
        _other_archive,
    ],
    ids=["empty", "text", "npy", "truncated", "damaged", "other zip"],
)
def test_files_that_are_no_archive_of_arrays(tmp_path, write):
    write(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a\.npz: expected"):
        load_npz(tmp_path / "a.npz")


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        load_npz(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="directory"):
        load_npz(tmp_path)


def test_code_in_a_pickle_is_not_executed(tmp_path):
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    path = saved(tmp_path / "a.npz", x=np.array([Evil(), Evil()]), y=np.zeros(2, int))
    with pytest.raises(DataError):
        load_npz(path)
    assert not (tmp_path / "executed").exists()
