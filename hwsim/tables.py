"""Figures with a range and a source, read from YAML tables that a user may replace."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from cosparse.spec.errors import InputError, unknown_name

BASES = ("literature", "our estimate")


@dataclass(frozen=True)
class Figure:
    """One number with low <= value <= high, and what it rests on.

    basis: `literature` where a publication gives the number for this very thing, else `our
    estimate`, with `source` saying from what.
    """

    value: float
    low: float
    high: float
    unit: str
    basis: str
    source: str
    technology: str

    @classmethod
    def read(cls, where: str, data: Any) -> Self:
        """Read one entry of a table. where: file and key. Raises InputError."""
        names = [field.name for field in fields(cls)]
        check_keys(where, data, names)
        for name in ("value", "low", "high"):
            if type(data[name]) not in (int, float) or not 0 <= data[name] < float("inf"):
                raise InputError(f"{where}.{name}: expected a number >= 0, got {data[name]!r}")
        for name in ("unit", "basis", "source", "technology"):
            if not isinstance(data[name], str) or not data[name]:
                raise InputError(f"{where}.{name}: expected text, got {data[name]!r}")
        if data["basis"] not in BASES:
            raise InputError(f"{where}.basis: {unknown_name('basis', data['basis'], BASES)}")
        if not data["low"] <= data["value"] <= data["high"]:
            got = f"{data['low']}, {data['value']}, {data['high']}"
            raise InputError(f"{where}: expected low <= value <= high, got {got}")
        return cls(**data)


def read_table(path: Path, schema: int, keys: Collection[str]) -> dict[str, Any]:
    """A YAML mapping of exactly `keys` and its schema. Raises InputError, naming file and key."""
    import yaml

    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise InputError(f"{path}: cannot read a table: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a YAML table: {error}") from None
    check_keys(str(path), data, ["schema", *keys])
    if data["schema"] != schema:
        raise InputError(f"{path}: expected a table of schema {schema}, got {data['schema']!r}")
    return dict(data)


def check_keys(where: str, data: Any, names: Collection[str]) -> None:
    """Refuse what is not a mapping with exactly these keys. Raises InputError."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: expected a mapping, got {data!r}")
    for key in data:
        if key not in names:
            raise InputError(f"{where}: {unknown_name('key', key, names)}")
    missing = [name for name in names if name not in data]
    if missing:
        raise InputError(f"{where}: missing key '{missing[0]}' (expected: {', '.join(names)})")
