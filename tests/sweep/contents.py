"""What a store holds, whatever the numbers of its rows."""

import sqlite3

from cosparse.flow.sweep.figures import METRICS
from cosparse.flow.sweep.store import RESULT_COLUMNS

_POINTS = "SELECT key, dataflow, {} FROM named ORDER BY key"
_SAMPLES = (
    "SELECT sweep.digest, number, key FROM sample JOIN sweep ON sweep.id = sweep "
    "JOIN point ON point.id = point ORDER BY 1, 2"
)


def contents(path):
    """(points by key with every column, samples by number). Raises where a key stands twice."""
    connection = sqlite3.connect(path)
    others = ("number", "dataflow", "diverged_seeds", *METRICS)
    columns = ", ".join(name for name in RESULT_COLUMNS if name not in others)
    points = connection.execute(_POINTS.format(columns)).fetchall()
    samples = connection.execute(_SAMPLES).fetchall()
    connection.close()
    assert len({key for key, *_ in points}) == len(points)
    return points, samples
