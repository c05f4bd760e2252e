"""The best dataflow by layer shape, on the fastest point of each model."""

from ...analysis import DataflowCell, dataflow_map
from ..blocks import Block, Figure, Section, Table, Text
from .configuration import axis_line
from .fastest import fastest, priced
from .points import SweepPoints

_LISTED = 40


def dataflow_section(points: SweepPoints) -> Section | None:
    blocks: list[Block] = []
    for model in dict.fromkeys(points.of_variant("model").tolist()):
        blocks += _model(points, model)
    if not blocks:
        return None
    text = (
        "The fastest point of each model, priced once more in both dataflows. Gain: cycles of the other "
        "dataflow over the better one's."
    )
    return Section("Best dataflow by layer shape (simulated)", (Text(text), *blocks))


def _model(points: SweepPoints, model: str) -> list[Block]:
    row = fastest(points, model)
    workload, config, timings = priced(points, row)
    cells = [cell for cell in dataflow_map(workload, timings) if cell.gain is not None]
    if not cells:
        return []
    count = sum(cell.winner == "OS" for cell in cells)
    text = (
        f"{model}, point {points.number[row]} ({axis_line(points, row)}): output-stationary is faster for "
        f"{count} of {len(cells)} shapes."
    )
    columns = ("Phase", "m", "k", "n", "Pattern", "Dataflow", "Cycles", "Gain", "Products")
    rows = tuple(
        (c.phase, c.m, c.k, c.n, c.pattern, c.winner, c.cycles, c.gain, c.products)
        for c in cells[:_LISTED]
    )
    caption = f"{len(rows)} of {len(cells)} shapes, the largest first"
    where = f"{model} on {config.rows} x {config.cols}, one mark a shape"
    return [Text(text), _figure(cells, where), Table(columns, rows, caption)]


def _figure(cells: list[DataflowCell], caption: str) -> Figure:
    data = []
    for flow in ("OS", "WS"):
        own = [cell for cell in cells if cell.winner == flow]
        data.append({
            "type": "scatter",
            "mode": "markers",
            "name": f"{flow} is faster",
            "x": [cell.m * cell.n for cell in own],
            "y": [cell.k for cell in own],
            "text": [_hover(cell) for cell in own],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"size": 9},
        })  # fmt: skip
    layout = {
        "xaxis": {"type": "log", "title": {"text": "outputs m x n"}},
        "yaxis": {"type": "log", "title": {"text": "length of the sum k"}},
    }
    return Figure(tuple(data), layout, caption)


def _hover(cell: DataflowCell) -> str:
    shape = f"{cell.phase} {cell.m} x {cell.k} x {cell.n}, {cell.pattern}"
    return f"{shape}<br>{cell.cycles:,} cycles, {cell.gain:.2f}x"
