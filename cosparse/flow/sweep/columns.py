"""The columns of a sweep's points: those that every sweep has, and its own axes beside them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cosparse.spec import InputError
from cosparse.spec.errors import unknown_name

from .axes import ACCELERATOR, DATAFLOW, configuration, differing_fields, expand, short_name
from .database import guarded
from .figures import METRICS
from .store import RESULT_COLUMNS, Store
from .variants import value_at

_FIGURES = ("milliseconds", "energy_j", "lut", "bram36")
"""What tables show beside the axes."""


@dataclass(frozen=True)
class Columns:
    """definition: of the sweep, as the store has it."""

    definition: Mapping[str, Any]

    @cached_property
    def axes(self) -> dict[str, str]:
        """Column -> path of every axis that is not among RESULT_COLUMNS."""
        paths = self.definition["sweep"]["axes"]
        named = {short_name(path): path for path in paths if path != ACCELERATOR}
        return {name: path for name, path in named.items() if name not in RESULT_COLUMNS}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All columns, in the order of exports."""
        place = RESULT_COLUMNS.index(DATAFLOW) + 1
        return (*RESULT_COLUMNS[:place], *self.axes, *RESULT_COLUMNS[place:])

    def chosen(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Those columns, or all. Raises InputError for one that the sweep does not have."""
        for name in columns:
            if name not in self.names:
                raise InputError(unknown_name("column", name, self.names))
        return tuple(columns) or self.names

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """What a table shows: the axes, the fields that `set` derives, and the usual figures."""
        sweep, names = self.definition["sweep"], list[str]()
        for path in sweep["axes"]:
            names += self._fields() if path == ACCELERATOR else [short_name(path)]
        names += [short_name(path) for path in sweep.get("set", {})]
        return tuple(dict.fromkeys((*names, *_FIGURES, *METRICS, "diverged_seeds")))

    def _fields(self) -> list[str]:
        """The shape of the array; where several values share it, also what tells them apart."""
        values = expand(self.definition["sweep"]["axes"][ACCELERATOR])
        configs = [configuration(value) for value in values]
        shapes = {(one.rows, one.cols) for one in configs}
        return ["rows", "cols", *(differing_fields(configs) if len(shapes) < len(configs) else ())]

    def kind(self, name: str) -> type:
        """Of the values of an axis in `axes`: int, float or str."""
        found = expand(self.definition["sweep"]["axes"][self.axes[name]])
        values = [_plain(value) for value in (*found, value_at(self.definition, self.axes[name]))]
        kinds = {type(value) for value in values if value is not None}
        if kinds <= {int, float} and kinds:
            return int if kinds == {int} else float
        return str

    def rows(
        self, store: Store, sweep: int, columns: Sequence[str], condition: str = "TRUE"
    ) -> Iterator[tuple[Any, ...]]:
        """Rows by number. condition: SQL over the view `result`."""
        held = [name for name in columns if name not in self.axes]
        own = ("settings",) if len(held) < len(columns) else ()
        listed = ", ".join((*held, *own))
        query = f"SELECT {listed} FROM result WHERE sweep = ? AND ({condition}) ORDER BY number"
        if not own:  # a million rows, as SQLite gives them
            yield from store.rows(query, sweep)
            return
        known: dict[str, dict[str, Any]] = {}
        for *values, settings in store.rows(query, sweep):
            if settings not in known:
                known[settings] = self._axis_values(store, settings)
            row = dict(zip(held, values, strict=True)) | known[settings]
            yield tuple(row[name] for name in columns)

    def _axis_values(self, store: Store, settings: str) -> dict[str, Any]:
        """Of one workload; where an axis takes no part the scenario's own stands."""
        with guarded(store.path):
            given = json.loads(settings)
        return {
            name: _plain(given.get(path, value_at(self.definition, path)))
            for name, path in self.axes.items()
        }


def _plain(value: Any) -> Any:
    """A value that a table can hold; lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else value
