"""`cosparse bench cpu`: sparse kernels and dispatch on layers of known networks, beside every library.

One case is a layer at a number of tokens. All of its patterns and libraries are sampled in turn, so that
one dense baseline serves every pattern. The figure of one thread is the median of CPU time; that of more
is the shortest wall time, judged only where PyTorch's dense product itself scales (`Scaling`).

With so few tokens that a weight is used once, every contestant rotates over copies of its weight. All copies
of a case together exceed the last-level cache (`rotated_mib`, `last_level_cache_mib`).
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np

import kernels
from kernels.choice import Choice
from kernels.dispatched import COLD_ROWS, Dispatched, apart

from ..spec import InputError, PackedTensor, Pattern, PatternError, Phase, pack, parse_pattern
from ..spec.dtypes import Array
from . import bench_layers
from .bench_layers import LayerShape
from .ceilings import Ceilings, beyond_cache_bytes, last_level_cache_bytes, measure_ceilings
from .dense_baselines import CoreTypes, DenseBaselines, Sample, probe_core_types, sampled
from .dense_torch import Call
from .dense_worker import clock_of
from .dispatch_check import checked
from .library_baselines import Products, bf16_calls, sparse_products
from .provenance import provenance
from .timing import Product, Timed, figure, time_interleaved, timed_json

ROTATED_TOKENS = COLD_ROWS
"""Most tokens at which weights rotate: more of them reuse a weight inside the product."""
SLOW_S = 0.25
"""A library's product that takes longer is timed once."""
JUDGED_SCALING = 0.95
"""Of PyTorch's dense product, a thread: below that other work shared the cores."""
_SCALING_SAMPLES = 15
_DENSE_CONTESTANTS = 7
"""About so many dense contestants hold a weight, for the number of copies that rotate."""


@dataclass(frozen=True)
class Plan:
    """What to time. Layers that a pattern does not fit are timed without it."""

    layers: Mapping[str, LayerShape] = field(default_factory=lambda: bench_layers.LAYERS)
    tokens: tuple[int, ...] = bench_layers.TOKENS
    patterns: tuple[str, ...] = bench_layers.PATTERNS
    growth_tokens: tuple[int, ...] = bench_layers.GROWTH_TOKENS
    growth_patterns: tuple[str, ...] = bench_layers.GROWTH_PATTERNS
    repeats: int = 7
    budget_s: float = 6.0
    """Of one case; every contestant has one sample at least."""
    limit_s: float = math.inf
    """No layer begins after that; those left out are named."""


QUICK = Plan(
    bench_layers.QUICK_LAYERS,
    bench_layers.QUICK_TOKENS,
    bench_layers.QUICK_PATTERNS,
    growth_tokens=(),
    growth_patterns=(),
    repeats=3,
    budget_s=1.0,
)


def plan(
    layers: str | None = None,
    *,
    quick: bool = False,
    repeats: int | None = None,
    limit_s: float | None = None,
) -> Plan:
    """The whole plan or the quick one, for layers whose names match (wildcards, commas between).

    Raises InputError where no layer matches.
    """
    base = QUICK if quick else Plan()
    patterns = [part.strip() for part in (layers or "*").split(",")]
    chosen = {
        name: shape
        for name, shape in base.layers.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    if not chosen:
        raise InputError(
            f"--layers: expected names or wildcards of layers, got '{layers}' "
            f"(valid: {', '.join(base.layers)})"
        )
    seconds = math.inf if limit_s is None else limit_s
    return replace(base, layers=chosen, repeats=repeats or base.repeats, limit_s=seconds)


@dataclass(frozen=True)
class Session:
    """What all cases of one run share."""

    baselines: DenseBaselines
    ceilings: Ceilings | None
    threads: int
    repeats: int
    budget_s: float
    beyond_bytes: int


def study(
    wanted: Plan, threads: int = 1, done: Callable[[dict[str, Any]], None] = lambda _case: None
) -> dict[str, Any]:
    """Time what is wanted; returns plain JSON values. done: called with every finished case."""
    deadline = time.perf_counter() + wanted.limit_s
    core_types = probe_core_types(threads)
    ceilings = measure_ceilings(threads)
    with DenseBaselines(threads, core_type=core_types.best) as baselines:
        session = Session(
            baselines, ceilings, threads, wanted.repeats, wanted.budget_s, beyond_cache_bytes()
        )
        scaling = None if threads == 1 else measure_scaling(threads)
        growth = _growth(wanted, session)
        cases, left_out = [], []
        for name, shape in wanted.layers.items():
            if time.perf_counter() > deadline:
                left_out.append(name)
                continue
            weights = prepared_weights(shape, _patterns(wanted, shape))
            for work in _tokens(wanted, shape):
                cases.append(time_case(name, shape, work, weights, session))
                done(cases[-1])
        return {
            "kind": "measured",
            **provenance(),
            "threads": threads,
            "statistic": "median" if threads == 1 else "shortest",
            "clock": clock_of(threads)[0],
            "openblas": _openblas(core_types, baselines),
            "ceilings": None if ceilings is None else _ceilings_json(ceilings),
            "last_level_cache_mib": last_level_cache_bytes() / 2**20,
            "scaling": scaling,
            "cases": cases,
            "left_out": left_out,
            "growth": growth,
        }


def _tokens(wanted: Plan, shape: LayerShape) -> tuple[int | None, ...]:
    if shape.conv is not None:
        return (None,)  # its own
    if shape.outputs * shape.inputs < bench_layers.LARGE_ENTRIES:
        return wanted.tokens
    return tuple(count for count in wanted.tokens if count in bench_layers.LARGE_TOKENS)


def _patterns(wanted: Plan, shape: LayerShape) -> tuple[str, ...]:
    if shape.outputs * shape.inputs < bench_layers.HUGE_ENTRIES:
        return wanted.patterns
    return tuple(one for one in wanted.patterns if one in bench_layers.HUGE_PATTERNS)


@dataclass(frozen=True)
class Weight:
    """One pattern of a layer, ready for every contestant at any number of tokens."""

    packed: PackedTensor
    prepared: Any
    dispatched: dict[int, Dispatched]
    """By threads, filled on use."""
    libraries: dict[str, Products]

    def for_threads(self, threads: int) -> Dispatched:
        if threads not in self.dispatched:
            self.dispatched[threads] = Dispatched(
                self.packed, threads=threads, prepared=self.prepared
            )
        return self.dispatched[threads]


def prepared_weights(shape: LayerShape, patterns: Iterable[str]) -> dict[str, Weight]:
    """The layer in every pattern that fits it."""
    return {
        pattern: Weight(
            packed,
            kernels.prepare(packed),
            {},
            sparse_products(packed) if shape.conv is None else {},
        )
        for pattern, packed in packed_weights(shape, patterns)
    }


def packed_weights(
    shape: LayerShape, patterns: Iterable[str | Pattern]
) -> Iterable[tuple[str, PackedTensor]]:
    """FF copies of one random weight, in every pattern that fits it."""
    weight = np.random.default_rng(0).standard_normal(shape.weight_shape, np.float32)
    for pattern in patterns:
        parsed = parse_pattern(pattern) if isinstance(pattern, str) else pattern
        try:
            yield str(parsed), pack(weight, parsed, axis=1)
        except PatternError:
            continue


def time_case(
    name: str,
    shape: LayerShape,
    tokens: int | None,
    weights: Mapping[str, Weight],
    session: Session,
) -> dict[str, Any]:
    """One layer at so many tokens (a convolution has its own), with every pattern."""
    product = product_of_layer(shape, tokens)
    copies = _copies(product, weights, session)
    dense = session.baselines.contestants(product, copies)
    inputs = _inputs(shape, product)
    sparse: dict[str, Sample] = {}
    choices: dict[str, Choice] = {}
    for pattern, weight in weights.items():
        calls, choice = _own_calls(weight, shape, inputs, copies, session)
        choices[pattern] = choice
        sparse |= {
            f"{kind} {pattern}": sampled(found, session.threads) for kind, found in calls.items()
        }
    timed = time_interleaved(dense | sparse, repeats=session.repeats, budget_s=session.budget_s)
    dense_s = {key: figure(timed[key], session.threads) for key in dense}
    baseline = min(dense_s, key=dense_s.__getitem__)
    libraries = _libraries(product, weights, inputs, copies, session) if shape.conv is None else {}
    checks = {
        pattern: checked(
            sparse[f"dispatch {pattern}"],
            dense[baseline],
            figure(timed[f"dispatch {pattern}"], session.threads) / dense_s[baseline],
            session.threads,
        )
        for pattern in weights
    }
    return {
        "layer": name,
        "outputs": shape.outputs,
        "inputs": shape.inputs,
        "kernel": list(shape.conv.kernel) if shape.conv else None,
        "tokens": product.tokens,
        "copies": copies,
        "rotated_mib": None if copies == 1 else _rotated_bytes(product, weights) * copies / 2**20,
        "baseline": baseline,
        "dense": {key: timed_json(timed[key]) for key in dense},
        "bf16": libraries.get("", {}),
        "rows": [
            {
                "pattern": pattern,
                "density": weight.packed.pattern.density,
                **_row(pattern, weight.packed, product, timed, dense_s[baseline], session),
                **checks[pattern],
                "choice": choice_json(choices[pattern]),
                "libraries": libraries.get(pattern, {}),
            }
            for pattern, weight in weights.items()
        ],
    }


def _row(
    pattern: str,
    packed: PackedTensor,
    product: Product,
    timed: Mapping[str, Timed],
    dense_s: float,
    session: Session,
) -> dict[str, Any]:
    sparse, dispatch = timed[f"sparse {pattern}"], timed[f"dispatch {pattern}"]
    threads = session.threads
    row: dict[str, Any] = {
        "sparse": timed_json(sparse),
        "dispatch": timed_json(dispatch),
        "ratio": figure(sparse, threads) / dense_s,
        "of_roofline": None,
    }
    if session.ceilings is not None:
        nbytes = stored_bytes(packed) + 4.0 * product.tokens * (
            product.inputs + product.outputs * product.conv_groups
        )
        held = session.beyond_bytes if product.tokens <= ROTATED_TOKENS else nbytes
        macs = packed.pattern.density * product.macs
        least_s, limit = session.ceilings.least_s(macs, nbytes, held)
        row |= {
            "of_roofline": least_s / figure(sparse, threads),
            "least_us": 1e6 * least_s,
            "limited_by": limit,
        }
    if threads > 1:
        alone = timed[f"one thread {pattern}"]
        row["thread_speedup"] = alone.spread.low / sparse.spread.low
    return row


def choice_json(choice: Choice) -> dict[str, Any]:
    """Side, dense library and the sentence that says why."""
    return {"side": choice.side, "library": choice.library, "reason": choice.reason}


def stored_bytes(packed: PackedTensor) -> float:
    """Of the packed image with float32 values: what a kernel reads at least."""
    return packed.storage_bits / 8


def product_of_layer(shape: LayerShape, tokens: int | None) -> Product:
    conv = shape.conv
    taps = conv.taps if conv else 1
    count = tokens if conv is None else conv.batch * conv.out_hw[0] * conv.out_hw[1]
    assert count is not None  # a linear layer has a number of tokens
    return Product(Phase.FF, count, shape.outputs, shape.inputs * taps, conv=conv)


def _inputs(shape: LayerShape, product: Product) -> Array:
    random = np.random.default_rng(1)
    if shape.conv is None:
        return random.standard_normal((product.tokens, shape.inputs), np.float32)
    images = (shape.conv.batch, shape.inputs, *shape.conv.in_hw)
    return random.standard_normal(images, np.float32)


def _own_calls(
    weight: Weight, shape: LayerShape, inputs: Array, copies: int, session: Session
) -> tuple[dict[str, list[Callable[[], object]]], Choice]:
    """Calls of the sparse kernel and through dispatch, one for every copy of the weight."""
    prepared, dispatched = weight.prepared, weight.for_threads(session.threads)
    steps: dict[str, Any] = {}
    if shape.conv is not None:
        steps = {"stride": shape.conv.stride, "padding": shape.conv.padding}
    operation = "matmul" if shape.conv is None else "conv2d"
    given = inputs if shape.conv is None else channels_last(inputs)
    choice = dispatched.choose(operation, given, **steps)
    run = getattr(kernels, operation)
    weights = [prepared, *(apart(prepared) for _ in range(copies - 1))]
    chosen = [dispatched, *(dispatched.copied() for _ in range(copies - 1))]
    calls: dict[str, list[Callable[[], object]]] = {
        "sparse": [partial(run, w, inputs, threads=session.threads, **steps) for w in weights],
        "dispatch": [partial(getattr(d, operation), given, **steps) for d in chosen],
    }
    if session.threads > 1:
        calls["one thread"] = [partial(run, w, inputs, threads=1, **steps) for w in weights]
    return calls, choice


def channels_last(images: Array) -> Array:
    """The same (batch, channels, h, w) in the order of memory that dense convolutions like best."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def _copies(product: Product, weights: Mapping[str, Weight], session: Session) -> int:
    """Of every weight, so that all of them together lie in no cache."""
    if product.tokens > ROTATED_TOKENS:
        return 1
    return max(2, math.ceil(session.beyond_bytes / _rotated_bytes(product, weights)))


def _rotated_bytes(product: Product, weights: Mapping[str, Weight]) -> float:
    """Of one copy of every contestant's weight."""
    dense = 4.0 * product.outputs * product.inputs
    return _DENSE_CONTESTANTS * dense + 2 * sum(stored_bytes(w.packed) for w in weights.values())


def _libraries(
    product: Product, weights: Mapping[str, Weight], inputs: Array, copies: int, session: Session
) -> dict[str, dict[str, Any]]:
    """Times by pattern and library; those of no pattern (BF16) under ""."""
    bf16 = [bf16_calls(product) for _ in range(copies)]
    found = {"": {name: [calls[name] for calls in bf16] for name in bf16[0]}}
    del bf16
    times = {}
    for pattern in ("", *weights):
        calls = found.pop(pattern, None) or {
            name: build(inputs, copies) for name, build in weights[pattern].libraries.items()
        }
        times[pattern] = {name: _library_json(one, session) for name, one in calls.items() if one}
    return times


def _library_json(calls: list[Call], session: Session) -> dict[str, float]:
    sample = sampled(calls, session.threads)
    first = sample()
    if first > SLOW_S:
        return timed_json(Timed.from_samples([first]))
    repeats = time_interleaved({"": sample}, repeats=session.repeats, budget_s=SLOW_S)
    return timed_json(repeats[""])


def measure_scaling(threads: int) -> dict[str, Any]:
    """How many times as fast PyTorch's dense product is with `threads` as with one, by shortest wall time."""
    import torch

    x, weight = torch.ones(512, 768), torch.ones(3072, 768)
    found = torch.get_num_threads()
    shortest: dict[int, float] = {}
    try:
        for count in (1, threads) * _SCALING_SAMPLES:
            torch.set_num_threads(count)
            start = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            seconds = time.perf_counter() - start
            shortest[count] = min(seconds, shortest.get(count, seconds))
    finally:
        torch.set_num_threads(found)
    scaling = shortest[1] / shortest[threads]
    return {"torch_linear": scaling, "judged": scaling >= JUDGED_SCALING * threads}


def _growth(wanted: Plan, session: Session) -> dict[str, Any]:
    """Times over tokens and over nonzeros, each with its straight line."""
    shape = bench_layers.LAYERS[bench_layers.GROWTH_LAYER]
    fixed = bench_layers.GROWTH_PATTERN_TOKENS
    tokens = [(bench_layers.GROWTH_PATTERN, count) for count in wanted.growth_tokens]
    nonzeros = [(pattern, fixed) for pattern in wanted.growth_patterns]
    return {
        "layer": bench_layers.GROWTH_LAYER,
        "tokens": _line(shape, tokens, session),
        "nonzeros": _line(shape, nonzeros, session),
    }


def _line(shape: LayerShape, points: list[tuple[str, int]], session: Session) -> dict[str, Any]:
    """x: multiply-accumulates. The line is that of least squared relative error."""
    samples: dict[str, Sample] = {}
    macs = []
    for pattern, tokens in points:
        packed = dict(packed_weights(shape, [pattern]))[pattern]
        product = product_of_layer(shape, tokens)
        prepared = kernels.prepare(packed)
        call = partial(kernels.matmul, prepared, _inputs(shape, product), threads=session.threads)
        samples[f"{pattern}, {tokens}"] = sampled([call], session.threads)
        macs.append(packed.pattern.density * product.macs)
    if not points:
        return {"points": [], "worst_deviation": None}
    timed = time_interleaved(samples, repeats=session.repeats, budget_s=session.budget_s)
    seconds = [figure(one, session.threads) for one in timed.values()]
    base, slope = fit_line(macs, seconds)
    return {
        "points": [
            {"pattern": pattern, "tokens": tokens, "macs": m, "us": 1e6 * s}
            for (pattern, tokens), m, s in zip(points, macs, seconds, strict=True)
        ],
        "base_us": 1e6 * base,
        "us_a_mmac": 1e12 * slope,
        "worst_deviation": max(
            abs((base + slope * m) / s - 1) for m, s in zip(macs, seconds, strict=True)
        ),
    }


def fit_line(x: list[float], y: list[float]) -> tuple[float, float]:
    """(value at 0, slope) of least squared relative error."""
    weights = 1 / np.array(y)
    columns = np.stack([weights, weights * np.array(x)], axis=1)
    (base, slope), *_ = np.linalg.lstsq(columns, np.ones(len(y)), rcond=None)
    return float(base), float(slope)


def _openblas(core_types: CoreTypes, baselines: DenseBaselines) -> dict[str, Any]:
    return {
        "best": core_types.best,
        "gflop_s_by_core_type": core_types.gflop_s,
        "libraries": baselines.libraries(),
    }


def _ceilings_json(ceilings: Ceilings) -> dict[str, Any]:
    rates = {f"{mib:g}": rate for mib, rate in ceilings.read_gb_s.items()}
    return {**asdict(ceilings), "read_gb_s": rates}
