"""A step read from a file: a workload of ours, a SCALE-Sim topology or an ONNX graph."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cosparse.spec import NM, InputError, Pattern, Phase, Workload, parse_pattern
from hwsim.imports import read_onnx, read_scale_sim, without_patterns

DENSE = "dense"
"""Name of the dense step beside a pruned one."""


@dataclass(frozen=True)
class ImportOptions:
    """What a foreign file does not say. ends: prune stem and classifier too."""

    training: bool = False
    pattern: Pattern | None = None
    ends: bool = False


def import_options(*, training: bool, pattern: str | None, ends: bool) -> ImportOptions:
    """Options as a user writes them. Raises PatternError, and InputError for `ends` alone."""
    if ends and pattern is None:
        raise InputError("--ends: expected --pattern beside it, got none")
    return ImportOptions(training, None if pattern is None else parse_pattern(pattern), ends)


def refuse_options(target: str, options: ImportOptions) -> None:
    """Raise InputError for options on what has its phases and patterns already."""
    if options != ImportOptions():
        raise InputError(
            f"{target}: --training, --pattern and --ends are for files of other tools "
            f"({', '.join(FOREIGN)}); a workload or scenario has its phases and patterns already"
        )


def _own(path: Path, options: ImportOptions) -> Workload:
    refuse_options(str(path), options)
    return Workload.load(path)


def _scale_sim(path: Path, options: ImportOptions) -> Workload:
    return read_scale_sim(
        path, training=options.training, pattern=options.pattern, ends=options.ends
    )


def _onnx(path: Path, options: ImportOptions) -> Workload:
    return read_onnx(path, training=options.training, pattern=options.pattern, ends=options.ends)


READERS: dict[str, Callable[[Path, ImportOptions], Workload]] = {
    ".json": _own,
    ".csv": _scale_sim,
    ".onnx": _onnx,
}
"""Suffix -> reader."""

FOREIGN = tuple(suffix for suffix, reader in READERS.items() if reader is not _own)


def read_steps(path: Path, options: ImportOptions) -> dict[str, Workload]:
    """Name -> workload of a file of READERS; a pruned import stands beside its dense self.

    A derived training step ends with UPDATE and PRUNE.
    """
    workload = READERS[path.suffix.lower()](path, options)
    if path.suffix.lower() not in FOREIGN:
        return {path.stem: workload}
    steps = {path.name: workload}
    if workload.issued_macs() < workload.macs():
        steps[DENSE] = without_patterns(workload)
    return {name: with_update(s) for name, s in steps.items()} if options.training else steps


def with_update(workload: Workload) -> Workload:
    """The step with the update of every trained weight and the pruning of every N:M copy."""
    from algos.lowering import lower
    from algos.plan import LayerPlan

    shapes = {tensor.name: tensor.shape for tensor in workload.tensors}
    pruned = {
        (gemm.rhs.tensor, gemm.phase): gemm.rhs.pattern
        for gemm in workload.gemms
        if isinstance(gemm.rhs.pattern, NM)
    }
    groups = {gemm.rhs.tensor: gemm.groups for gemm in workload.gemms}
    plans = {
        name: LayerPlan(
            name,
            shapes[name],
            groups[name],
            ff=pruned.get((name, Phase.FF)),
            bp=pruned.get((name, Phase.BP)),
        )
        for name, _ in pruned
    }
    return lower(workload, plans)
