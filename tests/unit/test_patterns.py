"""Patterns and the selection rule against a brute-force reading of design section 2."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosparse.spec import (
    NM,
    VNM,
    Block,
    Dense,
    PatternError,
    ShapeError,
    Unstructured,
    UnsupportedError,
    parse_pattern,
    select,
)


def brute_force_nm(values, n, m):
    """Keep by sorting (descending 15-bit magnitude of FP16, ascending index), NaN as 0x7E00."""
    kept = np.zeros(len(values), bool)
    for start in range(0, len(values), m):
        group = list(values[start : start + m]) + [0.0] * max(0, start + m - len(values))
        keys = []
        for value in group:
            half = np.float16(value)
            keys.append(0x7E00 if np.isnan(half) else int(half.view(np.uint16)) & 0x7FFF)
        order = sorted(range(m), key=lambda i: (-keys[i], i))
        for i in order[:n]:
            if start + i < len(values):
                kept[start + i] = True
    return kept


SPECIAL = [
    0.0,
    -0.0,
    np.nan,
    -np.nan,
    np.inf,
    -np.inf,
    6e-8,
    -6e-8,
    65504.0,
    65520.0,
    1e-9,
    1.0,
    1.0,
]
floats = st.one_of(
    st.sampled_from(SPECIAL), st.floats(-4, 4, width=32), st.floats(width=32, allow_nan=True)
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(floats, min_size=16, max_size=40),
    st.sampled_from([(2, 4), (2, 8), (1, 8), (3, 5), (2, 16)]),
)
def test_selection_equals_the_written_rule(values, pattern):
    n, m = pattern
    row = np.array(values, np.float32)
    with np.errstate(over="ignore"):
        expected = brute_force_nm(row, n, m)
    assert (select(row[None], NM(n, m), axis=1)[0] == expected).all()
    assert (select(row[:, None], NM(n, m), axis=0)[:, 0] == expected).all()


def test_ties_keep_the_lower_index_and_signs_do_not_matter():
    row = np.array([[1.0, -1.0, 1.0, -1.0, 0.0, -0.0, 0.0, 0.0]], np.float32)
    assert select(row, NM(2, 4), axis=1).tolist() == [[True, True, False, False] * 2]


def test_selection_happens_after_rounding_to_the_packed_dtype():
    close = np.array([[1.0, 1.0001, 0.0, 0.0]], np.float32)  # equal in FP16, different in FP32
    assert select(close, NM(1, 4), axis=1).tolist() == [[True, False, False, False]]
    assert select(close, NM(1, 4), axis=1, dtype="float32").tolist() == [
        [False, True, False, False]
    ]


def test_groups_never_cross_a_convolution_group():
    weight = np.zeros((8, 4, 1, 1), np.float32)
    weight[:, 0, 0, 0] = [8, 7, 6, 5, 1, 2, 3, 4]  # two convolution groups of four outputs
    mask = select(weight, NM(1, 4), axis=0, conv_groups=2)[:, 0, 0, 0]
    assert mask.tolist() == [True, False, False, False, False, False, False, True]


def test_vector_wise_lanes_share_the_pattern_of_the_largest_sum():
    weight = np.array([[3.0, 2.9, 0.0, 0.0], [0.0, 2.9, 0.0, 3.0]], np.float32)
    mask = select(weight, VNM(2, 1, 4), axis=1)
    assert mask.tolist() == [[False, True, False, False]] * 2


def test_blocks_are_ranked_over_the_tensor_by_the_sum_of_magnitudes():
    weight = np.zeros((4, 4), np.float32)
    weight[0, 0], weight[2:, 2:] = 3.0, 1.0
    mask = select(weight, Block(2, 2, 0.25), axis=1)
    assert mask.nonzero()[0].tolist() == [2, 2, 3, 3]
    assert mask.nonzero()[1].tolist() == [2, 3, 2, 3]


@given(st.integers(1, 60), st.floats(0.01, 1.0))
def test_unstructured_keeps_the_rounded_share(size, density):
    weight = np.random.default_rng(size).normal(size=(size, 1)).astype(np.float32)
    mask = select(weight, Unstructured(density), axis=1)
    assert mask.sum() == min(size, max(1, int(density * size + 0.5)))
    if 0 < mask.sum() < size:
        assert np.abs(weight[mask]).min() >= np.abs(weight[~mask].astype(np.float16)).max() - 1e-2


def test_mask_from_scores_accepts_any_axis():
    scores = np.random.default_rng(0).normal(size=(3, 16, 5))
    along_last = NM(2, 8).mask_from_scores(np.moveaxis(scores, 1, -1))
    assert (NM(2, 8).mask_from_scores(scores, axis=1) == np.moveaxis(along_last, -1, 1)).all()


@pytest.mark.parametrize(
    "pattern",
    [Dense(), NM(2, 8), VNM(16, 2, 8), Block(16, 1, 0.25), Unstructured(0.1)],
)
def test_patterns_print_as_they_parse(pattern):
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2;8", "valid forms"),
        ("8:2", "1 <= N <= M"),
        ("0:4", "1 <= N <= M"),
        ("1:512", "M <= 256"),
        ("blok 4x1 @ 0.5", "did you mean 'block'"),
        ("block 0x4 @ 0.5", "positive"),
        ("unstructured @ 1.5", "0 < density <= 1"),
        ("unstructured @ .", "could not convert"),
        ("", "valid forms"),
    ],
)
def test_bad_patterns_are_named(text, words):
    with pytest.raises(PatternError, match=words.replace("(", r"\(")):
        parse_pattern(text)


def test_a_pattern_that_does_not_fit_says_so():
    with pytest.raises(PatternError, match="at least 8 entries along the reduction axis, got 3"):
        select(np.ones((8, 3), np.float32), NM(2, 8), axis=1)
    with pytest.raises(PatternError, match="at least 16 output lanes"):
        select(np.ones((8, 32), np.float32), Block(16, 16, 0.5), axis=1)


def test_bad_arrays_and_axes_are_named():
    with pytest.raises(ShapeError, match="axis 0"):
        select(np.ones((8, 8), np.float32), NM(2, 8), axis=2)
    with pytest.raises(ShapeError, match="out, in"):
        select(np.ones(8, np.float32), NM(2, 8), axis=1)
    with pytest.raises(ShapeError, match="int64"):
        select(np.ones((8, 8), np.int64), NM(2, 8), axis=1)
    with pytest.raises(ShapeError, match="divides"):
        select(np.ones((8, 8), np.float32), NM(2, 8), axis=0, conv_groups=3)
    with pytest.raises(UnsupportedError, match="float16"):
        select(np.ones((8, 8), np.float32), NM(2, 8), axis=1, dtype="fp16")
