"""Channel permutations: the function is the same to the bit, the kept magnitude never falls."""

import pytest
import torch
from torch import nn

from algos.permutation import Chain, kept_magnitude, permute_channels
from cosparse.spec import UnsupportedError, parse_pattern


def integers(module):
    """Whole numbers: sums are exact in any order, so equal functions are equal bits."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.copy_(torch.randint(-99, 100, tensor.shape).to(tensor.dtype))
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = 0.0
                part.running_var.fill_(1.0)
    return module.double().eval()


def mlp():
    return nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16)), (24,), (0, 2)


def cnn():
    model = nn.Sequential(
        nn.Conv2d(8, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 16, 3),
    )
    return model, (8, 6, 6), (0, 3)


def flattened():
    model = nn.Sequential(
        nn.Conv2d(8, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 4, 16)
    )
    return model, (8, 6, 6), (0, 4)


@pytest.mark.parametrize("build", [mlp, cnn, flattened])
@pytest.mark.parametrize("pattern", ["2:8", "1:4", "block 4x1 @ 0.25", "block 16x1 @ 0.5"])
def test_the_function_stays_and_more_is_kept(build, pattern):
    torch.manual_seed(0)
    model, shape, (first, second) = build()
    integers(model)
    chain = Chain(model[first], tuple(model[first + 1 : second]), model[second])
    x = torch.randint(-3, 4, (5, *shape)).double()
    expected = model(x)
    pattern = parse_pattern(pattern)
    weights = [model[i].weight.detach().clone() for i in (first, second)]
    before, after = permute_channels(chain, pattern, candidates=200)
    assert torch.equal(model(x), expected)
    assert before == sum(kept_magnitude(w, pattern) for w in weights)
    assert after == sum(kept_magnitude(model[i].weight, pattern) for i in (first, second))
    if build is flattened and str(pattern) == "1:4":  # a group is one channel's four pixels
        assert after == before
    else:
        assert after > before
        assert not torch.equal(model[second].weight, weights[1])


def test_a_seed_gives_one_order():
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        model, _, _ = mlp()
        permute_channels(
            Chain(model[0], (model[1],), model[2]), parse_pattern("2:8"), candidates=50
        )
        results.append(model[0].weight)
    assert torch.equal(*results)


def test_what_does_not_commute_is_refused():
    with pytest.raises(UnsupportedError, match="LayerNorm mixes channels"):
        Chain(nn.Linear(8, 8), (nn.LayerNorm(8),), nn.Linear(8, 8))
    with pytest.raises(UnsupportedError, match="grouped convolution"):
        Chain(nn.Conv2d(8, 8, 3, groups=2), (), nn.Conv2d(8, 8, 3))
    with pytest.raises(UnsupportedError, match="12 inputs are no multiple of 8"):
        Chain(nn.Linear(8, 8), (), nn.Linear(12, 8))
    with pytest.raises(UnsupportedError, match="expected Linear or Conv2d, got ReLU"):
        Chain(nn.ReLU(), (), nn.Linear(12, 8))
    with pytest.raises(UnsupportedError, match="got 'unstructured"):
        kept_magnitude(torch.zeros(8, 8), parse_pattern("unstructured @ 0.5"))
