"""Packed tensors: round trips, sizes, the documented image, damaged files."""

import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosparse.spec import (
    NM,
    VNM,
    Block,
    CorruptFileError,
    DataError,
    Dense,
    InputError,
    SchemaVersionError,
    Unstructured,
    UnsupportedError,
    load,
    pack,
    select,
)
from cosparse.spec.dtypes import round_to

SHAPES = [
    ((8, 16), 1),
    ((37, 19), 1),
    ((32, 8, 3, 3), 1),
    ((24, 9, 3, 1), 2),
    ((33, 17, 2), 1),
    ((1, 16), 1),
    ((16, 16), 16),
]
PATTERNS = [
    (NM(2, 4), None),
    (NM(2, 8), None),
    (NM(1, 8), None),
    (NM(4, 4), None),
    (NM(3, 5), None),
    (NM(2, 16), None),
    (NM(2, 17), None),
    (VNM(4, 2, 8), None),
    (VNM(3, 1, 4), None),
    (VNM(64, 2, 8), None),
    (Block(4, 1, 0.3), None),
    (Block(3, 5, 0.5), None),
    (Unstructured(0.2), "csr"),
    (Unstructured(0.2), "bitmap"),
]
IDS = [f"{pattern}-{name}" for pattern, name in PATTERNS]


def special_weights(shape, seed=0):
    """Normal weights with ties, NaN, infinities, -0, subnormals and values beyond FP16."""
    random = np.random.default_rng(seed)
    weight = random.normal(size=shape).astype(np.float32)
    flat = weight.reshape(-1)
    special = [np.nan, np.inf, -np.inf, -0.0, 0.0, 6e-8, -3e-5, 1e6, 0.5, 0.5, 0.5, 0.5]
    places = random.choice(flat.size, min(flat.size // 3, 4 * len(special)), replace=False)
    flat[places] = np.resize(special, len(places))
    return weight


def fits(pattern, weight, axis, groups):
    try:
        select(weight, pattern, axis=axis, conv_groups=groups)
    except InputError:
        return False
    return True


def same_bits(a, b):
    return (a.view(np.uint32) == b.view(np.uint32)).all()


@pytest.mark.parametrize(("pattern", "name"), PATTERNS, ids=IDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("axis", [0, 1])
def test_unpack_gives_the_selected_and_rounded_weights(pattern, name, dtype, axis):
    tried = 0
    for shape, groups in SHAPES:
        weight = special_weights(shape)
        if not fits(pattern, weight, axis, groups):
            continue
        tried += 1
        packed = pack(weight, pattern, axis=axis, dtype=dtype, conv_groups=groups, format=name)
        mask = select(weight, pattern, axis=axis, conv_groups=groups)
        packed.validate()
        assert (packed.mask() == mask).all()
        assert same_bits(packed.unpack(), np.where(mask, round_to(weight, dtype), np.float32(0)))
    assert tried > 0


@pytest.mark.parametrize(("pattern", "name"), PATTERNS, ids=IDS)
def test_int8_is_within_half_a_step_of_each_lane(pattern, name):
    weight = np.random.default_rng(1).normal(size=(70, 40)).astype(np.float32)
    weight[3] = 0
    for axis in (0, 1):
        packed = pack(weight, pattern, axis=axis, dtype="int8", format=name)
        packed.validate()
        kept = np.where(packed.mask(), weight, 0)
        step = np.abs(kept).max(axis=axis, keepdims=True) / 127
        assert (np.abs(packed.unpack() - kept) <= step / 2 + 1e-6).all()
        assert (packed.mask() == select(weight, pattern, axis=axis)).all()


def test_int8_refuses_weights_that_are_not_finite():
    weight = np.ones((8, 8), np.float32)
    weight[0, 0] = np.inf
    with pytest.raises(DataError, match="finite"):
        pack(weight, NM(2, 8), axis=1, dtype="int8")


@pytest.mark.parametrize(("pattern", "name"), PATTERNS, ids=IDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
def test_files_round_trip_and_storage_bits_is_the_image_size(tmp_path, pattern, name, dtype):
    weight = np.random.default_rng(2).normal(size=(40, 34)).astype(np.float32)
    packed = pack(weight, pattern, axis=1, dtype=dtype, format=name)
    path = tmp_path / "w.cospack"
    packed.save(path)
    again = load(path)
    assert type(again) is type(packed)
    assert again.planes().keys() == packed.planes().keys()
    for key, plane in packed.planes().items():
        assert (again.planes()[key].view(np.uint8) == plane.view(np.uint8)).all()
    header_bytes = 24 + int.from_bytes(path.read_bytes()[12:16], "little")
    assert header_bytes % 64 == 0
    assert 8 * (path.stat().st_size - header_bytes) == packed.storage_bits


def test_the_image_is_laid_out_as_documented():
    """values[conv_group][tap][group][n][lane] and low-nibble-first indices, checked entry by entry."""
    weight = np.random.default_rng(3).normal(size=(6, 10, 3, 1)).astype(np.float32)
    packed = pack(weight, NM(2, 4), axis=1, conv_groups=2)
    mask = select(weight, NM(2, 4), axis=1, conv_groups=2)
    assert packed.values.shape == (2, 3, 3, 2, 32)
    assert packed.indices.shape == (2, 3, 3, 2, 16)
    for group in range(2):
        for tap in range(3):
            for block in range(3):
                for lane in range(3):
                    kept = [
                        i
                        for i in range(4)
                        if 4 * block + i < 10 and mask[3 * group + lane, 4 * block + i, tap, 0]
                    ]
                    stored = packed.values[group, tap, block, :, lane]
                    pairs = packed.indices[group, tap, block, :, lane // 2]
                    index = [int(p >> 4) if lane % 2 else int(p & 15) for p in pairs]
                    assert index[: len(kept)] == kept
                    expected = [
                        np.float16(weight[3 * group + lane, 4 * block + i, tap, 0]) for i in kept
                    ]
                    assert stored[: len(kept)].tolist() == expected
                    assert (stored[len(kept) :] == 0).all()
    assert (packed.values[..., 3:] == 0).all()


def test_storage_by_hand():
    """64 lanes x 64 inputs at 2:8: 8 groups x 2 entries x 64 lanes of 16 + 4 bits."""
    packed = pack(np.ones((64, 64), np.float32), NM(2, 8), axis=1)
    assert packed.storage_bits == 8 * 2 * 64 * (16 + 4)
    shared = pack(np.ones((64, 64), np.float32), VNM(16, 2, 8), axis=1)
    assert shared.storage_bits == 8 * 2 * (64 * 16 + 64 // 16 * 4)


def test_nan_is_stored_canonically():
    weight = np.full((1, 8), np.nan, np.float32)
    weight.view(np.uint32)[0, 1] = 0xFFC12345
    for dtype, nan in [("float16", 0x7E00), ("bfloat16", 0x7FC0), ("float32", 0x7FC00000)]:
        packed = pack(weight, NM(2, 8), axis=1, dtype=dtype)
        stored = packed.values[..., 0].copy()
        assert (stored.view(f"u{stored.itemsize}") == nan).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_bfloat16_rounds_to_nearest_even(bits):
    value = np.array([bits], np.uint32).view(np.float32)
    got = round_to(value, "bfloat16")[0]
    if np.isnan(value[0]):
        assert np.isnan(got)
        return
    low, high = bits & 0xFFFF0000, (bits & 0xFFFF0000) + 0x10000
    below = bits - low
    up = below > 0x8000 or (below == 0x8000 and (low >> 16) & 1)
    assert int(got.view(np.uint32)) == ((high if up else low) & 0xFFFFFFFF)


@pytest.mark.parametrize("shape", [(0, 8), (8, 0), (0, 0), (4, 0, 3, 3)])
@pytest.mark.parametrize("pattern", [NM(2, 4), Unstructured(0.5)], ids=str)
def test_empty_tensors_round_trip(tmp_path, shape, pattern):
    packed = pack(np.zeros(shape, np.float32), pattern, axis=1)
    packed.save(tmp_path / "empty")
    again = load(tmp_path / "empty")
    assert again.unpack().shape == shape
    assert again.storage_bits == packed.storage_bits


@pytest.fixture
def packed_file(tmp_path):
    path = tmp_path / "w.cospack"
    pack(np.random.default_rng(4).normal(size=(40, 32)).astype(np.float32), NM(2, 8), axis=1).save(
        path
    )
    return path


def test_any_flipped_byte_is_refused(packed_file):
    good = packed_file.read_bytes()
    for place in range(0, len(good), 13):
        packed_file.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        with pytest.raises((CorruptFileError, SchemaVersionError)):
            load(packed_file)


@pytest.mark.parametrize("keep", [0, 5, 23, 100, -1, -100])
def test_a_truncated_file_is_refused(packed_file, keep):
    packed_file.write_bytes(packed_file.read_bytes()[:keep])
    with pytest.raises(CorruptFileError, match="cospack"):
        load(packed_file)


def test_appended_bytes_are_refused(packed_file):
    packed_file.write_bytes(packed_file.read_bytes() + b"x")
    with pytest.raises(CorruptFileError):
        load(packed_file)


def test_another_schema_version_names_the_way_out(packed_file):
    data = bytearray(packed_file.read_bytes())
    data[8] = 9
    packed_file.write_bytes(bytes(data))
    with pytest.raises(SchemaVersionError, match=r"schema 9.*pack it again"):
        load(packed_file)


def test_valid_checksums_around_wrong_planes_are_refused(tmp_path):
    packed = pack(np.ones((32, 32), np.float32), NM(2, 8), axis=1)
    descending = packed.indices[..., ::-1, :].copy()
    object.__setattr__(packed, "indices", descending)
    packed.save(tmp_path / "bad")
    with pytest.raises(CorruptFileError, match="ascending positions"):
        load(tmp_path / "bad")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        load(tmp_path / "nowhere")


def test_what_cannot_be_packed_is_refused():
    weight = np.ones((8, 8), np.float32)
    with pytest.raises(UnsupportedError, match="no packed format"):
        pack(weight, Dense(), axis=1)
    with pytest.raises(UnsupportedError, match="valid: csr, bitmap"):
        pack(weight, Unstructured(0.5), axis=1, format="nm")
    with pytest.raises(UnsupportedError, match="did you mean 'float16'"):
        pack(weight, NM(2, 8), axis=1, dtype="float61")


def write_with_header(path, header):
    """A file whose checksums are right and whose header is `header`."""
    data = path.read_bytes()
    old = int.from_bytes(data[12:16], "little")
    payload = data[24 + old :]
    text = json.dumps(header).encode()
    crcs = struct.pack("<III", len(text), zlib.crc32(text), zlib.crc32(payload))
    path.write_bytes(data[:12] + crcs + text + payload)


def header_of(path):
    data = path.read_bytes()
    return json.loads(data[24 : 24 + int.from_bytes(data[12:16], "little")])


@pytest.mark.parametrize(
    "key", ["format", "pattern", "shape", "axis", "conv_groups", "dtype", "select_dtype", "planes"]
)
@pytest.mark.parametrize(
    "value", ["missing", None, 5, "q", [], {}, [1e30], -1, "block 4x4 @ 0.5"], ids=str
)
def test_a_malformed_header_is_refused(packed_file, key, value):
    header = header_of(packed_file)
    if value == "missing":
        del header[key]
    else:
        header[key] = value
    write_with_header(packed_file, header)
    with pytest.raises(CorruptFileError, match="cospack"):
        load(packed_file)


@pytest.mark.parametrize(
    "header", [5, [], "x", None, {"planes": [{"name": "a", "dtype": "O", "shape": [1]}]}]
)
def test_a_header_of_another_kind_is_refused(packed_file, header):
    write_with_header(packed_file, header)
    with pytest.raises(CorruptFileError, match="cospack"):
        load(packed_file)


def test_headers_that_break_a_reader_are_refused(packed_file):
    good = header_of(packed_file)
    unnamed = [{**plane, "name": 5} for plane in good["planes"]]
    for change in ({"planes": unnamed}, {"shape": [40, 2**70]}, {"shape": [2**21, 2**21]}):
        write_with_header(packed_file, {**good, **change})
        with pytest.raises(CorruptFileError, match="cospack"):
            load(packed_file)


def test_a_deeply_nested_header_is_refused(packed_file):
    data = packed_file.read_bytes()
    text = b"[" * 100_000
    crc = struct.pack("<II", len(text), zlib.crc32(text)) + data[20:24]
    old = int.from_bytes(data[12:16], "little")
    packed_file.write_bytes(data[:12] + crc + text + data[24 + old :])
    with pytest.raises(CorruptFileError):
        load(packed_file)
