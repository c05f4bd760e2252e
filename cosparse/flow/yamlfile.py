"""YAML as plain data, with the place in the file where each key stands.

Plain scalars follow the core schema of YAML 1.2, as users of a scenario expect:

    numbers    10  010 (= 10)  0o10 (= 8)  0x10 (= 16)  1e6  1E-3  .5  .inf  .nan
    booleans   true  false
    null       null  ~  and nothing at all
    text       everything else: NO, on, yes, 2:8, 12:30, 2026-11-21

Refused, each with file:line:column: duplicate keys, keys that are not text, merge keys, tags beyond
the core schema, aliases inside their own anchor, and files beyond the limits below.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cosparse.spec.errors import ScenarioError

from .document import (
    MAX_DEPTH,
    MAX_INTEGER,
    MAX_VALUES,
    START,
    TOO_DEEP,
    TOO_LARGE,
    Document,
    KeyPath,
    Position,
    Problem,
)

MAX_BYTES = 1 << 20


def read_yaml(path: Path) -> Document:
    """Read a YAML file; what is wrong with single keys is left in `problems`.

    Raises ScenarioError when the file cannot be read, is not UTF-8 or not YAML, or its root is not
    a mapping.
    """
    return parse_yaml(_read_bytes(path), str(path))


def parse_yaml(source: bytes | str, file: str) -> Document:
    """`read_yaml` of a text in memory; `file` is its name in messages."""
    text = _decode(source, file) if isinstance(source, bytes) else source
    try:
        _check_depth(text, file)
        root = yaml.compose(text, Loader=_CoreLoader)
    except yaml.YAMLError as error:
        raise _single(file, _yaml_position(text, error), _yaml_message(error)) from None
    if not isinstance(root, yaml.MappingNode):
        got = "an empty file" if root is None else _NODE_NAMES[type(root)]
        raise _single(file, START, f"expected a mapping of keys, got {got}")
    builder = _Builder(file)
    data = builder.build(root, (), frozenset())
    return Document(file, data, builder.positions, tuple(builder.problems), text)


# --- files and text


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _single(str(path), START, "expected a YAML file, got a directory")
        if path.exists() and not path.is_file():
            raise _single(str(path), START, "expected a YAML file, got a device or a pipe")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _single(str(path), START, f"cannot read the file: {reason}") from None
    if len(content) > MAX_BYTES:
        raise _single(str(path), START, f"expected at most {MAX_BYTES} bytes of YAML, got more")
    return content


def _decode(source: bytes, file: str) -> str:
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = _position_of_byte(source, error.start)
        got = f"byte 0x{source[error.start]:02x}"
        raise _single(file, position, f"expected UTF-8 text, got {got}") from None


def _position_of_byte(source: bytes, offset: int) -> Position:
    before = source[:offset].decode("utf-8", errors="replace")
    return Position(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _single(file: str, position: Position, message: str) -> ScenarioError:
    return ScenarioError([f"{file}:{position.line}:{position.column}: {message}"])


# --- YAML


class _CoreLoader(yaml.CSafeLoader):
    """Composes nodes with the core schema's tags in place of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's interface; filled below


_TAG = "tag:yaml.org,2002:"
_CORE_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
for _name, _form in _CORE_SCALARS.items():
    _CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_form})\Z"), None)

_NODE_NAMES = {yaml.ScalarNode: "a single value", yaml.SequenceNode: "a list"}


def _check_depth(text: str, file: str) -> None:
    """Refuse deep nesting before composing, which recurses in C."""
    depth = 0
    for event in yaml.parse(text, Loader=_CoreLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise _single(file, _position(event.start_mark), TOO_DEEP)


def _position(mark: Any) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _yaml_position(text: str, error: yaml.YAMLError) -> Position:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        end = _position_of_byte(text.rstrip("\r\n").encode(), MAX_BYTES)
        return min(end, _position(error.problem_mark))
    offset = getattr(error, "position", 0)
    return _position_of_byte(text.encode("utf-8", errors="replace"), offset)


def _yaml_message(error: yaml.YAMLError) -> str:
    """Libyaml's words in the form of ours."""
    if isinstance(error, yaml.MarkedYAMLError):
        parts = [part for part in (error.context, error.problem) if part]
        hint = " (YAML indents with spaces, not tabs)" if "start any token" in parts[-1] else ""
        return f"expected YAML, got an error {': '.join(parts)}{hint}"
    return f"expected YAML, got text that is not: {getattr(error, 'reason', error)}"


def _integer(text: str) -> int:
    bases = {"0o": 8, "0x": 16}
    value = int(text, bases.get(text[:2], 10))
    if abs(value) > MAX_INTEGER:
        raise ValueError(text)
    return value


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


_SCALARS: dict[str, Callable[[str], Any]] = {
    _TAG + "str": str,
    _TAG + "int": _integer,
    _TAG + "float": _float,
    _TAG + "bool": _boolean,
    _TAG + "null": lambda _text: None,
}


class _Builder:
    """Turns nodes into plain data; collects positions and problems on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.positions: dict[KeyPath, Position] = {}
        self.problems: list[Problem] = []
        self.values = 0

    def build(self, node: yaml.Node, path: KeyPath, around: frozenset[int]) -> Any:
        """`around` holds the ids of the nodes that contain this one."""
        self._check_size(node, path)
        if id(node) in around:
            self._refuse(node, path, "expected an alias of something else, got its own anchor")
            return None
        inside = around | {id(node)}
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path, inside)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return self._sequence(node, path, inside)
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, path)
        self._refuse(node, path, f"expected plain data, got the tag '{node.tag}'")
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath, around: frozenset[int]) -> Any:
        data: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            position = _position(key_node.start_mark)
            if key in data:
                message = f"duplicate key '{key}', first on line {first[key]}"
                self.problems.append(Problem((*path, key), message, position))
                continue
            first[key] = position.line
            self.positions[*path, key] = position
            data[key] = self.build(value_node, (*path, key), around)
        return data

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _TAG + "str":
            got = _NODE_NAMES.get(type(node), "a mapping")
            shown = f"'{node.value}'" if isinstance(node, yaml.ScalarNode) else got
            self._refuse(node, path, f"expected a key of text, got {shown}")
        elif node.value == "<<":
            self._refuse(node, path, "expected every key written out, got the merge key '<<'")
        else:
            return str(node.value)
        return None

    def _sequence(self, node: yaml.SequenceNode, path: KeyPath, around: frozenset[int]) -> Any:
        items = []
        for index, item in enumerate(node.value):
            self.positions[*path, index] = _position(item.start_mark)
            items.append(self.build(item, (*path, index), around))
        return items

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        try:
            return _SCALARS[node.tag](node.value)
        except (ValueError, KeyError):
            kind = node.tag.removeprefix(_TAG)
            self._refuse(node, path, f"expected a usable {kind}, got '{node.value[:40]}'")
            return None

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(path, message, _position(node.start_mark)))

    def _check_size(self, node: yaml.Node, path: KeyPath) -> None:
        self.values += 1
        position = _position(node.start_mark)
        if len(path) > MAX_DEPTH:
            raise _single(self.file, position, TOO_DEEP)
        if self.values > MAX_VALUES:
            raise _single(self.file, position, TOO_LARGE)
