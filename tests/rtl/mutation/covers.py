"""The tests that cover each module, in stages: the quickest first, the broader ones for what survives."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_SHARED = ("rtl/tb/*_bench.py", "rtl/tb/*_cases.py", "rtl/tb/fp_main.cpp", "tests/programs/*.py")


@dataclass(frozen=True)
class Stage:
    """tests: pytest arguments. plain: they read the sources themselves, which a schema is no use to."""

    name: str
    tests: tuple[str, ...]
    plain: bool = False

    def digest(self) -> str:
        """Of the tests and benches: a mutant that passed others has to pass these too."""
        total = hashlib.sha256(" ".join(self.tests).encode())
        named = (test.partition("::")[0] for test in self.tests if test.startswith("tests/"))
        files = [path for pattern in (*named, *_SHARED) for path in sorted(ROOT.glob(pattern))]
        for path in files:
            total.update(path.read_bytes())
        return total.hexdigest()[:12]


CONFIGURATIONS = ("4x4", "8x4", "4x8", "2x2")
"""Of tests/rtl/test_accelerator.py: proofs are for their parameters."""

EQUIVALENCE = Stage("equivalence", CONFIGURATIONS)
"""No tests: Yosys, on every module, last: a mutant that is killed or explained needs no proof."""

_SCREENS = "tests/rtl/mutation/screens.py"


def _screen(name: str) -> tuple[str, ...]:
    return (f"{_SCREENS}::test_{name}",)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("numbers", ("tests/rtl/test_fp.py::test_a_million_vectors_at_every_latency",)),
        Stage("cells", ("tests/rtl/test_cells.py",)),
        Stage("few vectors", _screen("vectors")),
        Stage("few groups", _screen("groups")),
        Stage("few matmuls", _screen("matmuls")),
        Stage("few transfers", _screen("transfers")),
        Stage("few programs", _screen("programs")),
        Stage("host", ("tests/rtl/test_host.py",)),
        Stage("vectors", ("tests/rtl/test_wuve.py", "-k", "bits_and_cycles")),
        Stage("groups", ("tests/rtl/test_sore.py",)),
        Stage("errors", ("tests/rtl/test_errors.py", "-k", "not complete")),
        Stage("transfers", ("tests/rtl/test_dma.py",)),
        Stage("matmuls", ("tests/rtl/test_stce.py", "-k", "sat-4x4")),
        Stage("proofs of cells", ("tests/rtl/test_formal.py", "-k", "proved"), plain=True),
        Stage("proof of the lane", ("tests/rtl/test_formal_sore.py", "-k", "keeps"), plain=True),
        Stage(
            "resets",
            ("tests/rtl/test_reset.py", "tests/rtl/test_recovery.py", "-k", "not finds_registers"),
        ),
        Stage("other hosts and memories", ("tests/rtl/test_axi_models.py",)),
        Stage("other groups", _screen("groups_of_other_units")),
        Stage("other arrays", _screen("matmuls_of_other_arrays")),
        Stage("programs", ("tests/rtl/test_accelerator.py", "-k", "rtl_has")),
        EQUIVALENCE,
    )
}

_MATMULS = ("few matmuls", "matmuls", "resets", "other arrays", "programs")
_GROUPS = ("few groups", "groups", "resets", "other groups", "programs")
_VECTORS = ("few vectors", "vectors", "resets", "programs")
_TRANSFERS = ("few transfers", "errors", "transfers", "resets", "other hosts and memories")
_TOP = (*_TRANSFERS, "few programs", "programs")
_NUMBERS = ("numbers", "few vectors", "few matmuls")

COVERS: dict[str, tuple[str, ...]] = {
    "axi_lite_regs": (*_TRANSFERS, "host", "proofs of cells"),
    "cosparse_top": _TOP,
    "delay_line": ("cells", "few vectors", "few groups", "few matmuls", "vectors"),
    "descriptor_pair": _TOP,
    "dma": (*_TRANSFERS, "proofs of cells", "programs"),
    "dma_bursts": (*_TRANSFERS, "programs"),
    "dma_walk": (*_TRANSFERS, "programs"),
    "fifo": ("cells", "proofs of cells", *_TRANSFERS),
    **dict.fromkeys(("fp16_mul", "fp16_to_fp17", "fp16_to_fp32", "fp17_mul"), _NUMBERS),
    **dict.fromkeys(("fp32_add", "fp32_mul", "fp32_to_fp16"), _NUMBERS),
    "front_end": _TOP,
    "instruction_check": _TOP,
    "run_control": (*_TOP, "host"),
    **dict.fromkeys(("scratchpad", "scratchpad_half", "scratchpad_pair"), ("cells", *_TOP)),
    "semaphore_bank": (*_TOP, "proofs of cells"),
    "skid_buffer": ("cells", "proofs of cells"),
    "sore_lane": ("few groups", "groups", "proof of the lane", *_GROUPS[2:]),
    **dict.fromkeys(("sore", "sore_group", "sore_transposer", "sore_walk"), _GROUPS),
    **dict.fromkeys(("stce", "stce_array", "stce_feeder", "stce_loader", "stce_planner"), _MATMULS),
    **dict.fromkeys(("stce_row", "stce_segments", "stce_sequencer", "stce_setup"), _MATMULS),
    **dict.fromkeys(("stce_sums", "stce_turn", "uspe"), _MATMULS),
    **dict.fromkeys(("wuve", "wuve_lane", "wuve_sequencer"), _VECTORS),
}

PACKAGES = ("cosparse_pkg", "wuve_pkg")
"""Not in the campaign: the first is generated from tables that a test compares, both are constants."""
