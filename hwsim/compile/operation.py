"""Products and passes at addresses of the user's choice, so that the result of one is read by the next.

An operation names its tensors by role. The roles of a product are `left`, `right` (the values of a
packed weight; of a block-sparse one its segment tables too), `indices` and `result`; those of a pass
are the names of `Pass.addresses`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cosparse.spec import BlockTensor, Gemm, UnsupportedError
from hwsim.config import AcceleratorConfig
from hwsim.isa import Op
from hwsim.program import Program
from hwsim.support import DATAFLOWS, supports

from .block_rows import block_nests
from .emit import emit
from .images import result_span
from .lower import gemm_nests
from .nest import Nests
from .passes import Pass
from .search import fastest
from .sections import Section, sections_program

PAGE_BYTES = 4096
"""Every tensor begins on a page: bursts, and so cycles, do not depend on where."""

Addresses = Mapping[str, int]

_FIELDS = {"left": "act", "right": "wgt", "indices": "idx", "result": "out"}
"""The address in a nest of each role."""


@dataclass(frozen=True)
class Operation:
    """sizes: bytes of each tensor by role. program: the instructions with tensors at addresses."""

    name: str
    sizes: Mapping[str, int]
    program: Callable[[Addresses], Program]


def product(gemm: Gemm, config: AcceleratorConfig, right: BlockTensor | None = None) -> Operation:
    """A product under its fastest tiling and dataflow.

    right: a block-sparse weight, whose blocks decide what the program does; only its structure is
    used. Raises UnsupportedError where the accelerator cannot run the product.
    """
    where = f"{gemm.phase} of '{gemm.name}' on {config.name}"
    reason = supports(gemm, config)
    if reason is not None:
        raise UnsupportedError(f"{where}: {reason}")
    whole = gemm_nests(gemm, config) if right is None else block_nests(gemm, right, config)
    starts = {role: int(whole[field].min()) for role, field in _FIELDS.items()}
    if right is not None:
        del starts["indices"]
    sizes = _sizes(starts, result_span(gemm, whole).stop)
    if not whole["packed"].any():
        sizes.pop("indices", None)
    return of_nests(f"{gemm.phase} {gemm.name}", whole, starts, sizes, config)


def of_nests(
    name: str, whole: Nests, starts: Addresses, sizes: Mapping[str, int], config: AcceleratorConfig
) -> Operation:
    """Uncut nests under the fastest tiling and dataflow.

    starts, sizes: of the tensors that they address, in bytes. Raises UnsupportedError where no
    tiling fits.
    """
    weights = not whole["lhs"].any() and not whole["segments"].any()
    flows = DATAFLOWS.values() if weights else [DATAFLOWS["OS"]]
    found = [best for flow in flows if (best := fastest(whole, flow, config)) is not None]
    if not found:
        raise UnsupportedError(f"{name} on {config.name}: no tiling fits the scratchpads")
    nests, _ = min(found, key=lambda best: best[1][0])
    return Operation(name, sizes, lambda to: emit(_moved(nests, starts, to), config, name))


def pass_operation(pass_: Pass) -> Operation:
    """A pass at other addresses."""
    starts = dict(pass_.addresses)

    def program(to: Addresses) -> Program:
        sections = [_moved_section(section, starts, to) for section in pass_.sections]
        return sections_program(sections, pass_.config, pass_.name)

    return Operation(pass_.name, _sizes(starts, pass_.size_bytes), program)


def _sizes(starts: Addresses, end: int) -> dict[str, int]:
    """Bytes from each tensor to the next one behind it."""
    ordered = sorted(starts.items(), key=lambda item: item[1])
    ends = [*(start for _, start in ordered[1:]), end]
    return {role: stop - start for (role, start), stop in zip(ordered, ends, strict=True)}


def _moved(nests: Nests, starts: Addresses, to: Addresses) -> Nests:
    """The nests with their operands at other addresses; segment tables go with the values."""
    moved = nests.copy()
    for role in starts:
        moved[_FIELDS[role]] += to.get(role, 0) - starts[role]
    moved["table"] += to["right"] - starts["right"]
    return moved


def _moved_section(section: Section, starts: Addresses, to: Addresses) -> Section:
    """The section with every transfer's tensor at another address."""
    steps = tuple(
        replace(step, dram=step.dram + _shift(step.dram, starts, to))
        if step.op in (Op.LOAD, Op.STORE)
        else step
        for step in section.steps
    )
    return replace(section, steps=steps)


def _shift(address: int, starts: Addresses, to: Addresses) -> int:
    """By how much the tensor moves that an address lies in."""
    role = max((role for role in starts if starts[role] <= address), key=starts.__getitem__)
    return to[role] - starts[role]
