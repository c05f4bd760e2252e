"""One layer replaced by the factors of its weight, as a method does it."""

from torch import nn

from algos.discovery import find_candidates
from algos.factorized.convert import replace_weights
from algos.methods import Method
from cosparse.spec import NM

PATTERN = NM(2, 8)


def replaced(layer, structure, pattern=PATTERN, *, exact=False, generator=None):
    """(the layer, in place; plans by name, the layer being "fc").

    exact: BP reuses the pattern of FF instead of its own along the outputs.
    """
    model = nn.Module()
    model.fc = layer
    method = Method("test", "", prunes_ff=True, prunes_bp=not exact, reuses_ff_in_bp=exact)
    candidates = find_candidates(model)
    why = dict.fromkeys(item.name for item in candidates)
    plans, _ = replace_weights(
        model, candidates, why, method, structure, pattern, generator=generator
    )
    return layer, plans
