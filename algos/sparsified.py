"""Turn a model's layers into sparse ones, and what one can ask of the result."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
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
from cosparse.spec.errors import unknown_name

from .attention import SparseMultiheadAttention, SparseTransformerEncoderLayer
from .decay import DecayHandle, attach_decay
from .discovery import Candidate, find_candidates
from .distribution import choose, default_dense
from .ends import ends_by_data_flow, ends_by_registration
from .factorized.chain import Chain
from .factorized.convert import replace_weights, use_cpu_kernels
from .factorized.deploy import deploy
from .factorized.guided import SelfGuided, guide_share
from .factorized.parts import FixedSupport, weight_of
from .layers import SparseConv2d, SparseLinear, soft_scale
from .methods import Method, find_method
from .operands import operands
from .plan import KERNELS, LayerPlan, at_stage, plan_layer
from .probe import call, undisturbed
from .proximal import ProximalHandle
from .schedules import Stage, Timeline, constant
from .start import prepare_weight
from .stock import is_sparse
from .tracing.meta import meta_copy

_AXIS = {Phase.FF: 1, Phase.BP: 0}
_CLASSES: dict[str, type[nn.Module]] = {"linear": SparseLinear, "conv": SparseConv2d}


@dataclass(frozen=True)
class Sparsified:
    """A model whose layers follow a method. `layers` maps weight names to plans, dense ones too."""

    model: nn.Module
    layers: dict[str, LayerPlan]
    method: Method
    pattern: Pattern
    replaced: tuple[str, ...]
    """Paths of the modules that compute sparse products."""

    def timeline(self, steps: int, epoch_steps: int) -> Timeline:
        """The stages of a run of so many optimizer steps, of which `epoch_steps` are one epoch.

        Raises PatternError and InputError where the method's schedule does not fit them.
        """
        schedule = self.method.schedule
        if schedule is None:
            return constant(self.pattern, steps)
        return schedule.timeline(self.pattern, steps, epoch_steps)

    def enter(self, stage: Stage, step: int) -> None:
        """Give every pruned layer the pattern of this step; without a call it is the method's own."""
        if self.method.schedule is None:
            return
        for name, plan in self.sparse_layers.items():
            _set_plan(self.model, name, at_stage(plan, stage, step))

    def plans_in_force(self) -> dict[str, LayerPlan]:
        """The plan that each pruned Linear and Conv2d follows in the stage entered last, by weight."""
        found = {}
        for name in self.sparse_layers:
            owner = self._owner(name)
            if isinstance(owner, SparseLinear | SparseConv2d):
                found[name] = owner.plan
        return found

    def guide(self, step: int, steps: int) -> None:
        """Give every guide its share at a step of so many; at `steps` it is gone."""
        for module in self.model.modules():
            if isinstance(module, SelfGuided):
                module.set_share(guide_share(step, steps))

    def deploy(self) -> "Sparsified":
        """The model for inference, in place: guides dropped, projected weights as their factors.

        Raises RunError for a guide that has not faded.
        """
        return replace(self, layers=deploy(self.model, self.layers))

    def merge(self, up_to_tokens: int) -> None:
        """Let the factors of every Linear be one dense product for inputs of up to so many tokens.

        In eval mode and without gradients only; training again, or `merge(0)`, takes it back.
        """
        for module in self.model.modules():
            if isinstance(module, Chain) and not module.has_taps:
                module.merge(up_to_tokens)

    @property
    def sparse_layers(self) -> dict[str, LayerPlan]:
        return {name: plan for name, plan in self.layers.items() if plan.is_sparse}

    def attach(
        self, optimizer: Optimizer, decay: float | None = None
    ) -> DecayHandle | ProximalHandle:
        """Apply what the method does to pruned weights once per step of `optimizer`.

        That is their decay (None: the method's), or the envelope's proximal step; a fixed support has
        no pruned weights. Raises InputError when `optimizer` decays them already, and for a decay
        beside a schedule, which has its own way to the pattern.
        """
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        layers: list[tuple[LayerPlan, Tensor]] = [
            (plan, parameters[name])
            for name, plan in self.sparse_layers.items()
            if not isinstance(self._owner(name), FixedSupport)
        ]
        if decay and self.method.schedule is not None:
            raise InputError(
                f"method '{self.method.name}' reaches its pattern by a schedule: expected no decay of "
                f"pruned weights beside it, got {decay:g}"
            )
        if self.method.proximal:
            return ProximalHandle(optimizer, layers, self.method.proximal)
        return attach_decay(optimizer, layers, self.method.decay if decay is None else decay)

    def pack(self, name: str, phase: Phase, dtype: str = "float16") -> PackedTensor:
        """The packed weight that every executor reads in `phase`.

        Raises UnsupportedError if it is dense, InputError if it is on meta.
        """
        plan = self.layers.get(name)
        pattern = Dense() if plan is None else plan.weight_pattern(phase)
        if plan is None or isinstance(pattern, Dense):
            valid = [
                n for n, p in self.layers.items() if not isinstance(p.weight_pattern(phase), Dense)
            ]
            raise UnsupportedError(
                f"'{name}' has no sparse weight in {phase} (valid: {', '.join(valid) or 'none'})"
            )
        owner = self._owner(name)
        fixed = isinstance(owner, FixedSupport)
        weight = (weight_of(owner) if fixed else self.model.get_parameter(name)).detach()
        if weight.is_meta:
            raise InputError(f"'{name}' is on the meta device and has no values to pack")
        weight = self._effective(plan, weight, phase)
        wide = weight if weight.dtype == torch.float64 else weight.float()
        return pack(
            wide.cpu().numpy(),
            pattern,
            axis=_AXIS[phase],
            dtype=dtype,
            select_dtype=plan.select_dtype,
            conv_groups=plan.conv_groups,
        )

    def _effective(self, plan: LayerPlan, weight: Tensor, phase: Phase) -> Tensor:
        """What `phase` multiplies by, where that is not simply the largest entries along its axis."""
        row = plan.method
        if row.mask == "magnitude" and not (row.intersects or row.one_support):
            return weight
        chosen = operands(plan, weight, with_bp=True, scale=soft_scale(self._owner(plan.name)))
        own = chosen.bp if phase is Phase.BP and not plan.reuses_ff_in_bp else chosen.ff
        return weight if own is None else own

    def _owner(self, name: str) -> nn.Module:
        """The module that holds a parameter."""
        return self.model.get_submodule(name.rpartition(".")[0])

    def verify(self, sample: Any) -> None:
        """Prove by one train and one eval forward that every replaced module is called.

        sample: a tensor, a tuple of tensors or a dict of keyword tensors. Buffers, gradients, modes
        and the random state are as before afterwards. Raises RunError naming the bypassed modules.
        """
        with undisturbed(self.model), torch.no_grad():
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
    sample: Any = None,
    kernels: str | None = None,
) -> Sparsified:
    """Make the layers of `model` follow `method` with `pattern`, in place.

    include: names (wildcards allowed) of layers that are dense by default and shall be pruned;
    exclude: names that stay dense. sample: an input as for `Sparsified.verify`; stem and classifier
    are then found by data flow instead of registration order. Parameters, hooks and state_dict keys
    stay as they are; a method with a structure replaces weights by factors, with keys of their own, whose
    starting values are drawn with torch's generator; s-ste adds a buffer a layer; a method with a fixed mask
    sets the weights outside it to zero. kernels: "cpu" multiplies by packed copies, made anew in each step,
    on the kernels of `kernels.cpu` (float32); "gpu" does so on those of `kernels.gpu`, in linear layers with
    N:M weights on a CUDA device; None by masked weights on torch.
    Raises UnsupportedError for what the method cannot do, PatternError for the pattern.
    """
    choice = _choose(model, method, pattern, include, exclude, sample)
    _check_kernels(kernels, choice.method)
    return _apply(model, choice, select_dtype, kernels)


def outline(
    model: nn.Module,
    method: str | Method,
    pattern: str | Pattern = "2:8",
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    select_dtype: str = "float16",
    sample: Any = None,
) -> Sparsified:
    """What `sparsify` would make of `model`, as a copy without values; the model stays as it is."""
    choice = _choose(model, method, pattern, include, exclude, sample)
    return _outlined(model, choice, select_dtype)


def plan_layers(
    model: nn.Module,
    method: str | Method,
    pattern: str | Pattern = "2:8",
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    select_dtype: str = "float16",
    sample: Any = None,
) -> dict[str, LayerPlan]:
    """What `sparsify` would do to each weight, by name; the model stays as it is."""
    choice = _choose(model, method, pattern, include, exclude, sample)
    if choice.method.structure is not None:
        return _outlined(model, choice, select_dtype).layers
    return _plans(choice, select_dtype)


@dataclass(frozen=True)
class _Choice:
    """A method, a pattern, and for every weight why it stays dense (None: it does not)."""

    method: Method
    pattern: Pattern
    candidates: list[Candidate]
    why_dense: dict[str, str | None]


def _choose(
    model: nn.Module,
    method: str | Method,
    pattern: str | Pattern,
    include: Iterable[str],
    exclude: Iterable[str],
    sample: Any,
) -> _Choice:
    row = find_method(method)
    chosen = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    _check_pattern(row, chosen)
    if any(is_sparse(module) for module in model.modules()):
        raise InputError("the model is sparse already: build a fresh one for another method")
    candidates = _candidates(model, row)
    ends = (
        ends_by_registration(candidates)
        if sample is None
        else ends_by_data_flow(model, candidates, sample)
    )
    why_dense = choose(candidates, default_dense(model, candidates, ends), include, exclude)
    return _Choice(row, chosen, candidates, why_dense)


def _outlined(model: nn.Module, choice: _Choice, select_dtype: str) -> Sparsified:
    with torch.random.fork_rng(devices=()):
        return _apply(meta_copy(model), choice, select_dtype)


def _check_kernels(kernels: str | None, method: Method) -> None:
    if kernels is None:
        return
    if kernels not in KERNELS:
        raise UnsupportedError(unknown_name("kernels", kernels, KERNELS))
    if method.structure is not None and kernels != "cpu":
        raise UnsupportedError(
            f"method '{method.name}' replaces weights by factors, which kernels='{kernels}' does not "
            "train; use kernels='cpu' or leave `kernels` out"
        )


def _plans(choice: _Choice, select_dtype: str, kernels: str | None = None) -> dict[str, LayerPlan]:
    plans = (
        plan_layer(item, choice.method, choice.pattern, select_dtype, choice.why_dense[item.name])
        for item in choice.candidates
    )
    return {plan.name: replace(plan, kernels=kernels) for plan in plans}


def _apply(
    model: nn.Module, choice: _Choice, select_dtype: str, kernels: str | None = None
) -> Sparsified:
    row, pattern = choice.method, choice.pattern
    if row.structure is None:
        plans = _plans(choice, select_dtype, kernels)
        replaced = _replace(model, choice.candidates, plans)
        for plan in plans.values():
            prepare_weight(model, plan)
    else:
        assert isinstance(pattern, NM)
        plans, replaced = replace_weights(
            model,
            choice.candidates,
            choice.why_dense,
            row,
            row.structure,
            pattern,
            select_dtype=select_dtype,
        )
        plans = use_cpu_kernels(model, plans) if kernels == "cpu" else plans
    if replaced:
        _disable_fused_encoders(model)
    return Sparsified(model, plans, row, pattern, replaced)


def _candidates(model: nn.Module, method: Method) -> list[Candidate]:
    """All candidates; those of a kind that the method refuses have no sparse form, with its reason."""
    refused = dict(method.refuses)
    return [
        replace(item, no_sparse_form=item.no_sparse_form or refused.get(item.kind))
        for item in find_candidates(model)
    ]


def _check_pattern(method: Method, pattern: Pattern) -> None:
    """Raise UnsupportedError for a kind of pattern that the method is not defined for."""
    if method.name != "dense" and not isinstance(pattern, method.patterns):
        raise UnsupportedError(f"method '{method.name}' takes {method.takes}, got '{pattern}'")


def _replace(
    model: nn.Module, candidates: list[Candidate], plans: dict[str, LayerPlan]
) -> tuple[str, ...]:
    modules = dict(model.named_modules())
    replaced: dict[str, None] = {}
    for item in candidates:
        if not plans[item.name].is_sparse:
            continue
        module = modules[item.owner]
        if isinstance(module, nn.MultiheadAttention):
            _replace_attention(item, module, plans)
        else:
            module.__class__ = _CLASSES[item.kind]
            module.plan = plans[item.name]
        replaced[item.owner] = None
    return tuple(replaced)


def _replace_attention(
    item: Candidate, module: nn.MultiheadAttention, plans: dict[str, LayerPlan]
) -> None:
    prefix = f"{item.owner}." if item.owner else ""
    module.__class__ = SparseMultiheadAttention
    assert isinstance(module, SparseMultiheadAttention)
    module.in_plan = plans[f"{prefix}in_proj_weight"]
    module.out_plan = plans[f"{prefix}out_proj.weight"]


def _set_plan(model: nn.Module, name: str, plan: LayerPlan) -> None:
    """Put a plan into force in the module that owns the weight `name`."""
    owner, _, parameter = name.rpartition(".")
    module = model.get_submodule(owner)
    if isinstance(module, SparseLinear | SparseConv2d):
        module.plan = plan
        return
    fused = parameter == "in_proj_weight"
    attention = module if fused else model.get_submodule(owner.rpartition(".")[0])
    assert isinstance(attention, SparseMultiheadAttention)
    if fused:
        attention.in_plan = plan
    else:
        attention.out_plan = plan


def _disable_fused_encoders(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
            module.enable_nested_tensor = False
        elif type(module) is nn.TransformerEncoderLayer:
            module.__class__ = SparseTransformerEncoderLayer
