"""Turn a model's layers into sparse ones, and what one can ask of the result."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from cosparse.spec import (
    NM,
    Dense,
    InputError,
    PackedTensor,
    Pattern,
    Phase,
    RunError,
    UnsupportedError,
    pack,
    parse_pattern,
)

from .attention import SparseMultiheadAttention, SparseTransformerEncoderLayer, check_attention
from .decay import DecayHandle, attach_decay
from .layers import SparseConv2d, SparseLinear
from .methods import Method, find_method
from .plan import Candidate, LayerPlan, choose, default_dense, find_candidates, plan_layer

_AXIS = {Phase.FF: 1, Phase.BP: 0}
_STOCK: dict[type[nn.Module], type[nn.Module]] = {
    SparseLinear: nn.Linear,
    SparseConv2d: nn.Conv2d,
    SparseMultiheadAttention: nn.MultiheadAttention,
    SparseTransformerEncoderLayer: nn.TransformerEncoderLayer,
}
_CLASSES: dict[str, type[nn.Module]] = {"linear": SparseLinear, "conv": SparseConv2d}


@dataclass(frozen=True)
class Sparsified:
    """A model whose layers follow a method. `layers` maps weight names to plans, dense ones too."""

    model: nn.Module
    layers: dict[str, LayerPlan]
    method: Method
    replaced: tuple[str, ...]
    """Paths of the modules that compute sparse products."""

    @property
    def sparse_layers(self) -> dict[str, LayerPlan]:
        return {name: plan for name, plan in self.layers.items() if plan.is_sparse}

    def attach(self, optimizer: Optimizer, decay: float | None = None) -> DecayHandle:
        """Apply the decay of pruned weights once per step of `optimizer` (decay None: the method's)."""
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        layers: list[tuple[LayerPlan, Tensor]] = [
            (plan, parameters[name]) for name, plan in self.sparse_layers.items()
        ]
        return attach_decay(optimizer, layers, self.method.decay if decay is None else decay)

    def pack(self, name: str, phase: Phase, dtype: str = "float16") -> PackedTensor:
        """The packed weight that every executor reads in `phase`. Raises UnsupportedError if dense."""
        plan = self.layers.get(name)
        pattern = Dense() if plan is None else plan.weight_pattern(phase)
        if plan is None or not isinstance(pattern, NM):
            valid = [n for n, p in self.layers.items() if isinstance(p.weight_pattern(phase), NM)]
            raise UnsupportedError(
                f"'{name}' has no sparse weight in {phase} (valid: {', '.join(valid) or 'none'})"
            )
        weight = self.model.get_parameter(name).detach().float().cpu().numpy()
        return pack(
            weight,
            pattern,
            axis=_AXIS[phase],
            dtype=dtype,
            select_dtype=plan.select_dtype,
            conv_groups=plan.conv_groups,
        )

    def verify(self, sample: Any) -> None:
        """Prove by one train and one eval forward that every replaced module is called.

        sample: a tensor, a tuple of tensors or a dict of keyword tensors. Buffers, gradients, modes
        and the random state are as before afterwards. Raises RunError naming the bypassed modules.
        """
        with _undisturbed(self.model), torch.no_grad():
            for training in (True, False):
                self.model.train(training)
                missed = self._uncalled(sample)
                if missed:
                    mode = "train" if training else "eval"
                    raise RunError(
                        f"replaced modules were not called in {mode} mode: {', '.join(missed)}; "
                        "their parent computes without them; exclude them by name"
                    )

    def _uncalled(self, sample: Any) -> list[str]:
        modules = {path: self.model.get_submodule(path) for path in self.replaced}
        called: set[str] = set()

        def recording(path: str, forward: Any) -> Any:
            def recorded(*args: Any, **kwargs: Any) -> Any:
                called.add(path)
                return forward(*args, **kwargs)

            return recorded

        # Not forward hooks: torch's fused paths step aside when they see one.
        for path, module in modules.items():
            module.forward = recording(path, module.forward)
        try:
            call(self.model, sample)
        finally:
            for module in modules.values():
                del module.__dict__["forward"]
        return [path for path in self.replaced if path not in called]


def sparsify(
    model: nn.Module,
    method: str | Method,
    pattern: str | Pattern = "2:8",
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    select_dtype: str = "float16",
) -> Sparsified:
    """Make the layers of `model` follow `method` with `pattern`, in place.

    include: names (wildcards allowed) of layers that are dense by default and shall be pruned;
    exclude: names that stay dense. Parameters, hooks and state_dict keys stay as they are.
    Raises UnsupportedError for what the method cannot do, PatternError for the pattern.
    """
    plans = plan_layers(
        model, method, pattern, include=include, exclude=exclude, select_dtype=select_dtype
    )
    replaced = _replace(model, find_candidates(model), plans)
    return Sparsified(model, plans, find_method(method), replaced)


def plan_layers(
    model: nn.Module,
    method: str | Method,
    pattern: str | Pattern = "2:8",
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    select_dtype: str = "float16",
) -> dict[str, LayerPlan]:
    """What `sparsify` would do to each weight, by name; the model stays as it is."""
    row = find_method(method)
    chosen = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    if row.name != "dense" and not isinstance(chosen, NM):
        raise UnsupportedError(f"method '{row.name}' takes an N:M pattern, got '{chosen}'")
    if any(isinstance(m, SparseLinear | SparseConv2d) for m in model.modules()):
        raise InputError("the model is sparse already: build a fresh one for another method")
    candidates = find_candidates(model)
    why_dense = choose(candidates, default_dense(model, candidates), include, exclude)
    return {
        item.name: plan_layer(item, row, chosen, select_dtype, why_dense[item.name])
        for item in candidates
    }


def restore_dense(model: nn.Module) -> None:
    """Give every sparse layer of `model` its stock class again, in place; weights stay."""
    for module in model.modules():
        if type(module) in _STOCK:
            module.__class__ = _STOCK[type(module)]


def call(model: nn.Module, sample: Any) -> Any:
    """Call a model with a tensor, a tuple of tensors or a dict of keyword tensors."""
    if isinstance(sample, dict):
        return model(**sample)
    if isinstance(sample, tuple | list):
        return model(*sample)
    return model(sample)


def _replace(
    model: nn.Module, candidates: list[Candidate], plans: dict[str, LayerPlan]
) -> tuple[str, ...]:
    modules = dict(model.named_modules())
    replaced: dict[str, None] = {}
    for item in candidates:
        if not plans[item.name].is_sparse:
            continue
        module = modules[item.owner]
        if parametrize.is_parametrized(module):
            raise UnsupportedError(
                f"'{item.owner}' is parametrized (weight norm or the like), so its weight is not a "
                "parameter that can be pruned; exclude it by name"
            )
        if isinstance(module, nn.MultiheadAttention):
            _replace_attention(item, module, plans)
        else:
            module.__class__ = _CLASSES[item.kind]
            module.plan = plans[item.name]
        replaced[item.owner] = None
    if replaced:
        _disable_fused_encoders(model)
    return tuple(replaced)


def _replace_attention(
    item: Candidate, module: nn.MultiheadAttention, plans: dict[str, LayerPlan]
) -> None:
    check_attention(item.owner, module)
    prefix = f"{item.owner}." if item.owner else ""
    module.__class__ = SparseMultiheadAttention
    assert isinstance(module, SparseMultiheadAttention)
    module.in_plan = plans[f"{prefix}in_proj_weight"]
    module.out_plan = plans[f"{prefix}out_proj.weight"]


def _disable_fused_encoders(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
            module.enable_nested_tensor = False
        elif type(module) is nn.TransformerEncoderLayer:
            module.__class__ = SparseTransformerEncoderLayer


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Restore buffers, train/eval modes and the random state of the CPU on the way out."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = {module: module.training for module in model.modules()}
    random_state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(random_state)
        for module, training in modes.items():
            module.training = training
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
