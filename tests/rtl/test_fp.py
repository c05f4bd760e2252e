"""The number units at every latency, against the host's arithmetic in C++ and against NumPy.

An exhaustive shard that has passed is remembered with the model, so that a nightly run that was cut
short goes on where it stopped.
"""

import numpy as np
import pytest

from cosparse.spec.errors import RunError
from hwsim import cosim

MAIN = cosim.BENCHES / "fp_main.cpp"
SHARDS = 16
RECORD = np.dtype(
    [(name, "<u4") for name in ("a32", "b32", "round", "a16", "b16")]
    + [(name, "<u4") for name in ("add", "mul32", "mul16", "widened", "rounded")]
)


@pytest.fixture(scope="module")
def model():
    return cosim.build(cosim.Design("tb_fp", main=MAIN, optimise="-O2"))


def float32(bits):
    return bits.view(np.float32)


def float16(bits):
    return bits.astype(np.uint16).view(np.float16)


def bits32(values):
    return np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))


def bits16(values):
    return np.where(np.isnan(values), np.uint16(0x7E00), values.view(np.uint16))


def numpy_results(r):
    """Each result of a record by NumPy, which shares no code with the C++ main."""
    with np.errstate(all="ignore"):
        return {
            "add": bits32(float32(r["a32"]) + float32(r["b32"])),
            "mul32": bits32(float32(r["a32"]) * float32(r["b32"])),
            "mul16": bits32(
                float16(r["a16"]).astype(np.float32) * float16(r["b16"]).astype(np.float32)
            ),
            "widened": bits32(float16(r["a16"]).astype(np.float32)),
            "rounded": bits16(float32(r["round"]).astype(np.float16)),
        }


def check_sample(model, count, seed, file):
    """Run `count` random vectors and the corner cross; NumPy judges the first 100,000 of Latency 1."""
    output = cosim.run_main(model, "sample", str(count), str(seed), str(file))
    records = {n: np.ascontiguousarray(np.fromfile(file, RECORD)[n]) for n in RECORD.names}
    assert len(records["a32"]) == 100_000, output
    for name, expected in numpy_results(records).items():
        wrong = np.flatnonzero(records[name] != expected)
        assert not wrong.size, (
            f"{name}: {records_at(records, wrong[0])} NumPy {expected[wrong[0]]:x}"
        )
    return output


def records_at(records, index):
    return {name: f"{values[index]:08x}" for name, values in records.items()}


def test_a_million_vectors_at_every_latency(model, tmp_path):
    # the corner cross and the 65,536 numbers of binary16 come on top
    assert "1078084 vectors, 0 failures" in check_sample(model, 1_000_000, 1, tmp_path / "sample")


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2, 12))
def test_ten_million_vectors_at_every_latency(model, seed, tmp_path):
    check_sample(model, 1_000_000, seed, tmp_path / "sample")


@pytest.mark.nightly
@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("unit", ["mul16", "round16"])
def test_every_operand(unit, shard):
    """All pairs of binary16 numbers multiplied; all binary32 numbers rounded to binary16."""
    design = cosim.Design("tb_fp", {"Exhaustive": 1}, main=MAIN, optimise="-O3")
    program = cosim.build(design)
    done = program.program.with_name(f"{unit}-{shard}-of-{SHARDS}.passed")
    if not done.exists():
        output = cosim.run_main(program, unit, str(shard), str(SHARDS), timeout_seconds=3600)
        assert output == f"{2**32 // SHARDS} vectors, 0 failures\n"
        done.touch()


MUTANTS = [
    ("fp32_add", "norm1[4] | norm1[2]", "1'b1 | norm1[2]"),  # ties away from zero
    ("fp32_add", "{shift8, lost8 | lost2}", "{shift8, lost8}"),  # a lost sticky bit
    ("fp32_add", "beyond ? 27'd0 :", ""),  # a distance of 32 is not one of 0
    ("fp32_add", "(aligned_d.subtract & (&smaller[30:23]))", "1'b0"),  # infinity minus infinity
    ("fp32_add", "summed_q.subtract & zero", "1'b0"),  # x - x is +0
    ("fp32_add", "tight8 ? summed_q.exponent[2:1] : 2'd3", "2'd3"),  # subnormal results
    ("fp32_mul", "window[48:0] != 49'd0", "window[48:32] != 17'd0"),
    ("fp32_mul", "product_q.exponent < 9'd101", "product_q.exponent < 9'd100"),
    ("fp32_mul", "i = 23", "i = 24"),
    ("fp16_to_fp17", "6'd16 - {2'd0, zeros}", "6'd15 - {2'd0, zeros}"),  # of a subnormal
    ("fp17_mul", "(b_infinite & a_zero)", "1'b0"),  # zero times infinity
    ("fp17_mul", "& {8{~settled_q.zero}}", ""),
    ("fp32_to_fp16", "deficit > 8'd12", "deficit > 8'd31"),
    ("fp32_to_fp16", "31'h7f80_0000) r_o", "31'h7f80_0001) r_o"),  # the smallest NaN
    ("fp16_to_fp32", "4'(9 - i)", "4'(8 - i)"),
]


@pytest.mark.nightly
@pytest.mark.parametrize(("unit", "correct", "wrong"), MUTANTS)
def test_a_broken_unit_is_caught(unit, correct, wrong, tmp_path):
    source = (cosim.RTL / f"{unit}.sv").read_text()
    assert source.count(correct) == 1
    (tmp_path / f"{unit}.sv").write_text(source.replace(correct, wrong))
    folders = (tmp_path, cosim.RTL, cosim.BENCHES)
    design = cosim.Design("tb_fp", main=MAIN, folders=folders, optimise="-O0")
    reported = "fp16_mul" if "fp17" in unit else unit
    with pytest.raises(RunError, match=f"FAIL {reported}.* expected .* got "):
        cosim.run_main(cosim.build(design), "sample", "100000", "1", str(tmp_path / "sample"))
