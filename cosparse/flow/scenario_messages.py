"""What pydantic finds wrong with a key, in the words of the docs."""

from typing import Any

from pydantic import ValidationError

from cosparse.spec.errors import nearest

from .document import KeyPath, Problem
from .scenario_schema import SCHEMA, keys_of


def key_problems(error: ValidationError) -> list[Problem]:
    """One problem for each key that breaks its own rule."""
    return [_problem(detail) for detail in error.errors(include_url=False)]


def _problem(detail: Any) -> Problem:
    path: KeyPath = detail["loc"]
    kind, context, got = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        return Problem(path, _unknown_key(path))
    if kind == "value_error":
        return Problem(path, str(context["error"]))
    words = _EXPECTED.get(kind)
    expected = words.format(**context) if words else detail["msg"].removeprefix("Input should be ")
    return Problem(path, f"expected {expected}, got {show(got)}")


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "string_too_short": "text",
    "string_unicode": "text",
    "string_pattern_mismatch": "up to 64 letters, digits, '.', '-' or '_', the first no sign",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le}",
}
"""What pydantic's error types mean in the words of the docs."""


def _unknown_key(path: KeyPath) -> str:
    section = tuple(part for part in path[:-1] if isinstance(part, str))
    key, valid = str(path[-1]), keys_of(SCHEMA[section])
    hint = _elsewhere(key) or nearest(key, valid)
    return f"unknown key '{key}'{hint} (valid: {', '.join(valid)})"


def _elsewhere(key: str) -> str:
    """The hint for a key that stands in the wrong section."""
    for path, section in SCHEMA.items():
        if key in keys_of(section):
            return f", did you mean '{'.'.join((*path, key))}'?"
    return ""


def show(value: object) -> str:
    """A value as a message shows it: short, in YAML's words."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"a mapping of {', '.join(map(str, list(value)[:3]))}"[:60] if value else "{}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
