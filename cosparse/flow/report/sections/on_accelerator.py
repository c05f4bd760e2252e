"""The training on the accelerator beside the same training in PyTorch."""

from typing import Any

from ..blocks import Section, Table, Text
from ..facts import EXECUTORS, mean_difference, paired
from ..figures import lines
from ..format import signed


def on_accelerator_section(document: dict[str, Any]) -> Section | None:
    trained = document["on_accelerator"]
    if trained is None:
        return None
    step = trained["programs"]["step"]
    text = (
        f"The same training in FP16 on {trained['accelerator']}: initial weights, batches and learning "
        f"rates are PyTorch's, masters and momenta stay FP32. A step is one program of "
        f"{step['instructions']:,} instructions and {step['cycles']:,} cycles (simulated): BP, WU, "
        "update and packed copies, then FF of the next batch. The host computes softmax, loss and the "
        "scaled gradient of the logits."
    )
    blocks = [Text(text), _table(document, trained), _curves(document, trained)]
    if trained["rtl"] is not None:
        blocks.append(Text(_rtl(trained["rtl"])))
    return Section("Training on the accelerator", tuple(blocks))


def _table(document: dict[str, Any], trained: dict[str, Any]) -> Table:
    rows = []
    for executor in dict.fromkeys(run["executor"] for run in trained["runs"]):
        for seed, own, other in paired(document, executor):
            difference = None if other is None else own - other
            torch = "diverged" if other is None else f"{other:.2f}"
            rows.append((EXECUTORS[executor], str(seed), f"{own:.2f}", torch, signed(difference)))
        mean = signed(mean_difference(document, executor))
        rows.append((EXECUTORS[executor], "mean", "", "", mean))
    undone = sum(run["undone"] for run in trained["runs"])
    return Table(
        ("Executor", "Seed", "Accuracy, FP16", "PyTorch, FP32", "Difference"),
        tuple(rows),
        f"Percent of the test data, measured. Steps undone after an overflow: {undone}.",
    )


def _curves(document: dict[str, Any], trained: dict[str, Any]) -> Any:
    first, train = trained["runs"][0]["seed"], document["scenario"]["train"]
    series = {}
    for run in trained["runs"]:
        if run["seed"] == first:
            steps = list(range(1, len(run["losses"]) + 1))
            series[EXECUTORS[run["executor"]]] = (steps, run["losses"])
    for run in document["training"]["runs"]:
        if run["seed"] == first and run["method"] == train["method"]:
            points = run["history"]
            series["PyTorch, FP32"] = ([p["step"] for p in points], [p["loss"] for p in points])
    return lines(
        series,
        x_axis="step",
        y_axis="training loss",
        caption=f"Training loss of seed {first}: on the accelerator every step, in PyTorch every "
        "twentieth of the training (measured)",
    )


def _rtl(rtl: dict[str, Any]) -> str:
    return (
        f"RTL: {rtl['programs']:,} programs in {rtl['cycles']:,} counted cycles, as many as predicted; "
        f"{rtl['bytes_compared']:,} bytes of memory compared with the machine's, none differs; "
        f"{rtl['seconds']:.0f} s of wall time."
    )
