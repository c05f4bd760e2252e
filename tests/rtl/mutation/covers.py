"""The tests that cover each module: pytest arguments, the quickest that are thought to suffice."""

_FP = ("tests/rtl/test_fp.py::test_a_million_vectors_at_every_latency",)
_SORE = ("tests/rtl/test_sore.py",)
_WUVE = ("tests/rtl/test_wuve.py", "-k", "bits_and_cycles")

COVERS: dict[str, tuple[str, ...]] = {
    "delay_line": _WUVE,
    "fp16_mul": _FP,
    "fp16_to_fp17": _FP,
    "fp16_to_fp32": _FP,
    "fp17_mul": _FP,
    "fp32_add": _FP,
    "fp32_mul": _FP,
    "fp32_to_fp16": _FP,
    **dict.fromkeys(("sore", "sore_group", "sore_lane", "sore_transposer", "sore_walk"), _SORE),
    "wuve": _WUVE,
    "wuve_lane": _WUVE,
    "wuve_sequencer": _WUVE,
}
