"""Lowering: issued MACs by the formula on paper, and what UPDATE and PRUNE cost."""

from math import ceil, prod

import numpy as np
import pytest
import torch
from torch import nn

from algos.loop import OPTIMIZERS, Recipe
from algos.lowering import lower, packed_bytes
from algos.sparsified import plan_layers
from algos.tracing import capture
from cosparse.flow.lower import lower_all
from cosparse.flow.network import resolve_network
from cosparse.flow.scenario import load_scenario
from cosparse.spec import NM, Dense, Gemm, Phase, UnsupportedError, pack, parse_pattern
from cosparse.spec.layout import Layout

BATCH, SIDE = 4, 8
CONV_WEIGHT, HIDDEN_WEIGHT = (24, 16, 3, 3), (32, 24)
PIXELS = BATCH * SIDE * SIDE
DENSE_MACS = {"1": PIXELS * prod(CONV_WEIGHT), "4": BATCH * prod(HIDDEN_WEIGHT)}
FF_GROUPED = {"1": 16, "4": 24}
BP_GROUPED = {"1": 24, "4": 32}


def cnn():
    """Stem and head stay dense; "1" and "4" are pruned."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 32),
        nn.Linear(32, 10),
    )


@pytest.fixture(scope="module")
def captured():
    return capture(cnn(), torch.zeros(BATCH, 3, SIDE, SIDE))


def lowered(captured, method, pattern="2:8", phases=tuple(Phase), model=None):
    plans = plan_layers(model or cnn(), method, pattern)
    return lower(captured.only(phases), plans)


def issued(workload, phase):
    return {g.name: g.issued_macs for g in workload.gemms if g.phase is phase}


def kept(length, n, m):
    """Issued share of a grouped axis: whole groups, the tail included."""
    return ceil(length / m) * n / length if length >= m else 1


@pytest.mark.parametrize("pattern", ["2:8", "2:4", "1:16", "2:32"])
@pytest.mark.parametrize(
    ("method", "sparse_ff", "sparse_bp"),
    [
        ("dense", False, False),
        ("sr-ste", True, False),
        ("sdgp", False, True),
        ("sdwp", False, True),
        ("bdwp", True, True),
    ],
)
def test_issued_macs_of_every_method(captured, method, pattern, sparse_ff, sparse_bp):
    n, m = map(int, pattern.split(":"))
    workload = lowered(captured, method, pattern)
    for name, dense in DENSE_MACS.items():
        ff = kept(FF_GROUPED[name], n, m) if sparse_ff else 1
        bp = kept(BP_GROUPED[name], n, m) if sparse_bp else 1
        assert issued(workload, Phase.FF)[name] == pytest.approx(dense * ff)
        assert issued(workload, Phase.BP)[name] == pytest.approx(dense * bp)
        assert issued(workload, Phase.WU)[name] == dense
    for name in ("0", "5"):
        for gemm in workload.gemms:
            if gemm.name == name:
                assert gemm.issued_macs == gemm.macs
    assert workload.macs() == captured.macs()


@pytest.mark.parametrize(("method", "side"), [("bdwp", "rhs"), ("sdgp", "lhs")])
def test_the_operand_that_is_sparse(captured, method, side):
    gemm = next(g for g in lowered(captured, method).gemms if g.phase is Phase.BP and g.name == "4")
    other = {"rhs": "lhs", "lhs": "rhs"}[side]
    assert getattr(gemm, side).pattern == NM(2, 8)
    assert getattr(gemm, other).pattern == Dense()


def test_one_update_for_every_trained_weight(captured):
    """SGD with momentum: FP32 weight and momentum in and out, FP32 gradient in, FP16 copy out."""
    updates = {v.name: v for v in lowered(captured, "dense").vectors if v.phase is Phase.UPDATE}
    sizes = {"0.weight": 16 * 3 * 9, "1.weight": prod(CONV_WEIGHT),
             "4.weight": prod(HIDDEN_WEIGHT), "5.weight": 320}  # fmt: skip
    assert {name: v.elements for name, v in updates.items()} == sizes
    assert all(v.bytes == (4 * 4 + 4 + 2) * v.elements for v in updates.values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_update_of_every_optimizer(captured, optimizer):
    """FP32 moments: those that torch keeps for a weight after one step."""
    weight = nn.Parameter(torch.zeros(8, 8))
    weight.grad = torch.ones_like(weight)
    torch_optimizer = OPTIMIZERS[optimizer]([weight], Recipe())
    torch_optimizer.step()
    state = torch_optimizer.state[weight].values()
    moments = sum(isinstance(t, torch.Tensor) and t.shape == weight.shape for t in state)
    workload = lower(captured, {}, optimizer=optimizer)
    updates = [v for v in workload.vectors if v.phase is Phase.UPDATE]
    assert all(v.bytes == (8 + 8 * moments + 4 + 2) * v.elements for v in updates)
    assert all(v.kind.startswith(optimizer) for v in updates)


def test_a_scenario_s_optimizer_is_priced():
    train = {"method": "bdwp", "steps": 1, "optimizer": "adamw"}
    scenario = load_scenario({"schema": 1, "model": "digits-mlp", "train": train})
    workloads, _ = lower_all(scenario, resolve_network(scenario, trust=False))
    kinds = {v.kind for w in workloads.values() for v in w.vectors if v.phase is Phase.UPDATE}
    assert kinds == {"adamw"}


def test_an_unknown_optimizer_is_refused(captured):
    with pytest.raises(UnsupportedError, match="did you mean 'adam'"):
        lower(captured, {}, optimizer="adma")


@pytest.mark.parametrize(
    ("method", "copies"),
    [
        ("dense", set()),
        ("sdgp", set()),
        ("sr-ste", {"1.weight.FF", "4.weight.FF"}),
        ("sdwp", {"1.weight.BP", "4.weight.BP"}),
        ("bdwp", {"1.weight.FF", "1.weight.BP", "4.weight.FF", "4.weight.BP"}),
    ],
)
def test_one_prune_for_every_copy(captured, method, copies):
    prunes = {v.name: v for v in lowered(captured, method).vectors if v.phase is Phase.PRUNE}
    assert set(prunes) == copies
    for name, vector in prunes.items():
        shape = CONV_WEIGHT if name.startswith("1") else HIDDEN_WEIGHT
        packed = pack(np.zeros(shape), NM(2, 8), axis=1 if name.endswith("FF") else 0)
        assert (vector.elements, vector.kind) == (prod(shape), "2:8")
        assert vector.bytes == 2 * prod(shape) + stored_bytes(packed)


def stored_bytes(packed):
    return sum(plane.nbytes for plane in packed.planes().values())


@pytest.mark.parametrize("pattern", ["2:8", "3:5", "1:16", "2:32"])
@pytest.mark.parametrize(("shape", "conv_groups"), [((67, 35), 1), ((105, 34, 3, 3), 3)])
@pytest.mark.parametrize("axis", [0, 1])
def test_packed_bytes_are_those_of_the_image(pattern, shape, conv_groups, axis):
    """Group tails, lane padding and the width of an index included."""
    chosen = parse_pattern(pattern)
    packed = pack(np.zeros(shape), chosen, axis=axis, conv_groups=conv_groups)
    assert packed_bytes(Layout(shape, axis, conv_groups), chosen) == stored_bytes(packed)


def test_a_copy_that_no_product_reads_is_not_made():
    """The first layer's input needs no gradient, so nothing reads its BP copy."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10))
    workload = lowered(capture(model, torch.zeros(2, 64)), "bdwp", model=model)
    prunes = {v.name for v in workload.vectors if v.phase is Phase.PRUNE}
    assert prunes == {"0.weight.FF", "1.weight.FF", "1.weight.BP"}


def test_a_frozen_weight_is_neither_updated_nor_pruned():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10))
    model[1].weight.requires_grad_(False)
    workload = lowered(capture(model, torch.zeros(2, 64)), "bdwp", model=model)
    extra = {v.name for v in workload.vectors if v.phase in (Phase.UPDATE, Phase.PRUNE)}
    assert not [name for name in extra if name.startswith("1.")]
    assert issued(workload, Phase.FF)["1"] == 2 * 64 * 64 // 4


@pytest.mark.parametrize("phases", [(Phase.FF,), (Phase.FF, Phase.BP)])
def test_without_wu_nothing_is_trained(captured, phases):
    workload = lowered(captured, "bdwp", phases=phases)
    assert {op.phase for op in workload.ops} == set(phases)


def test_wu_alone_updates_and_packs_nothing(captured):
    workload = lowered(captured, "bdwp", phases=(Phase.WU,))
    assert {op.phase for op in workload.ops} == {Phase.WU, Phase.UPDATE}


def test_the_captured_workload_stays_as_it_is(captured):
    before = captured.to_json()
    lowered(captured, "bdwp")
    assert captured.to_json() == before
    assert all(isinstance(op.rhs.pattern, Dense) for op in captured.ops if isinstance(op, Gemm))


def test_tied_weights_are_updated_once():
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 10))
    model[1].weight = model[0].weight
    workload = lowered(capture(model, torch.zeros(2, 32)), "bdwp", model=model)
    names = [v.name for v in workload.vectors if v.phase is Phase.UPDATE]
    assert sorted(names) == ["0.weight", "2.weight"]
