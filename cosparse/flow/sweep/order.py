"""The order in which axes and derived fields take their values: what reads comes after what writes."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from cosparse.spec.errors import InputError
from hwsim.config_vector import CONFIG_FIELDS

from .axes import ACCELERATOR, Axis
from .expressions import Expression


def evaluation_order(
    axes: Sequence[Axis],
    conditions: Mapping[str, Expression],
    derived: Mapping[str, Expression],
) -> list[Axis | str]:
    """Axes, and names of derived fields. conditions: by the path of an axis.

    The order of the file decides nothing. An expression that reads its own name reads the scenario's own
    value. Raises InputError where expressions read each other in a ring.
    """
    writers = _writers(axes, derived)
    reads = {axis: conditions[axis.path].names for axis in axes if axis.path in conditions}
    order: TopologicalSorter[Axis | str] = TopologicalSorter()
    whole = [axis for axis in axes if axis.path == ACCELERATOR]
    nodes: list[Axis | str] = [*axes, *derived]
    for node in nodes:
        names = derived[node].names if isinstance(node, str) else reads.get(node, frozenset())
        before = [writer for name in sorted(names) for writer in writers.get(name, ())]
        if isinstance(node, str) or node.is_field:
            before += whole
        order.add(node, *(one for one in before if one != node))
    try:
        return list(order.static_order())
    except CycleError as error:
        ring = " -> ".join(one if isinstance(one, str) else one.name for one in error.args[1][::-1])
        raise InputError(
            f"expected 'when' and 'set' that do not read each other, got {ring}"
        ) from None


def _writers(
    axes: Sequence[Axis], derived: Mapping[str, Expression]
) -> dict[str, list[Axis | str]]:
    """Name -> what gives it its value."""
    writers: dict[str, list[Axis | str]] = {}
    for axis in axes:
        for name in CONFIG_FIELDS if axis.path == ACCELERATOR else (axis.name,):
            writers.setdefault(name, []).append(axis)
    for name in derived:
        writers.setdefault(name, []).append(name)
    return writers
