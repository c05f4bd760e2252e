"""The training loop: batches, schedule, metrics and divergence, against what is worked by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from algos.data import Dataset
from algos.loop import (
    OPTIMIZERS,
    Recipe,
    batches,
    evaluate,
    learning_rate_factor,
    step_count,
    train,
)
from algos.snapshot import SnapshotFile
from algos.sparsified import sparsify
from cosparse.spec import CorruptFileError, UnsupportedError

RECIPE = Recipe(epochs=None, steps=6, batch=4, lr=0.1, momentum=0.0, weight_decay=0.0)


def labelled(samples=20, features=16, classes=4, seed=0):
    random = np.random.default_rng(seed)
    x = random.standard_normal((samples, features)).astype(np.float32)
    y = random.integers(0, classes, samples)
    return Dataset("made up", "classification", x, y, x[:8], y[:8], classes)


def stream(length=4000):
    tokens = np.random.default_rng(0).integers(0, 256, length).astype(np.uint8)
    return Dataset("made up", "language", tokens, tokens, tokens, tokens, 256)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))


def trained(method="dense", recipe=RECIPE, data=None, seed=0):
    sparsified = sparsify(network(seed), method, "2:8")
    return sparsified, train(sparsified, data or labelled(), recipe, seed)


# --- batches


def order(data, batch, steps, seed):
    """Indices of the samples, found again by their contents."""
    index = {row.tobytes(): position for position, row in enumerate(data.x_train)}
    return [
        [index[row.numpy().tobytes()] for row in x] for x, _ in batches(data, batch, steps, seed, 0)
    ]


def test_the_seed_alone_decides_the_order():
    data = labelled()
    first = order(data, 4, 12, seed=3)
    torch.manual_seed(99)
    assert order(data, 4, 12, seed=3) == first
    assert order(data, 4, 12, seed=4) != first
    assert order(data, 4, 5, seed=3) == first[:5]


def test_an_epoch_sees_every_sample_once_and_drops_the_incomplete_batch():
    batches = order(labelled(22), 4, 10, seed=0)
    assert [len(batch) for batch in batches] == [4] * 10
    for epoch in (batches[:5], batches[5:]):
        seen = [index for batch in epoch for index in batch]
        assert len(set(seen)) == len(seen) == 20


def test_fewer_samples_than_a_batch():
    batches = order(labelled(3), 8, 4, seed=0)
    assert [sorted(batch) for batch in batches] == [[0, 1, 2]] * 4


def test_labels_stay_with_their_samples():
    data = labelled()
    label_of = {row.tobytes(): label for row, label in zip(data.x_train, data.y_train, strict=True)}
    for x, y in batches(data, 4, 10, 0, 0):
        assert [label_of[row.numpy().tobytes()] for row in x] == y.tolist()


def test_language_targets_are_the_next_bytes():
    data = stream()
    text = data.x_train.tobytes()
    for x, y in batches(data, 3, 5, 0, 16):
        assert x.shape == y.shape == (3, 16) and x.dtype == torch.int64
        for inputs, targets in zip(x.tolist(), y.tolist(), strict=True):
            assert inputs[1:] == targets[:-1]
            assert bytes([*inputs, targets[-1]]) in text


@pytest.mark.parametrize(
    ("recipe", "samples", "steps"),
    [
        (Recipe(epochs=3, batch=4), 22, 15),
        (Recipe(epochs=3, batch=64), 22, 3),
        (Recipe(epochs=0), 22, 0),
        (Recipe(epochs=None, steps=7), 22, 7),
    ],
)
def test_step_count(recipe, samples, steps):
    assert step_count(recipe, labelled(samples)) == steps


# --- schedule


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_warm_up_is_linear_over_the_first_twentieth(schedule):
    factors = [learning_rate_factor(schedule, step, 100) for step in range(6)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[5] == 1.0


def test_cosine_ends_at_zero_and_passes_a_half_in_the_middle():
    assert learning_rate_factor("cosine", 100, 100) == pytest.approx(0)
    assert learning_rate_factor("cosine", 5 + 95 // 2, 95 + 4) == pytest.approx(0.5, abs=0.01)
    factors = [learning_rate_factor("cosine", step, 100) for step in range(5, 101)]
    assert factors == sorted(factors, reverse=True)
    assert factors[30] == pytest.approx((1 + math.cos(math.pi * 30 / 95)) / 2)


def test_constant_stays():
    assert {learning_rate_factor("constant", step, 100) for step in range(5, 101)} == {1.0}


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_a_step_at_full_rate(steps):
    assert learning_rate_factor("cosine", 0, steps) == 1.0


def test_unknown_names():
    with pytest.raises(UnsupportedError, match="cosine"):
        learning_rate_factor("linear", 50, 100)
    with pytest.raises(UnsupportedError, match="did you mean 'sgd'"):
        trained(recipe=replace(RECIPE, optimizer="sgdd"))


# --- training


def test_dense_training_is_plain_gradient_descent():
    """The same steps written out in NumPy float64 on a linear model."""
    data = labelled()
    torch.manual_seed(0)
    model = nn.Linear(16, 4, bias=False)
    weight = model.weight.detach().double().numpy().copy()
    recipe = replace(RECIPE, weight_decay=0.01, schedule="constant")
    train(sparsify(model, "dense"), data, recipe, 5)
    for x, y in batches(data, 4, 6, 5, 0):
        inputs = x.double().numpy()
        logits = inputs @ weight.T
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        gradient = (shares - np.eye(4)[y.numpy()]).T @ inputs / len(y)
        weight -= 0.1 * (gradient + 0.01 * weight)
    np.testing.assert_allclose(model.weight.detach().numpy(), weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["bdwp", "sr-ste", "sdgp", "sdwp"])
def test_methods_start_from_the_same_weights_and_see_the_same_first_batch(method):
    """Without steps of any size the weights are those of the dense run; FF-dense losses agree."""
    still = replace(RECIPE, lr=1e-30, steps=1, decay=0.0)
    dense, dense_result = trained("dense", still)
    other, result = trained(method, still)
    for name, tensor in dense.model.state_dict().items():
        assert other.model.state_dict()[name].equal(tensor)
    same_loss = result.history[0]["loss"] == pytest.approx(dense_result.history[0]["loss"])
    assert same_loss == (method in ("sdgp", "sdwp"))  # these prune nothing in FF


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_loss_falls(optimizer):
    recipe = Recipe(epochs=None, steps=100, batch=20, optimizer=optimizer, lr=0.02)
    _, result = trained("bdwp", recipe)
    losses = [point["loss"] for point in result.history]
    assert losses[-1] < 0.7 * losses[0]
    assert result.history[-1]["step"] == result.steps == 100
    assert len(losses) == 20


def test_equal_seeds_give_equal_runs():
    (one, first), (two, second) = trained("bdwp"), trained("bdwp")
    assert replace(first, seconds=0.0) == replace(second, seconds=0.0)
    assert all(two.model.state_dict()[k].equal(v) for k, v in one.model.state_dict().items())


def test_progress_counts_every_step():
    seen = []
    sparsified = sparsify(network(), "dense")
    train(sparsified, labelled(), RECIPE, 0, progress=lambda *row: seen.append(row[:2]))
    assert seen == [(step, 6) for step in range(1, 7)]


def test_the_decay_is_gone_after_training():
    sparsified, _ = trained("sr-ste")
    optimizer = torch.optim.SGD(sparsified.model.parameters(), lr=1.0)
    before = sparsified.model[0].weight.detach().clone()
    sparsified.model[0].weight.grad = torch.zeros_like(before)
    optimizer.step()
    assert sparsified.model[0].weight.equal(before)


# --- divergence


def test_a_loss_that_is_not_finite_ends_the_run():
    _, result = trained(recipe=replace(RECIPE, lr=1e30, steps=50))
    assert result.metric is None
    assert result.steps < 50
    assert all(math.isfinite(point["loss"]) for point in result.history)


def test_a_stopped_run_says_where_and_has_the_last_good_weights():
    """The weights overflow in step 8 of 40: its snapshot is no good one, that of step 6 is."""
    sparsified = sparsify(network(), "bdwp", "2:8")
    states = {}

    def observe(step, seen):
        states[step] = {key: value.clone() for key, value in seen.model.state_dict().items()}
        if step == 8:
            seen.model[0].weight.grad.fill_(torch.inf)

    result = train(sparsified, labelled(), replace(RECIPE, steps=40), 0, observe=observe)
    assert result.metric is None and result.steps == 9
    told = (
        "the loss was nan at step 9; the weights are those after step 6, the last good checkpoint"
    )
    assert result.stopped.startswith(told)
    for key, value in sparsified.model.state_dict().items():
        assert value.equal(states[7][key])


@pytest.mark.parametrize(
    "method", ["dense", "mvue", "s-ste", "pgf", "sr-ste", "dsformer", "random"]
)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, method, optimizer):
    recipe = Recipe(epochs=None, steps=24, batch=4, optimizer=optimizer, lr=0.01)

    def model():
        torch.manual_seed(0)
        built = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 4))
        return sparsify(built, method, "2:8", include=["*"])

    def killed(step, sparsified):
        if step == 17:
            raise KeyboardInterrupt

    whole = model()
    expected = train(whole, labelled(), recipe, 0)
    file = SnapshotFile(tmp_path / "run.pt", 5, "this run")
    with pytest.raises(KeyboardInterrupt):
        train(model(), labelled(), recipe, 0, observe=killed, snapshots=file)
    assert file.read().step == 15
    assert SnapshotFile(file.path, 5, "another run").read() is None
    resumed = model()
    torch.manual_seed(99)
    seen = []
    found = train(
        resumed, labelled(), recipe, 0, observe=lambda step, _: seen.append(step), snapshots=file
    )
    assert seen[0] == 16 and not file.path.exists()
    assert (found.metric, found.history) == (expected.metric, expected.history)
    states = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_damaged_snapshot_is_told(tmp_path):
    file = SnapshotFile(tmp_path / "run.pt", 5, "key")
    file.path.write_bytes(b"no snapshot")
    with pytest.raises(CorruptFileError, match="delete it to begin anew"):
        train(sparsify(network(), "dense"), labelled(), RECIPE, 0, snapshots=file)


def test_weights_that_are_not_finite_after_the_last_step():
    """The loss of the only step is finite; the step itself overflows."""
    _, result = trained(recipe=replace(RECIPE, lr=1e38, steps=1, batch=20), data=_large(labelled()))
    assert math.isfinite(result.history[0]["loss"])
    assert result.metric is None


def _large(data):
    return replace(data, x_train=data.x_train * 100)


# --- metrics


class Fixed(nn.Module):
    """Logits that say class 2, whatever the input."""

    def forward(self, x):
        return torch.eye(4)[2].expand(len(x), 4)


def test_accuracy_by_hand():
    labels = np.array([2, 0, 2, 1, 3, 2, 0, 1])
    data = replace(labelled(), y_test=labels)
    assert evaluate(Fixed(), data) == ("accuracy", 100 * 3 / 8)


def test_accuracy_over_several_evaluation_batches():
    data = labelled(700)
    whole = replace(data, x_test=data.x_train, y_test=data.y_train)
    expected = 100 * float((data.y_train == 2).mean())
    assert evaluate(Fixed(), whole)[1] == pytest.approx(expected)


class Uniform(nn.Module):
    def forward(self, ids):
        return torch.zeros(*ids.shape, 256)


def test_guessing_a_byte_costs_eight_bits():
    name, bits = evaluate(Uniform(), stream(), context=16)
    assert name == "bits per byte" and bits == pytest.approx(8.0)


class Knowing(nn.Module):
    """Puts odds of 3 to 1 against each other byte on the right one of a counting stream."""

    def forward(self, ids):
        return math.log(3) * nn.functional.one_hot((ids + 1) % 256, 256).float()


def test_bits_per_byte_by_hand():
    tokens = (np.arange(5000) % 256).astype(np.uint8)
    data = replace(stream(), x_test=tokens, y_test=tokens)
    expected = math.log2((3 + 255) / 3)
    assert evaluate(Knowing(), data, context=32)[1] == pytest.approx(expected, rel=1e-5)


def test_evaluation_is_in_eval_mode_without_gradients():
    class Watching(Fixed):
        def forward(self, x):
            assert not self.training and not torch.is_grad_enabled()
            return super().forward(x)

    model = Watching().train()
    evaluate(model, labelled())
    assert not model.training
