"""Factorised methods: three claims of their papers, on small tasks, each with its interval.

    svd      W ~ S D is closer to trained weights than a truncated SVD of equal storage
    stf      the straight-through factorizer ends better than conventional fine-tuning
    guided   self-guided training ends better than plain training of the same structure, at equal steps

Every arm of stf is taken at the better of two learning rates, the same freedom for
all; those of guided train with one. Intervals: 95 %, paired by
seed, simultaneous over the arms of a study and task. Every run is kept in
benchmarks/results/factorized.json and not repeated.

Run: python benchmarks/factorized.py [svd] [stf] [guided] [--tasks digits-mlp,bytes-lm] [--seeds 8]
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from algos import METHODS, models, sparsify
from algos.data import load_data
from algos.factorized import pursuit, storage
from algos.factorized.structures import BlockShuffle, Dictionary, LowRank
from algos.factorized.views import as_matrix, as_rows
from algos.loop import Recipe, train
from algos.methods import Method
from algos.sparsified import outline
from cosparse.flow.statistics import half_widths
from cosparse.spec import NM

RESULTS = Path(__file__).parent / "results" / "factorized.json"
RATIO, PATTERN = 1 / 16, NM(1, 16)
"""Atoms of DSFormer as a share of min(in, out), and the pattern of its coefficients, where it is trained."""
SIZES = ((0.25, NM(1, 16)), (0.25, NM(2, 8)), (0.5, NM(2, 8)))
"""The same where it is compared with SVD."""


@dataclass(frozen=True)
class Task:
    """A network, how it is trained, and how fine-tuned; sign: of the metric that is better."""

    model: str
    data: str
    sign: int
    recipe: Recipe
    tuning: Recipe
    rates: tuple[float, ...]
    """Of fine-tuning."""
    exclude: tuple[str, ...] = ()
    """Layers that StructuredFFN leaves alone."""


def _digits(model: str) -> Task:
    return Task(model, "digits", 1, Recipe(epochs=20), Recipe(epochs=10), (0.03, 0.1))


def _language(steps: int) -> Recipe:
    return Recipe(epochs=None, steps=steps, batch=8, optimizer="adamw", lr=1e-3, weight_decay=0.01)


TASKS = {
    "digits-mlp": _digits("digits-mlp"),
    "digits-cnn": _digits("digits-cnn"),
    "bytes-lm": Task(
        "bytes-lm", "bytes", -1, _language(300), _language(150), (1e-3, 3e-3), ("*.attn.*",)
    ),
}


def _dsformer(training: Any, ratio: float = RATIO, **options: Any) -> Method:
    structure = Dictionary(ratio=ratio, training=training, **options)
    method: Method = replace(METHODS["dsformer"], structure=structure)
    return method


def _exact(method: Method) -> Method:
    """BP by the coefficients of FF: the exact gradient of D and of the input."""
    return replace(method, prunes_bp=False, reuses_ff_in_bp=True)


STF: dict[str, Method] = {
    "conventional": _exact(_dsformer("fixed")),
    "factor space": _exact(_dsformer("factors")),
    "factor space, BP grouped": _dsformer("factors"),
    "weight space": _exact(_dsformer("weight")),
}
LOW_RANK = {
    "low-rank": replace(METHODS["low-rank"], structure=LowRank(ratio=0.125)),
    "low-rank, guided": replace(METHODS["low-rank"], structure=LowRank(ratio=0.125, guided=True)),
}
BLOCK_SHUFFLE = {
    "block-shuffle": replace(METHODS["block-shuffle"], structure=BlockShuffle(blocks=4)),
    "block-shuffle, guided": replace(
        METHODS["block-shuffle"], structure=BlockShuffle(blocks=4, guided=True)
    ),
}
GUIDED = {"digits-mlp": LOW_RANK, "digits-cnn": BLOCK_SHUFFLE, "bytes-lm": LOW_RANK}
"""The structure that the paper finds better on such a task."""


class Runs:
    """Results by name, on disk after each."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def get(self, key: Sequence[object], compute: Callable[[], Any]) -> Any:
        name = " | ".join(map(str, key))
        if name not in self.kept:
            self.kept[name] = compute()
            RESULTS.write_text(json.dumps(self.kept, indent=1, sort_keys=True) + "\n")
            print(f"  {name}: {self.kept[name]}", flush=True)
        return self.kept[name]


class Trained:
    """The networks of a task: fresh ones, and dense ones trained when first asked for."""

    def __init__(self, task: Task) -> None:
        self.task, self.data = task, load_data(task.data)
        self._states: dict[int, dict[str, Tensor]] = {}

    @property
    def sample(self) -> Tensor:
        if self.data.task == "language":
            return torch.zeros(2, 128, dtype=torch.int64)
        return torch.from_numpy(self.data.x_train[:2])

    def fresh(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return models.build(self.task.model)

    def dense(self, seed: int) -> nn.Module:
        model = self.fresh(seed)
        if seed not in self._states:
            train(sparsify(model, "dense"), self.data, self.task.recipe, seed)
            self._states[seed] = {k: v.clone() for k, v in model.state_dict().items()}
        model.load_state_dict(self._states[seed])
        return model


# --- svd


def errors(model: nn.Module, ratio: float, pattern: NM, seed: int) -> dict[str, float]:
    """Relative errors of the fits and their storage, of all factorised weights together.

    SVD takes the better of two views of a convolution: a row an output, or an output and tap.
    """
    generator = torch.Generator().manual_seed(seed)
    method = _dsformer("weight", ratio, alternations=1)
    total = {"dictionary": 0.0, "svd": 0.0, "norm": 0.0, "bits": 0.0, "entries": 0.0}
    for name in outline(model, method, pattern).replaced:
        weight = model.get_parameter(f"{name}.weight").detach()
        rows, atoms = as_rows(weight), Dictionary(ratio).atoms(tuple(weight.shape), pattern)
        bits = storage.dictionary_bits(rows.shape[0], rows.shape[1], atoms, pattern)
        found = pursuit.factorize(rows, atoms, pattern, generator=generator)
        total["dictionary"] += float((rows - found.product).square().sum())
        total["svd"] += min(_tail(view, bits) for view in (rows, as_matrix(weight)))
        total["norm"] += float(weight.square().sum())
        total["bits"] += bits
        total["entries"] += weight.numel()
    fits = {fit: (total[fit] / total["norm"]) ** 0.5 for fit in ("dictionary", "svd")}
    return {**fits, "times smaller": 16 * total["entries"] / total["bits"]}


def _tail(matrix: Tensor, bits: int) -> float:
    """Squared error of the truncated SVD that takes at most so many bits."""
    rank = storage.rank_of_bits(matrix.shape[0], matrix.shape[1], bits)
    return float(torch.linalg.svdvals(matrix.double())[rank:].square().sum())


def study_svd(trained: Trained, runs: Runs, seeds: Sequence[int]) -> None:
    name = trained.task.model
    for ratio, pattern in SIZES:
        arm = f"{ratio:g} min(in, out) atoms, {pattern}"
        found = [
            runs.get(
                ("svd", name, arm, seed),
                partial(_errors_of, trained, ratio, pattern, seed),
            )
            for seed in seeds
        ]
        percent = [100 * (fit["dictionary"] / fit["svd"] - 1) for fit in found]
        report(name, "svd", {arm: percent}, -1, "% of SVD's error")
        print(
            f"  means: { ({key: round(mean(fit[key] for fit in found), 3) for key in found[0]}) }"
        )


def _errors_of(trained: Trained, ratio: float, pattern: NM, seed: int) -> dict[str, float]:
    return errors(trained.dense(seed), ratio, pattern, seed)


# --- stf and guided


def fine_tuned(trained: Trained, method: Method, rate: float, seed: int) -> float | None:
    model = trained.dense(seed)
    torch.manual_seed(seed)  # the same dictionary at the start of every arm
    sparse = sparsify(model, method, PATTERN, sample=trained.sample)
    return train(sparse, trained.data, replace(trained.task.tuning, lr=rate), seed).metric


def from_scratch(trained: Trained, method: Method, rate: float, seed: int) -> float | None:
    task = trained.task
    model = trained.fresh(seed)
    sparse = sparsify(model, method, exclude=task.exclude, sample=trained.sample)
    return train(sparse, trained.data, replace(task.recipe, lr=rate), seed).metric


@dataclass(frozen=True)
class Study:
    """Arms, what one run of an arm is, and the arm that each is compared with."""

    name: str
    arms: dict[str, Method]
    rates: tuple[float, ...]
    run: Callable[[Trained, Method, float, int], float | None]
    against: dict[str, str]


def studies(name: str) -> tuple[Study, ...]:
    task, (plain, guided) = TASKS[name], GUIDED[name]
    skipped = (
        ("weight space",) if task == "bytes-lm" else ()
    )  # its pursuit takes longer than a step
    arms = {arm: method for arm, method in STF.items() if arm not in skipped}
    return (
        Study("stf", arms, task.rates, fine_tuned, dict.fromkeys(list(arms)[1:], "conventional")),
        Study("guided", GUIDED[name], (task.recipe.lr,), from_scratch, {guided: plain}),
    )


def compare(study: Study, trained: Trained, runs: Runs, seeds: Sequence[int]) -> None:
    """Run every arm at every rate, take each at its better one, report differences."""
    task = trained.task
    rates, metrics = {}, {}
    for arm, method in study.arms.items():
        found = {
            rate: [
                runs.get(
                    (study.name, task.model, arm, rate, seed),
                    partial(study.run, trained, method, rate, seed),
                )
                for seed in seeds
            ]
            for rate in study.rates
        }
        rates[arm] = max(study.rates, key=lambda rate: _score(found[rate], task.sign))
        metrics[arm] = found[rates[arm]]
    pairs = {
        arm: [a - b for a, b in zip(metrics[arm], metrics[base], strict=True) if a and b]
        for arm, base in study.against.items()
    }
    report(task.model, study.name, pairs, task.sign, "points" if task.sign > 0 else "bits per byte")
    for arm, values in metrics.items():
        done = [value for value in values if value is not None]
        print(f"  {arm}: {mean(done):.3f} at lr {rates[arm]:g}, {len(done)} of {len(values)} ended")


def _score(metrics: Sequence[float | None], sign: int) -> float:
    """Mean, larger is better; a run that diverged makes it the worst."""
    return mean(float("-inf") if metric is None else sign * metric for metric in metrics)


def report(task: str, study: str, pairs: dict[str, list[float]], sign: int, unit: str) -> None:
    for arm, width in half_widths(pairs).items():
        middle = mean(pairs[arm])
        verdict = "not resolved"
        if width is not None and abs(middle) > width:
            verdict = "holds" if sign * middle > 0 else "not so here"
        shown = "?" if width is None else f"{width:.3f}"
        seeds = len(pairs[arm])
        print(f"{study}, {task}: {arm}: {middle:+.3f} +- {shown} {unit}, {seeds} seeds: {verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", nargs="*", default=["svd", "stf", "guided"])
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    runs, seeds = Runs(), range(given.seeds)
    for name in given.tasks.split(","):
        trained = Trained(TASKS[name])
        if "svd" in given.studies:
            study_svd(trained, runs, seeds)
        for study in studies(name):
            if study.name in given.studies:
                compare(study, trained, runs, seeds)


if __name__ == "__main__":
    main()
