"""Plain data and positions of YAML, compared with values and columns counted by hand."""

import math
import os

import pytest

from cosparse.flow.document import MAX_DEPTH, Position, dotted
from cosparse.flow.yamlfile import MAX_BYTES, parse_yaml, read_yaml
from cosparse.spec import ScenarioError


def value_of(text):
    document = parse_yaml(f"key: {text}\n", "f.yaml")
    assert document.problems == ()
    return document.data["key"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e6", 1e6),
        ("1E-3", 0.001),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5e+2", -150.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+7", 7),
        ("-0", 0),
        ("true", True),
        ("False", False),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("2:8", "2:8"),
        ("12:30", "12:30"),
        ("12:30:00", "12:30:00"),
        ("2026-11-21", "2026-11-21"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("e6", "e6"),
        (".", "."),
        ("'1e6'", "1e6"),
        ('"010"', "010"),
        ("!!str 10", "10"),
        ("!!float 1", 1.0),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("[1, two, {three: 3}]", [1, "two", {"three": 3}]),
        ("|\n  a\n  b", "a\nb\n"),
    ],
)
def test_scalars_mean_what_they_look_like(text, expected):
    got = value_of(text)
    assert (got, type(got)) == (expected, type(expected))


def test_nan_is_a_number():
    assert math.isnan(value_of(".nan"))


def test_positions_of_block_and_flow_keys():
    text = "a: 1\nlist:\n  - x\n  - {b: 2, ü: [3, 4]}\n"
    positions = parse_yaml(text, "f.yaml").positions
    assert positions["a",] == Position(1, 1)
    assert positions["list", 0] == Position(3, 5)
    assert positions["list", 1, "b"] == Position(4, 6)
    assert positions["list", 1, "ü"] == Position(4, 12)
    assert positions["list", 1, "ü", 1] == Position(4, 19)


def test_an_unwritten_path_is_located_at_what_contains_it():
    document = parse_yaml("a:\n  b: 1\n", "f.yaml")
    assert document.locate(("a", "c")) == Position(1, 1)
    assert document.locate(("z",)) == Position(1, 1)


def test_dotted_paths():
    assert dotted(("train", "seeds", 1)) == "train.seeds[1]"


def test_aliases_give_equal_values_and_the_anchors_positions():
    document = parse_yaml("a: &x {lr: 1}\nb: *x\n", "f.yaml")
    assert document.data == {"a": {"lr": 1}, "b": {"lr": 1}}
    assert document.positions["b", "lr"] == Position(1, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: duplicate key 'a', first on line 1"),
        ("m: {a: 1, a: 2}\n", "f.yaml:1:11: m.a: duplicate key 'a', first on line 1"),
        ("1: x\n", "f.yaml:1:1: expected a key of text, got '1'"),
        ("null: x\n", "f.yaml:1:1: expected a key of text, got 'null'"),
        ("? [a]\n: x\n", "f.yaml:1:3: expected a key of text, got a list"),
        ("? {a: b}\n: x\n", "f.yaml:1:3: expected a key of text, got a mapping"),
        ("a: &x [*x]\n", "f.yaml:1:4: a[0]: expected an alias of something else, got its own anchor"),
        ("a: !!int ten\n", "f.yaml:1:4: a: expected a usable int, got 'ten'"),
        ("a: !!bool yes\n", "f.yaml:1:4: a: expected a usable bool, got 'yes'"),
        ("a: 9223372036854775808\n", "f.yaml:1:4: a: expected a usable int, "
                                     "got '9223372036854775808'"),
        ("b: {}\na: {<<: {c: 1}}\n", "f.yaml:2:5: a: expected every key written out, "
                                     "got the merge key '<<'"),
        ("a: !!python/object/apply:os.system [x]\n",
         "f.yaml:1:4: a: expected plain data, got the tag "
         "'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("a: !mine {b: 1}\n", "f.yaml:1:4: a: expected plain data, got the tag '!mine'"),
        ("a: !!set {b}\n", "f.yaml:1:4: a: expected plain data, got the tag "
                           "'tag:yaml.org,2002:set'"),
    ],
)  # fmt: skip
def test_problems_of_single_keys(text, expected):
    document = parse_yaml(text, "f.yaml")
    assert document.describe(document.problems[0]) == expected


def test_every_problem_of_a_file_is_kept():
    document = parse_yaml("a: 1\na: 2\n3: x\nb: !x y\n", "f.yaml")
    assert len(document.problems) == 3
    with pytest.raises(ScenarioError) as caught:
        document.refuse(reversed(document.problems))
    assert [line.split(":")[1] for line in caught.value.problems] == ["2", "3", "4"]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
ALIAS_CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", "f.yaml:1:1: expected a mapping of keys, got an empty file"),
        ("# only a comment\n", "f.yaml:1:1: expected a mapping of keys, got an empty file"),
        ("just text", "f.yaml:1:1: expected a mapping of keys, got a single value"),
        ("- a\n- b\n", "f.yaml:1:1: expected a mapping of keys, got a list"),
        ("a:\n\tb: 1\n", "f.yaml:2:1: expected YAML, got an error"),
        ("a: [1, 2", "f.yaml:1:9: expected YAML, got an error"),
        ("a: *nowhere\n", "f.yaml:1:4: expected YAML, got an error found undefined alias"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: expected YAML, got an error"),
        ('a: "\\ud800"\n', "f.yaml:1:7: expected YAML, got an error"),
        ("a: 1\nbé: \x00\n", "f.yaml:2:5: expected YAML, got text that is not"),
        (b"a: 1\nb: \xe9t\xe9\n", "f.yaml:2:4: expected UTF-8 text, got byte 0xe9"),
        (b"\x7fELF\x02\x01\x01\x00", "f.yaml:1:1: expected YAML, got text that is not"),
        (b"\xff\xfea\x00:\x00", "f.yaml:1:1: expected UTF-8 text, got byte 0xff"),
        (BOMB, "f.yaml:1:4: expected at most 20000 values"),
        (ALIAS_CHAIN, "f.yaml:1:10: expected at most 32 levels of nesting"),
        ("a: " + "[" * 100_000, "f.yaml:1:35: expected at most 32 levels of nesting"),
        ("a: " + "{b: " * 100_000, "f.yaml:1:128: expected at most 32 levels of nesting"),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_files_that_are_refused(source, expected):
    with pytest.raises(ScenarioError) as caught:
        parse_yaml(source, "f.yaml")
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(expected)


def test_deepest_nesting_allowed():
    lists = MAX_DEPTH - 1
    data = parse_yaml("a: " + "[" * lists + "]" * lists, "f.yaml").data
    for _ in range(lists - 1):
        data = data["a"] if isinstance(data, dict) else data[0]
    assert data == [[]]


def test_a_byte_order_mark_is_not_text():
    assert parse_yaml(b"\xef\xbb\xbfa: 1\n", "f.yaml").positions["a",] == Position(1, 1)


def test_windows_line_ends():
    assert parse_yaml(b"a: x\r\nb: y\r\n", "f.yaml").data == {"a": "x", "b": "y"}


@pytest.mark.parametrize("name", ["missing.yaml", "folder", "x" * 300, "null\0byte", "pipe"])
def test_paths_that_are_no_file(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ScenarioError) as caught:
        read_yaml(tmp_path / name)
    assert caught.value.problems[0].startswith(f"{tmp_path / name}:1:1: ")


def test_a_file_that_is_too_large(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_text("# " + "x" * MAX_BYTES)
    with pytest.raises(ScenarioError, match="at most 1048576 bytes"):
        read_yaml(path)
