"""The stock classes behind sparse layers, and what tells that a module is one."""

from torch import nn

from .attention import SparseMultiheadAttention, SparseTransformerEncoderLayer
from .factorized.chain import Chain
from .factorized.guided import SelfGuided
from .factorized.parts import FixedSupport
from .factorized.projected import ProjectedConv2d, ProjectedLinear
from .factorized.replace import LowRankPlusSparse
from .layers import SparseConv2d, SparseLinear

_STOCK: dict[type[nn.Module], type[nn.Module]] = {
    SparseLinear: nn.Linear,
    SparseConv2d: nn.Conv2d,
    SparseMultiheadAttention: nn.MultiheadAttention,
    SparseTransformerEncoderLayer: nn.TransformerEncoderLayer,
    ProjectedLinear: nn.Linear,
    ProjectedConv2d: nn.Conv2d,
}
_STRUCTURES = (Chain, SelfGuided, LowRankPlusSparse, FixedSupport)


def is_sparse(module: nn.Module) -> bool:
    """Whether a method has changed the module."""
    return type(module) in _STOCK or isinstance(module, _STRUCTURES)


def restore_dense(model: nn.Module) -> None:
    """Give every sparse layer of `model` its stock class again, in place; weights stay.

    Factors stay factors: their products are dense, of their own shapes.
    """
    for module in model.modules():
        if type(module) in _STOCK:
            module.__class__ = _STOCK[type(module)]
