"""The CPU's share of a result: every matrix product of one method's step, timed against dense."""

from typing import Any

from algos.sparsified import Sparsified
from cosparse.spec import Dense, Gemm, Kind, Measurement, PackedTensor, Phase, Workload

from .bench_cpu import describe_machine, time_gemm
from .dense_baselines import DenseBaselines
from .progress import Reporter
from .timing import GemmTiming, Product, Timed

SECONDS_A_PRODUCT = 0.3
REPEATS = 15


def measure_cpu(
    workload: Workload, model: Sparsified, threads: int, reporter: Reporter
) -> dict[str, Any]:
    """Time the products of `workload` with the packed weights of `model`.

    Returns the "measured" section: one row a product, and the totals of the step with sparse
    kernels (`sparse_s`), with dense wherever it is faster (`dispatched_s`) and all dense
    (`dense_s`). A product without a sparse weight runs on the fastest dense library in all three.
    """
    rows = []
    with DenseBaselines(threads) as baselines:
        with reporter.task("products", len(workload.gemms)) as task:
            for done, gemm in enumerate(workload.gemms, start=1):
                rows.append(_measure(gemm, model, threads, baselines))
                task.update(done, gemm.name)
        machine = describe_machine(baselines)
    return {
        "threads": threads,
        "machine": machine,
        "baselines": sorted({name for row in rows for name in row["dense_all"]}),
        "layers": rows,
        "sparse_s": sum((row["sparse"] or row["dense"])["value"] for row in rows),
        "dispatched_s": sum(_faster(row) for row in rows),
        "dense_s": sum(row["dense"]["value"] for row in rows),
    }


def _measure(
    gemm: Gemm, model: Sparsified, threads: int, baselines: DenseBaselines
) -> dict[str, Any]:
    packed = _packed(gemm, model)
    timing = time_gemm(
        _product(gemm),
        packed,
        threads=threads,
        repeats=REPEATS,
        budget_s=SECONDS_A_PRODUCT,
        baselines=baselines,
    )
    sparse = None if packed is None else _time(gemm, "cpu kernels", timing, timing.sparse)
    return {
        "name": gemm.name,
        "phase": gemm.phase.value,
        "pattern": None if packed is None else str(packed.pattern),
        "sparse": sparse,
        "dense": _time(gemm, timing.baseline, timing, timing.dense[timing.baseline]),
        "dense_all": {name: timed.median_s for name, timed in timing.dense.items()},
    }


def _packed(gemm: Gemm, model: Sparsified) -> PackedTensor | None:
    """The packed weight of a product; an output gradient pruned online has no CPU kernel."""
    if isinstance(gemm.rhs.pattern, Dense):
        return None
    return model.pack(gemm.rhs.tensor, gemm.phase)


def _product(gemm: Gemm) -> Product:
    groups = gemm.groups * gemm.batch
    return Product(gemm.phase, _tokens(gemm), *_weight_sizes(gemm), groups, gemm.conv)


def _weight_sizes(gemm: Gemm) -> tuple[int, int]:
    """(outputs, inputs * taps) of one convolution group of a dense product, in FF's terms."""
    if gemm.phase is Phase.FF:
        return gemm.n, gemm.k
    if gemm.phase is Phase.WU:
        return gemm.n, gemm.m
    taps = gemm.taps
    return gemm.k // taps, gemm.n * taps


def _tokens(gemm: Gemm) -> int:
    """Rows of activations: output pixels for a convolution, so that BP has FF's count."""
    if gemm.phase is Phase.WU:
        return gemm.k
    if gemm.conv is not None:
        return gemm.conv.batch * gemm.conv.out_hw[0] * gemm.conv.out_hw[1]
    return gemm.m


def _time(gemm: Gemm, backend: str, timing: GemmTiming, timed: Timed) -> dict[str, Any]:
    return Measurement(
        op=gemm.name,
        phase=gemm.phase.value,
        backend=backend,
        metric="time",
        kind=Kind.MEASURED,
        value=timed.median_s,
        unit="s",
        spread=timed.spread,
        provenance={
            "baseline": timing.baseline,
            "clock": timing.clock,
            "threads": timing.threads,
        },
    ).to_json()


def _faster(row: dict[str, Any]) -> float:
    """What a dispatcher that knows both times would take."""
    times = [row["dense"]["value"]]
    if row["sparse"] is not None:
        times.append(row["sparse"]["value"])
    return float(min(times))
