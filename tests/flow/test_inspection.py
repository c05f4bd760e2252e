"""What `inspect` says of checkpoints whose zeros satisfy a pattern by construction."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from cosparse.flow.inspection import inspect_file, satisfied
from cosparse.spec import (
    CorruptFileError,
    Dense,
    Gemm,
    InputError,
    Operand,
    Phase,
    Workload,
    pack,
    parse_pattern,
)


def of_pattern(n, m, shape=(32, 64), axis=1):
    """Exactly n ones at random places of every group of m along `axis`."""
    random = np.random.default_rng(0)
    groups = np.zeros((shape[1 - axis], shape[axis] // m, m), np.float32)
    for group in groups.reshape(-1, m):
        group[random.choice(m, n, replace=False)] = 1.0
    rows = groups.reshape(shape[1 - axis], shape[axis])
    return rows if axis == 1 else np.ascontiguousarray(rows.T)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (2, 8), (1, 8), (1, 4), (2, 16), (1, 16), (4, 8)])
@pytest.mark.parametrize("axis", [0, 1])
def test_n_of_m_by_construction(n, m, axis):
    assert f"{n}:{m}" in satisfied(of_pattern(n, m, axis=axis), axis)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_other_axis_is_not_sparse(axis):
    """Whole rows or columns are kept, so that groups across them are full."""
    kept = np.arange(64) % 8 < 2
    weight = np.ones((64, 64), np.float32) * (kept if axis == 1 else kept[:, None])
    assert "2:8" in satisfied(weight, axis)
    assert not [found for found in satisfied(weight, 1 - axis) if ":" in found]


def test_a_sparser_pattern_implies_the_looser_ones():
    found = satisfied(of_pattern(1, 8), 1)
    assert {"1:8", "2:8", "4:8", "2:16"} <= set(found)
    assert "1:4" in found  # one of eight is at most one of each four
    assert "1:16" not in found


def test_blocks_by_construction():
    kept = np.random.default_rng(0).permutation(16).reshape(4, 4) < 4
    weight = np.kron(kept, np.ones((16, 16), np.float32))
    found = [text for text in satisfied(weight, 1) if text.startswith("block 16x16")]
    assert [parse_pattern(text).density for text in found] == [0.25]
    assert not [text for text in satisfied(weight, 1) if ":" in text]


def test_a_dense_weight_satisfies_nothing():
    assert satisfied(np.ones((64, 64)), 1) == satisfied(np.ones((64, 64)), 0) == ()


def test_convolutions_group_along_channels():
    weight = np.ones((8, 16, 3, 3), np.float32)
    weight[:, np.arange(16) % 8 >= 2] = 0
    assert "2:8" in satisfied(weight, 1)
    assert "2:8" not in satisfied(weight, 0)


def test_one_value_too_many():
    weight = of_pattern(2, 4)
    weight[17, 40:43] = 1.0
    assert "2:4" not in satisfied(weight, 1)


def test_a_checkpoint_reports_its_weights(tmp_path):
    tensors = {"fc.weight": of_pattern(2, 4), "fc.bias": np.ones(32, np.float32)}
    save_file(tensors, tmp_path / "a.safetensors")
    found = inspect_file(tmp_path / "a.safetensors")
    assert found["kind"] == "checkpoint" and found["model"] is None
    (tensor,) = found["tensors"]
    assert (tensor["name"], tensor["shape"], tensor["density"]) == ("fc.weight", [32, 64], 0.5)
    assert "2:4" in tensor["ff"] and "2:4" not in tensor["bp"]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_packed_tensor(tmp_path, axis):
    weight = np.random.default_rng(0).standard_normal((32, 64))
    packed = pack(weight, parse_pattern("2:8"), axis=axis)
    packed.save(tmp_path / "w.packed")
    found = inspect_file(tmp_path / "w.packed")
    assert (found["kind"], found["pattern"], found["shape"]) == ("packed tensor", "2:8", [32, 64])
    assert found["packed_for"] == ("BP", "FF")[axis]
    assert found["storage_bytes"] == 32 * 64 // 8 * 2 * 20 // 8  # 2 of 8: 16-bit value, 4-bit index


def test_a_workload(tmp_path):
    gemm = Gemm("fc", Phase.FF, 4, 64, 32, Operand("x"), Operand("w", parse_pattern("2:8")))
    Workload((gemm,)).save(tmp_path / "w.json")
    found = inspect_file(tmp_path / "w.json")
    assert (found["macs"], found["issued_macs"]) == (4 * 64 * 32, 4 * 64 * 32 // 4)
    assert isinstance(gemm.lhs.pattern, Dense)


def test_results(finished):
    found = inspect_file(finished.folder / "results.json")
    assert found["kind"] == "results"
    assert found["sections"] == ["training", "measured", "simulated"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.txt", b"hello", InputError),
        ("a.json", b'{"a": 1}', CorruptFileError),
        ("a.json", b'{"ops": [], "schema": 1}', CorruptFileError),
        ("a.json", b'{"scenario_hash": "0", "schema": 4}', CorruptFileError),
        ("a.json", b"", CorruptFileError),
        ("a.safetensors", b"xx", InputError),
        ("a.pt", b"xx", InputError),
        ("empty", b"", InputError),
    ],
)
def test_other_files_are_refused(tmp_path, name, content, error):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=name):
        inspect_file(tmp_path / name)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder, expected a file"):
        inspect_file(tmp_path)


def test_half_precision_checkpoints(tmp_path):
    state = {"w": torch.from_numpy(of_pattern(2, 8)).bfloat16()}
    torch.save({"state_dict": state}, tmp_path / "a.pt")
    assert "2:8" in inspect_file(tmp_path / "a.pt")["tensors"][0]["ff"]
