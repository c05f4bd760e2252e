"""Schedules against the formulas of progressive gradient flow, and what layers compute in each stage."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from algos import METHODS
from algos.lowering import lower_stages
from algos.schedules import DECAYS, Schedule, Stage, constant
from algos.sparsified import plan_layers, sparsify
from algos.tracing import capture
from cosparse.spec import NM, Dense, InputError, PatternError, Phase, select


def stages(decay, pattern, steps=100, epoch=1, **options):
    return Schedule(decay, dense=0.1, final=0.2, **options).timeline(pattern, steps, epoch).stages


def test_stepwise_halves_n_until_the_pattern_is_reached():
    found = stages("stepwise", NM(2, 16), 98)
    assert [(s.begin, s.end, str(s.pattern)) for s in found] == [
        (0, 10, "dense"),
        (10, 32, "15:16"),
        (32, 55, "8:16"),
        (55, 78, "4:16"),
        (78, 98, "2:16"),
    ]


@pytest.mark.parametrize(
    ("target", "frames"),
    [
        (NM(1, 8), ["8:64", "4:32", "2:16", "1:8"]),
        (NM(2, 8), ["8:32", "4:16", "2:8"]),
        (NM(1, 32), ["8:256", "4:128", "2:64", "1:32"]),  # groups of at most 256
    ],
)
def test_geometric_keeps_the_ratio_and_shrinks_the_group(target, frames):
    assert [str(s.pattern) for s in stages("geometric", target)[1:]] == frames


@pytest.mark.parametrize("rate", [None, 0.03])
def test_mask_decays_follow_their_formulas(rate):
    _, linear, final = stages("linear", NM(1, 8), rate=rate)
    _, exponential, _ = stages("exponential", NM(1, 8), rate=rate)
    beta = 1 / 70 if rate is None else rate
    beta_e = math.log(100) / 70 if rate is None else rate
    for step in range(10, 80):
        j = step - 9
        assert linear.passed(step) == pytest.approx(max(1 - beta * j, 0), abs=1e-12)
        assert exponential.passed(step) == pytest.approx(math.exp(-beta_e * j))
    assert final.passed(90) == 0
    assert linear.hardware_pattern == Dense()
    assert final.hardware_pattern == NM(1, 8)


@given(
    st.sampled_from(DECAYS),
    st.integers(0, 5),
    st.integers(1, 3),
    st.integers(20, 400),
    st.integers(1, 40),
    st.floats(0, 0.4),
    st.floats(0.01, 0.5),
)
def test_stages_cover_every_step_once_and_end_in_the_pattern(
    decay, halvings, n, steps, epoch, dense, final
):
    target = NM(n, n << halvings)
    try:
        timeline = Schedule(decay, dense, final).timeline(target, steps, epoch)
    except (InputError, PatternError):
        return
    edges = [(s.begin, s.end) for s in timeline.stages]
    assert edges[0][0] == 0 and edges[-1][1] == steps
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))
    assert all(begin < end for begin, end in edges)
    last = timeline.stages[-1]
    assert last.pattern == target and last.end - last.begin >= max(epoch, math.floor(final * steps))
    for step in range(steps):
        stage = timeline.at(step)
        assert stage.begin <= step < stage.end
    densities = [s.pattern.density for s in timeline.stages]
    assert densities == sorted(densities, reverse=True)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: Schedule("cubic"), InputError, "unknown decay 'cubic'"),
        (lambda: Schedule(dense=0.7, final=0.5), InputError, "got 0.7 and 0.5"),
        (lambda: Schedule("stepwise", rate=0.1), InputError, "with a mask decay"),
        (lambda: stages("stepwise", NM(3, 8)), PatternError, "power of two, got '3:8'"),
        (lambda: stages("stepwise", NM(2, 12)), PatternError, "power of two, got '2:12'"),
        (lambda: stages("geometric", NM(1, 256)), PatternError, "above 256"),
        (lambda: stages("stepwise", NM(1, 32), 6), InputError, "train longer"),
        (lambda: stages("linear", NM(1, 8), 50, 50), InputError, "an epoch has 50"),
    ],
)
def test_what_a_schedule_refuses(build, error, words):
    with pytest.raises(error, match=words):
        build()


def decaying_layer(gradients):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 12, bias=False)).double()
    method = replace(METHODS["pgf"], gradients=gradients)
    return model, sparsify(model, method, "2:8", include=["0"])


@pytest.mark.parametrize("gradients", ["ste", "chain"])
@pytest.mark.parametrize("passed", [0.0, 0.25, 1.0])
def test_mask_decay_products_and_gradients(gradients, passed):
    """W~ = W (Phi + D (1 - Phi)); dW as it is, or times Phi + D (1 - Phi)."""
    model, sparse = decaying_layer(gradients)
    rate = max(-math.log(passed), 1e-12) if passed else 1e6
    sparse.enter(Stage(0, 1, NM(2, 8), "exponential", rate), 0)
    weight = model[0].weight.detach().numpy()
    share = select(weight, NM(2, 8), axis=1) + passed * ~select(weight, NM(2, 8), axis=1)
    x = torch.randn(5, 16, dtype=torch.float64, requires_grad=True)
    y = model(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    seen, g = x.detach().numpy(), grad.numpy()
    np.testing.assert_allclose(y.detach().numpy(), seen @ (weight * share).T, atol=1e-10)
    np.testing.assert_allclose(x.grad.numpy(), g @ (weight * share), atol=1e-10)
    expected = g.T @ seen * (share if gradients == "chain" else 1)
    np.testing.assert_allclose(model[0].weight.grad.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("passed", [0.0, 0.5])
def test_the_chain_rule_is_the_gradient_of_the_forward_product(passed):
    model, sparse = decaying_layer("chain")
    stage = Stage(0, 1, NM(2, 8), "linear", 1 - passed)
    sparse.enter(stage, 0)
    weight = model[0].weight

    def product(x, w):
        return torch.func.functional_call(model, {"0.weight": w}, (x,))

    x = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product, (x, weight.detach().clone().requires_grad_()))


def test_entering_stages_changes_the_layers_and_not_the_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(64, 32), nn.Linear(32, 8))
    sparse = sparsify(model, "pgf", "1:8", include=["*"])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(2, 16, 4, 4)
    target = model(x)
    sparse.enter(Stage(0, 5, Dense()), 0)
    torch.testing.assert_close(
        model(x),
        nn.functional.linear(model[2](model[0](x).flatten(1)), model[3].weight, model[3].bias),
    )
    assert model[2].plan.ff is None
    sparse.enter(Stage(0, 5, NM(8, 64)), 0)
    assert model[2].plan.ff == NM(8, 64)
    assert model[0].plan.ff is None and "16 < M = 64" in str(model[0].plan.dense_because)
    sparse.enter(constant(NM(1, 8), 1).at(0), 0)
    assert torch.equal(model(x), target)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)


def test_attention_follows_the_stages():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    sparse = sparsify(attention, "pgf", "1:8")
    sparse.enter(Stage(0, 5, NM(2, 16)), 0)
    assert attention.in_plan.ff == attention.out_plan.ff == NM(2, 16)


def test_the_workload_of_every_stage_costs_what_hardware_can_save():
    """MACs of FF and BP by hand: one Linear, 64 -> 32, four tokens."""
    model = nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 8))
    x = torch.zeros(4, 64)
    step = capture(model, x)

    def issued(method):
        plans = plan_layers(model, method, "1:8")
        timeline = METHODS[method].schedule.timeline(NM(1, 8), 100, 1)
        stages = lower_stages(step, plans, timeline)
        assert [stage for stage, _ in stages] == list(timeline.stages)
        layers = [
            [g for g in one.gemms if g.name == "0" and g.phase is Phase.FF] for _, one in stages
        ]
        return [sum(gemm.issued_macs for gemm in gemms) / (4 * 64 * 32) for gemms in layers]

    assert issued("pgf") == issued("pgf-linear") == [1, 1, 1 / 8]
    assert issued("pgf-stepwise") == [1, 7 / 8, 4 / 8, 2 / 8, 1 / 8]
    assert issued("pgf-geometric") == [1, 1 / 8, 1 / 8, 1 / 8, 1 / 8]
