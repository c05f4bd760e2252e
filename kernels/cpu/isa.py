"""Which vector unit the kernels use.

    avx512   16 float32 a register, 32 registers
    avx2     8 float32 a register, 16 registers
    portable no LLVM assembly: the Numba loops of `rows`

$COSPARSE_CPU_ISA names one of them instead of the best that this machine has.
"""

import os
from dataclasses import dataclass
from functools import lru_cache

import llvmlite.binding as llvm

from cosparse.spec import UnsupportedError
from cosparse.spec.errors import unknown_name


@dataclass(frozen=True)
class Isa:
    """A vector unit: float32 in a register, registers for sums, and the CPU features it needs."""

    name: str
    lanes: int
    accumulators: int
    features: tuple[str, ...]


AVX512 = Isa("avx512", 16, 24, ("avx512f", "avx512bw", "avx512dq", "avx512vl", "fma"))
AVX2 = Isa("avx2", 8, 12, ("avx2", "fma"))
PORTABLE = Isa("portable", 0, 0, ())
ISAS = {isa.name: isa for isa in (AVX512, AVX2, PORTABLE)}


def current() -> Isa:
    """The vector unit in use.

    Raises UnsupportedError for a name in $COSPARSE_CPU_ISA that is none or that this machine lacks.
    """
    name = os.environ.get("COSPARSE_CPU_ISA", "")
    available = available_isas()
    if not name:
        return available[0]
    if name not in ISAS:
        raise UnsupportedError(unknown_name("$COSPARSE_CPU_ISA", name, ISAS))
    if ISAS[name] not in available:
        raise UnsupportedError(
            f"$COSPARSE_CPU_ISA asks for '{name}', which this machine lacks "
            f"(it has: {', '.join(isa.name for isa in available)})"
        )
    return ISAS[name]


@lru_cache
def available_isas() -> tuple[Isa, ...]:
    """Those of this machine, best first."""
    try:
        found = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this processor
        return (PORTABLE,)
    return tuple(isa for isa in ISAS.values() if all(found.get(f, False) for f in isa.features))


@lru_cache
def has_dot_instruction(isa: Isa) -> bool:
    """Whether this processor multiplies bytes in vectors of `isa` (AVX512-VNNI, AVX-VNNI)."""
    if isa is PORTABLE:
        return False
    features: dict[str, bool] = llvm.get_host_cpu_features()
    if features.get("avx512vnni", False) and features.get("avx512vl", False):
        return True
    return isa is AVX2 and features.get("avxvnni", False)
