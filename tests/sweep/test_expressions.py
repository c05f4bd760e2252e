"""Expressions over columns: values, masks, and what they refuse."""

import numpy as np
import pytest

from cosparse.flow.sweep.expressions import parse
from cosparse.spec import InputError

COLUMNS = {
    "rows": np.array([4, 8, 16]),
    "pattern": np.array(["2:4", "2:8", "2:8"]),
    "VU9P.lut": 1000,
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("rows * 2 + 1", [9, 17, 33]),
        ("min(rows, 8)", [4, 8, 8]),
        ("max(rows, 8, 12)", [12, 12, 16]),
        ("-rows // 3", [-2, -3, -6]),
        ("rows ** 0.5", [2, 8**0.5, 4]),
        ("log2(rows) % 2", [0, 1, 0]),
        ("rows / 8 if_else", None),
        ("rows <= 8 and pattern == '2:8'", [False, True, False]),
        ("not rows > 4 or pattern in ('2:8',)", [True, True, True]),
        ("4 < rows < 16", [False, True, False]),
        ("pattern not in ['2:4', '1:4']", [False, True, True]),
        ("rows * 100 <= 0.8 * VU9P.lut", [True, True, False]),
    ],
)
def test_values(text, values):
    if values is None:
        with pytest.raises(InputError, match="invalid syntax"):
            parse(text, COLUMNS)
        return
    assert np.asarray(parse(text, COLUMNS)(COLUMNS)).tolist() == pytest.approx(values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row > 2", r"unknown name 'row', did you mean 'rows'\?"),
        ("__import__('os').system('x')", "not a part of these expressions"),
        ("open('x')", "unknown function 'open'"),
        ("rows.real", "unknown name 'rows.real'"),
        ("[r for r in rows]", "not a part"),
        ("lambda: 1", "not a part"),
        ("rows[0]", "not a part"),
        ("f'{rows}'", "not a part"),
        ("rows is rows", "not a part"),
        ("min()", "expected values between the brackets"),
        ("(" * 240 + ")" * 240, "invalid syntax|too many nested|less nesting"),
        ("1" * 600, "at most 500 characters"),
        ("abs(rows, rows)", r"'abs\(rows, rows\)': expected one value, got 2"),
        ("(rows, rows)", "not a part"),
        ("rows in rows", "expected values in brackets behind 'in', got rows"),
        ("rows > 1 / 0", "'1 / 0' is no finite number"),
        ("rows > 5 % 0", "'5 % 0' is no finite number"),
        ("rows < 9 ** 9 ** 9", "no finite number"),
        ("rows == 'a' * 1000000000", "expected a number in .* got 'a'"),
        ("rows in [1] * 1000000000", "expected values in brackets behind 'in'"),
    ],
)
def test_refusals(text, words):
    with pytest.raises(InputError, match=words):
        parse(text, COLUMNS)


def test_what_does_not_go_together_is_told_with_the_expression():
    with pytest.raises(InputError, match=r"'rows - pattern': "):
        parse("rows - pattern", COLUMNS)(COLUMNS)


def test_a_division_by_zero_is_infinite_and_a_condition_on_it_a_condition():
    zero = "(VU9P.lut - VU9P.lut)"
    assert np.isinf(parse(f"VU9P.lut / {zero}", COLUMNS)(COLUMNS))
    assert not parse(f"rows < {zero} / {zero}", COLUMNS).mask(COLUMNS, 3).any()


def test_text_is_no_condition():
    with pytest.raises(InputError, match="'pattern' gives text, expected a condition"):
        parse("pattern", COLUMNS).mask(COLUMNS, 3)


def test_products_leave_64_bits_without_wrapping_around():
    columns = {"rows": np.array([2**40, 2**20])}
    found = np.asarray(parse("rows * rows", columns)(columns))
    assert found.tolist() == [2.0**80, 2.0**40]
