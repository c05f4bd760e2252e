"""Expressions over the columns of many points: constraints, conditions, derived fields, objectives.

Python's own syntax, read by its parser and never executed as code: numbers, text, names, arithmetic,
comparisons, `and`, `or`, `not`, `in`, and the functions of FUNCTIONS. A name stands for a column, one
value a point; `VU9P.lut` for a constant with a dot in its name.
"""

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosparse.spec.errors import InputError, unknown_name

MAX_LENGTH = 500
"""Characters of an expression."""

Columns = Mapping[str, Any]
"""Name -> array of one value a point, or one value for all."""

_Node = Callable[[Columns], Any]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": lambda *values: _reduced(np.minimum, values),
    "max": lambda *values: _reduced(np.maximum, values),
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "log2": np.log2,
    "sqrt": np.sqrt,
}

_OF_MANY = ("min", "max")
"""Functions of any number of values; the others take one."""

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, power: np.power(np.asarray(base, np.float64), power),
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda left, right: np.isin(left, right),
    ast.NotIn: lambda left, right: ~np.isin(left, right),
}


@dataclass(frozen=True)
class Expression:
    """text: as the user wrote it. names: the columns that it reads."""

    text: str
    names: frozenset[str]
    _root: _Node

    def __call__(self, columns: Columns) -> Any:
        """One value a point. Raises InputError where the values do not go together."""
        try:
            with np.errstate(all="ignore"):
                return self._root(columns)
        except (TypeError, ValueError, ArithmeticError, np.exceptions.DTypePromotionError) as error:
            raise InputError(f"'{self.text}': {error}") from error

    def mask(self, columns: Columns, count: int) -> Any:
        """(count,) where it holds. Raises InputError where it is text."""
        found = np.asarray(self(columns))
        if found.dtype.kind not in "biuf":
            raise InputError(f"'{self.text}' gives text, expected a condition such as `rows > 4`")
        return np.broadcast_to(found.astype(bool), count)


def parse(text: str, names: Collection[str]) -> Expression:
    """Read an expression over `names`. Raises InputError that says what is wrong and what is valid."""
    if len(text) > MAX_LENGTH:
        raise InputError(f"expected at most {MAX_LENGTH} characters, got {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        reader = _Reader(frozenset(names))
        root = reader.read(tree)
    except SyntaxError as error:
        raise InputError(f"'{text}': {error.msg} at character {error.offset}") from None
    except RecursionError:
        raise InputError("expected less nesting") from None
    return Expression(text.strip(), frozenset(reader.met), root)


def _wide(values: Any) -> Any:
    """Whole numbers as float64: products of them leave the 64-bit integers, and wrap around."""
    array = np.asarray(values)
    return array.astype(np.float64) if array.dtype.kind in "iu" else values


class _Reader:
    """Turns a syntax tree into functions of the columns."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self.met: list[str] = []

    def read(self, node: ast.AST) -> _Node:
        """A part that names no column is worked out at once."""
        before = len(self.met)
        made = self._made(node)
        if len(self.met) == before and isinstance(node, ast.BinOp | ast.Call):
            _check_constant(made, node)
        return made

    def _made(self, node: ast.AST) -> _Node:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            value = node.value
            return lambda _: value
        if isinstance(node, ast.Name | ast.Attribute):
            return self._column(_dotted(node))
        if isinstance(node, ast.UnaryOp):
            return self._unary(node)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            _check_operands(node)
            return _joined(_BINARY[type(node.op)], self.read(node.left), self.read(node.right))
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return _folded(join, [self.read(value) for value in node.values])
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise InputError(f"'{ast.unparse(node)}' is not a part of these expressions")

    def _column(self, name: str) -> _Node:
        if name not in self._names:
            raise InputError(unknown_name("name", name, sorted(self._names)))
        self.met.append(name)
        return lambda columns: _wide(columns[name])

    def _unary(self, node: ast.UnaryOp) -> _Node:
        inner = self.read(node.operand)
        if isinstance(node.op, ast.Not):
            return lambda columns: np.logical_not(inner(columns))
        if isinstance(node.op, ast.USub):
            return lambda columns: -inner(columns)
        raise InputError(f"'{ast.unparse(node)}' is not a part of these expressions")

    def _comparison(self, node: ast.Compare) -> _Node:
        for kind in node.ops:
            if type(kind) not in _COMPARISONS:
                raise InputError(f"'{ast.unparse(node)}' is not a part of these expressions")
        sides = [self.read(node.left)]
        for kind, side in zip(node.ops, node.comparators, strict=True):
            inside = isinstance(kind, ast.In | ast.NotIn)
            sides.append(self._members(side) if inside else self.read(side))
        parts = [
            _joined(_alike(_COMPARISONS[type(kind)]), left, right)
            for kind, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True)
        ]
        return _folded(np.logical_and, parts)

    def _members(self, node: ast.AST) -> _Node:
        """What may stand behind `in`: values in brackets."""
        if not isinstance(node, ast.Tuple | ast.List) or not node.elts:
            raise InputError(f"expected values in brackets behind 'in', got {ast.unparse(node)}")
        items = [self.read(item) for item in node.elts]
        return lambda columns: [item(columns) for item in items]

    def _call(self, node: ast.Call) -> _Node:
        name = _dotted(node.func)
        if name not in FUNCTIONS:
            raise InputError(unknown_name("function", name, FUNCTIONS))
        if not node.args or node.keywords:
            raise InputError(f"'{ast.unparse(node)}': expected values between the brackets")
        if name not in _OF_MANY and len(node.args) != 1:
            raise InputError(f"'{ast.unparse(node)}': expected one value, got {len(node.args)}")
        function, arguments = FUNCTIONS[name], [self.read(item) for item in node.args]
        return lambda columns: function(*(item(columns) for item in arguments))


def _check_operands(node: ast.BinOp) -> None:
    """Raises InputError for text and lists, which Python would repeat and join."""
    for side in (node.left, node.right):
        text = isinstance(side, ast.Constant) and isinstance(side.value, str)
        if text or isinstance(side, ast.Tuple | ast.List):
            raise InputError(f"expected a number in '{ast.unparse(node)}', got {ast.unparse(side)}")


def _check_constant(node: _Node, source: ast.AST) -> None:
    """Raises InputError for 1 / 0 and what is too large for a number."""
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(node({}), np.float64)
        good = bool(np.isfinite(value).all())
    except (TypeError, ValueError, ArithmeticError):
        good = False
    if not good:
        raise InputError(f"'{ast.unparse(source)}' is no finite number")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise InputError(f"'{ast.unparse(node)}' is not a part of these expressions")


def _alike(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A comparison that refuses text beside numbers, which NumPy would compare as text."""

    def checked(left: Any, right: Any) -> Any:
        sides = [left, *(right if isinstance(right, list) else [right])]
        if len({np.asarray(side).dtype.kind in "US" for side in sides}) > 1:
            raise TypeError("expected numbers beside numbers or text beside text, got both")
        return compare(left, right)

    return checked


def _joined(join: Callable[[Any, Any], Any], left: _Node, right: _Node) -> _Node:
    return lambda columns: join(left(columns), right(columns))


def _folded(join: Any, parts: list[_Node]) -> _Node:
    return lambda columns: _reduced(join, [part(columns) for part in parts])


def _reduced(join: Any, values: Any) -> Any:
    first, *rest = values
    for value in rest:
        first = join(first, value)
    return first
