"""Methods with a structure from `sparsify` to the price: keys, workloads, training, resumption."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import cosparse as cs
from algos import METHODS, capture, lower, sparsify
from algos.factorized.chain import Chain, materialise
from algos.factorized.structures import Dictionary, LowRank
from algos.sparsified import outline, plan_layers
from cosparse.flow.simulation import scenario_steps
from cosparse.spec import NM, InputError, Phase, RunError, UnsupportedError

NAMES = sorted(name for name, row in METHODS.items() if row.structure is not None)


def network():
    """A stem, a convolution, a layer of a transformer's width, a classifier."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.Linear(32, 10),
    )


def sparsified(method, seed=0, pattern="2:8"):
    torch.manual_seed(seed)
    return sparsify(network(), method, pattern)


def optimizer_of(sparse):
    optimizer = torch.optim.SGD(sparse.model.parameters(), lr=0.02, momentum=0.9)
    sparse.attach(optimizer)
    return optimizer


def step(sparse, optimizer, number, steps=6):
    batch = torch.Generator().manual_seed(number)
    sparse.guide(number, steps)
    x, y = torch.randn(4, 1, 8, 8, generator=batch), torch.arange(4)
    optimizer.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(sparse.model(x), y).backward()
    optimizer.step()


def state(sparse):
    return {name: tensor.clone() for name, tensor in sparse.model.state_dict().items()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


@pytest.mark.parametrize("method", NAMES)
def test_every_method_trains_the_same_for_a_seed_and_resumes_bit_exactly(method):
    straight = sparsified(method)
    straight.verify(torch.zeros(2, 1, 8, 8))
    start = state(straight)
    optimizer = optimizer_of(straight)
    for number in range(6):
        step(straight, optimizer, number)
        if number == 2:
            kept = state(straight), optimizer.state_dict()
            kept = torch.utils._pytree.tree_map_only(torch.Tensor, torch.clone, kept)
    moved = [n for n, t in state(straight).items() if not torch.equal(t, start[n])]
    parameters = {name for name, _ in straight.model.named_parameters()}
    assert parameters <= set(moved)

    resumed = sparsified(method, seed=1)  # other values, all of which the checkpoint replaces
    resumed.model.load_state_dict(kept[0])
    optimizer = optimizer_of(resumed)
    optimizer.load_state_dict(kept[1])
    for number in range(3, 6):
        step(resumed, optimizer, number)
    assert_equal(state(resumed), state(straight))


@pytest.mark.parametrize("method", NAMES)
def test_an_outline_has_the_shapes_and_plans_of_the_model_and_leaves_it(method):
    torch.manual_seed(0)
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    outlined = outline(model, method)
    assert plan_layers(model, method) == outlined.layers
    assert torch.equal(torch.get_rng_state(), random_state)
    assert_equal(model.state_dict(), before)
    made = sparsify(model, method)
    assert made.layers == outlined.layers and made.replaced == outlined.replaced
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {n: t.shape for n, t in outlined.model.state_dict().items()} == shapes
    assert made.replaced == ("2", "4", "6")
    assert made.layers["0.weight"].dense_because[Phase.FF] == "stem"
    assert made.layers["7.weight"].dense_because[Phase.BP] == "classifier"


def products(method, pattern="2:8"):
    sparse = sparsified(method, pattern=pattern)
    workload = lower(capture(sparse.model, torch.zeros(4, 1, 8, 8)), sparse.layers)
    return workload, {
        (gemm.rhs.tensor if gemm.phase is not Phase.WU else gemm.name, gemm.phase): gemm
        for gemm in workload.gemms
    }


def test_dsformer_is_two_products_with_groups_of_their_own_in_each_phase():
    """Layer 4 is 512 -> 64 with 32 atoms, layer 2 a convolution 16 -> 32 with 8 atoms."""
    _, found = products("dsformer")
    nm, shapes = NM(2, 8), {key: gemm.shape[2:] for key, gemm in found.items()}
    assert shapes["4.first.weight", Phase.FF] == (4, 512, 32)
    assert shapes["4.second.weight", Phase.FF] == (4, 32, 64)
    assert shapes["4.second.weight", Phase.BP] == (4, 64, 32)
    assert shapes["4.first.weight", Phase.BP] == (4, 32, 512)
    for layer in ("2", "4", "6"):
        for phase in (Phase.FF, Phase.BP):
            assert found[f"{layer}.second.weight", phase].rhs.pattern == nm
            assert found[f"{layer}.first.weight", phase].sparse_operand is None
        assert found[f"{layer}.second", Phase.WU].sparse_operand is None
    assert shapes["2.first.weight", Phase.FF] == (4 * 64, 16, 8)  # 1 x 1, on the input's pixels
    assert shapes["2.second.weight", Phase.FF] == (4 * 16, 8 * 9, 32)


def test_the_conventional_support_has_no_groups_along_the_outputs():
    _, found = products("dsformer-fixed")
    assert found["4.second.values", Phase.FF].rhs.pattern == NM(2, 8)
    assert found["4.second.values", Phase.BP].sparse_operand is None


def test_a_projected_weight_trains_at_dense_cost_and_is_deployed_as_factors():
    _, found = products("dsformer-weight")
    dense, _ = products("dense")
    assert sum(gemm.macs for gemm in found.values()) == dense.macs()
    sparse = sparsified("dsformer-weight")
    optimizer = optimizer_of(sparse)
    for number in range(2):
        step(sparse, optimizer, number)
    for module in (sparse.model[2], sparse.model[4], sparse.model[6]):
        module.project()
    x = torch.randn(3, 1, 8, 8)
    expected = sparse.model.eval()(x)
    deployed = sparse.deploy()
    # One more projection of the same weight, from the projected dictionary, fits it no worse.
    assert set(deployed.sparse_layers) == {f"{n}.second.weight" for n in (2, 4, 6)}
    assert deployed.pack("4.second.weight", Phase.FF).pattern == NM(2, 8)
    assert isinstance(sparse.model[4], Chain)
    torch.testing.assert_close(sparse.model(x), expected, atol=0.2, rtol=0.2)


@pytest.mark.parametrize(
    "method", ["low-rank-guided", "block-dense-guided", "block-shuffle-guided"]
)
def test_a_guide_that_has_faded_is_dropped_without_a_trace(method):
    sparse = sparsified(method)
    x = torch.randn(3, 1, 8, 8)
    with pytest.raises(RunError, match="the guide of '2' still has a share of 1"):
        sparse.deploy()
    sparse.guide(6, 6)
    expected = sparse.model(x)
    deployed = sparse.deploy()
    assert torch.equal(sparse.model(x), expected)
    plain = sparsified(method.removesuffix("-guided"))
    assert sparse.model.state_dict().keys() == plain.model.state_dict().keys()
    assert deployed.layers == {
        n: replace(plan, method=deployed.layers[n].method) for n, plan in plain.layers.items()
    }


@pytest.mark.parametrize("method", ["dsformer", "low-rank", "block-dense", "block-shuffle"])
def test_the_step_has_the_multiplications_of_its_factors(method):
    """FF of the fully connected layers: one multiplication a token and stored entry."""
    workload, _ = products(method)
    structure = METHODS[method].structure
    for layer, shape in (("4", (64, 512)), ("6", (32, 64))):
        own = [g for g in workload.only((Phase.FF,)).gemms if g.name.startswith(f"{layer}.")]
        assert sum(g.issued_macs for g in own) == 4 * structure.entries(shape, NM(2, 8))


@pytest.mark.parametrize("method", NAMES)
def test_the_simulator_prices_every_method(method):
    priced = cs.simulate(network(), f"{method} 1:8", sample=torch.zeros(4, 1, 8, 8))
    assert priced.cycles > 0
    if METHODS[method].structure.__class__ is LowRank and "guided" not in method:
        assert priced.speedup > 1


def test_a_scenario_compares_the_factors_with_the_dense_network(tmp_path):
    (tmp_path / "factors.yaml").write_text(
        "schema: 1\nmodel: digits-mlp\ntrain: {method: dsformer, pattern: '1:8', epochs: 0}\n"
        "accelerator: sat-8x8\nbackends: [simulator]\n"
    )
    steps, _ = scenario_steps(str(tmp_path / "factors.yaml"), None, trust=False)
    ff = {name: step.only((Phase.FF,)) for name, step in steps.items()}
    batch, classifier = 64, 256 * 10
    assert ff["dense"].macs() == batch * (64 * 256 + 256 * 256 + classifier)
    atoms = 32 * 64 + 256 * 32 // 8 + 128 * 256 + 256 * 128 // 8
    assert ff["dsformer"].issued_macs() == batch * (atoms + classifier)


def test_a_scenario_names_the_reason_why_nothing_is_factorised(tmp_path):
    (tmp_path / "none.yaml").write_text(
        "schema: 1\nmodel: {name: digits-mlp, options: {hidden: 18}}\n"
        "train: {method: block-shuffle, epochs: 0}\nbackends: [simulator]\n"
    )
    with pytest.raises(
        UnsupportedError, match=r"factorises no layer of model .*18 channels do not"
    ):
        scenario_steps(str(tmp_path / "none.yaml"), None, trust=False)


def test_exactly_s_nonzeros_a_row_of_more_atoms_than_a_group_of_the_array_are_refused_there():
    method = replace(METHODS["dsformer"], structure=Dictionary(nonzeros=4))
    sparse = sparsified(method)
    assert sparse.layers["4.second.weight"].ff == NM(4, 32)
    with pytest.raises(UnsupportedError, match="M of 4:32 must divide group_max = 16"):
        cs.simulate(sparse, sample=torch.zeros(4, 1, 8, 8))


def test_sparse_factors_are_packed_as_the_layer_multiplies():
    for method in ("dsformer", "dsformer-fixed", "sltrain-nm"):
        sparse = sparsified(method)
        (name,) = (n for n in sparse.sparse_layers if n.startswith("6."))
        packed = sparse.pack(name, Phase.FF).unpack()
        if method == "sltrain-nm":
            expected = sparse.model[6].sparse.dense_weight().detach().numpy()
        else:
            dictionary = sparse.model[6].first.weight.detach().numpy()
            np.testing.assert_allclose(
                packed @ dictionary, materialise(sparse.model[6]).squeeze(2).detach(), atol=2e-3
            )
            continue
        np.testing.assert_allclose(packed, expected, atol=2e-3)
        assert ((packed != 0) == (expected != 0)).all()


def test_a_transformer_keeps_its_projections_dense_with_the_reason():
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 1, enable_nested_tensor=False
    )
    model = nn.Sequential(model, nn.Linear(32, 10))
    sparse = sparsify(model, "low-rank")
    sparse.verify(torch.zeros(2, 5, 32))
    assert sparse.replaced == ("0.layers.0.linear1", "0.layers.0.linear2")
    reason = sparse.layers["0.layers.0.self_attn.in_proj_weight"].dense_because[Phase.FF]
    assert "projections of MultiheadAttention" in reason


def test_merging_a_model_leaves_its_function_and_its_convolutions():
    for method in ("low-rank", "block-dense", "block-shuffle", "dsformer"):
        sparse = sparsified(method)
        x = torch.randn(3, 1, 8, 8)
        expected = sparse.model.eval()(x)
        sparse.merge(4)
        merged = [m.merged is not None for m in sparse.model.modules() if isinstance(m, Chain)]
        assert merged == [False, True, True]
        with torch.no_grad():
            torch.testing.assert_close(sparse.model(x), expected, atol=1e-5, rtol=1e-4)


def test_a_factorised_model_is_not_factorised_again():
    for method in NAMES:
        with pytest.raises(InputError, match="sparse already"):
            sparsify(sparsified(method).model, "bdwp")
