"""SCALE-Sim topologies against convolutions run by torch on meta tensors, and gradients by autograd."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from algos import capture
from cosparse.spec import NM, Dense, InputError, Phase, UnsupportedError
from hwsim.imports import read_scale_sim

CONV = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
GEMM = "Layer, M, N, K,"
SPARSE = CONV + " Sparsity,"


def write(tmp_path, *lines):
    path = tmp_path / "net.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def products(workload):
    return {(g.phase.value, g.name): (g.shape, g.macs) for g in workload.gemms}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("geometry")


@given(data=st.data())
def test_a_convolution_is_what_torch_computes(folder, data):
    kernel_h, kernel_w = (data.draw(st.integers(1, 5)) for _ in range(2))
    height, width = (k + data.draw(st.integers(0, 20)) for k in (kernel_h, kernel_w))
    channels, filters, stride = (data.draw(st.integers(1, 9)) for _ in range(3))
    row = f"second,{height},{width},{kernel_h},{kernel_w},{channels},{filters},{stride},"
    first = f"first,{height},{width},1,1,1,{channels},1,"
    read = read_scale_sim(write(folder, CONV, first, row), training=True)
    with torch.device("meta"):
        stem = nn.Conv2d(1, channels, 1, bias=False)
        conv = nn.Conv2d(channels, filters, (kernel_h, kernel_w), stride, bias=False)
        captured = capture(nn.Sequential(stem, conv), torch.empty(1, 1, height, width))
    again = {"first": "0", "second": "1"}
    assert {(phase, again[name]): v for (phase, name), v in products(read).items()} == products(
        captured
    )
    assert [g.conv for g in read.gemms] == [g.conv for g in captured.gemms]


def test_a_product_is_what_torch_computes(tmp_path):
    read = read_scale_sim(write(tmp_path, GEMM, "0,5,6,4,", "1,5,8,6,"), training=True)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 8))
    captured = capture(model, torch.zeros(5, 4))
    assert read.gemms == captured.gemms
    assert read.tensors == captured.tensors
    assert read.provenance["layers"] == captured.provenance["layers"]


def test_without_training_there_is_only_ff(tmp_path):
    path = write(tmp_path, GEMM, "a,5,6,4,")
    read = read_scale_sim(path)
    assert products(read) == {("FF", "a"): ((1, 1, 5, 4, 6), 120)}
    assert read.provenance["file"] == str(path)
    assert (read.provenance["read"], read.provenance["derived"]) == (["FF"], [])
    assert read_scale_sim(path, training=True).provenance["derived"] == ["BP", "WU"]


def test_files_as_they_are_in_the_wild(tmp_path):
    lines = (
        "\ufeff" + CONV.upper(), ",,,,,,,", "", "Conv1     ,224 ,224,7,7,3 ,64,2 ,",
        "\tConv2,56,56,3,3,64,64,1,#dw", "Conv2,56,56,3,3,64,64,1", "",
    )  # fmt: skip
    names = [gemm.name for gemm in read_scale_sim(write(tmp_path, *lines)).gemms]
    assert names == ["Conv1", "Conv2", "Conv2.1"]


def test_columns_are_found_by_their_titles(tmp_path):
    lines = "K,Layer Name,N,M", "4,fc,6,5"
    assert products(read_scale_sim(write(tmp_path, *lines))) == {
        ("FF", "fc"): ((1, 1, 5, 4, 6), 120)
    }
    header = CONV.replace("Strides", "Stride height, Stride width")
    (gemm,) = read_scale_sim(write(tmp_path, header, "c,9,9,3,3,2,4,2,3,")).gemms
    assert gemm.conv.stride == (2, 3) and gemm.conv.out_hw == (4, 3)


def test_output_size_is_the_floor_where_scale_sim_takes_the_ceiling(tmp_path):
    # 58 pixels with padding, kernel 3, stride 2: floor(55 / 2) + 1 = 28; SCALE-Sim counts 29.
    (gemm,) = read_scale_sim(write(tmp_path, CONV, "c,58,58,3,3,64,128,2,")).gemms
    assert gemm.conv.out_hw == (28, 28) and gemm.m == 784


def test_depthwise_rows_are_groups(tmp_path):
    read = read_scale_sim(write(tmp_path, CONV, "Conv1,9,9,1,1,3,8,1,", "Conv2_DP,9,9,3,3,8,1,1,"))
    ff = read.gemms[1]
    captured = capture(nn.Conv2d(8, 8, 3, groups=8), torch.zeros(1, 8, 9, 9)).gemms[0]
    assert (ff.shape, ff.macs, ff.conv) == (captured.shape, captured.macs, captured.conv)


def test_a_batch_is_a_product_of_two_activations(tmp_path):
    lines = "Layer,M,N,K,Batch", "q,7,64,64,1", "scores,7,7,16,4"
    read = read_scale_sim(write(tmp_path, *lines), training=True)
    assert {key: shape for key, (shape, _) in products(read).items() if "scores" in key[1]} == {
        ("FF", "scores"): (4, 1, 7, 16, 7),
        ("BP", "scores.lhs"): (4, 1, 7, 7, 16),
        ("BP", "scores.rhs"): (4, 1, 16, 7, 7),
    }
    assert list(read.provenance["layers"]) == ["q"]


# --- patterns


def patterns(workload):
    return {
        (g.phase.value, g.name): str(g.rhs.pattern)
        for g in workload.gemms
        if not isinstance(g.rhs.pattern, Dense)
    }


ROWS = (
    "stem,9,9,3,3,16,16,1,",
    "mid,9,9,3,3,16,16,1,",
    "thin,9,9,3,3,16,4,1,",
    "end,1,1,1,1,16,16,1,",
)


def test_a_pattern_leaves_the_ends_dense(tmp_path):
    path = write(tmp_path, CONV, *ROWS)
    read = read_scale_sim(path, training=True, pattern=NM(2, 8))
    assert patterns(read) == {
        ("FF", "mid"): "2:8", ("BP", "mid"): "2:8", ("FF", "thin"): "2:8",
    }  # fmt: skip
    dense = read.provenance["dense"]
    assert (dense["stem.weight"], dense["end.weight"]) == ("stem", "classifier")
    assert "at least 8 entries" in dense["thin.weight (BP)"]
    both = read_scale_sim(path, pattern=NM(2, 8), ends=True)
    assert patterns(both).keys() == {("FF", name) for name in ("stem", "mid", "thin", "end")}


def test_a_pattern_that_prunes_nothing_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match=r"'2:8' prunes no weight \(fc.weight: classifier\)"):
        read_scale_sim(write(tmp_path, GEMM, "fc,8,8,8,"), pattern=NM(2, 8))


def test_a_rows_own_ratio_stands(tmp_path):
    lines = [f"{row} {ratio}," for row, ratio in zip(ROWS, ("1:4", "4:4", "", "1"), strict=True)]
    path = write(tmp_path, SPARSE, *lines)
    assert patterns(read_scale_sim(path)) == {("FF", "stem"): "1:4"}
    assert patterns(read_scale_sim(path, pattern=NM(2, 8))) == {
        ("FF", "stem"): "1:4", ("FF", "mid"): "2:8", ("FF", "thin"): "2:8",
    }  # fmt: skip


# --- refusals


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "net.csv:1: expected a header line, got an empty file"),
        ((CONV,), "net.csv: expected at least one layer under the header"),
        (("conv1,224,224,7,7,3,64,2",), "net.csv:1: unknown column 'conv1'"),
        ((CONV.replace("Channels", "Chanels"),), "unknown column 'Chanels', did you mean 'channel'"),
        (("Layer,M,N,",), "net.csv:1: the header lacks the column 'k'"),
        (("M,N,K,",), "the header lacks the column 'layer'"),
        ((CONV.replace(" Strides,", ""),), "the header lacks the column 'stride'"),
        ((GEMM, "", "a,5,x,4"), "net.csv:3: N: expected a positive integer, got 'x'"),
        ((GEMM, "a,5,0,4"), "net.csv:2: N: expected a positive integer, got '0'"),
        ((GEMM, "a,5,1.5,4"), "net.csv:2: N: expected a positive integer, got '1.5'"),
        ((GEMM, "a,5,6"), "net.csv:2: K: expected a positive integer, got ''"),
        ((GEMM, ",5,6,7"), "net.csv:2: Layer: expected a name, got ''"),
        ((GEMM, "a,5,6,7,8"), r"net.csv:2: expected 4 cells \(Layer, M, N, K\), got 5"),
        ((CONV, "c,5,5,7,3,3,3,1"), "net.csv:2: Filter Height: expected at most .*5 .*got 7"),
        ((SPARSE, "c,5,5,3,3,2,6,1,2:4,"), "Sparsity: groups lie along the channels: .*4.*got 2"),
        ((SPARSE, "c,5,5,3,3,8,6,1,2-4,"), "Sparsity: expected a ratio N:M such as 2:4, got '2-4'"),
        ((SPARSE, "c,5,5,3,3,8,6,1,5:4,"), "Sparsity: .*expected 1 <= N <= M"),
        (("Layer,M,N,K,Batch,Sparsity", "a,8,8,8,2,2:4"), "Sparsity: 2:4 needs a weight"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        read_scale_sim(write(tmp_path, *lines))


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "net.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"net\.csv: cannot read a topology"):
        read_scale_sim(tmp_path / "net.csv")
    with pytest.raises(InputError, match="No such file"):
        read_scale_sim(tmp_path / "absent.csv")


def test_phases_are_in_the_order_of_a_step(tmp_path):
    read = read_scale_sim(write(tmp_path, GEMM, "a,2,3,4", "b,2,5,3"), training=True)
    assert [(g.phase, g.name) for g in read.gemms] == [
        (Phase.FF, "a"), (Phase.FF, "b"), (Phase.BP, "b"), (Phase.WU, "b"), (Phase.WU, "a"),
    ]  # fmt: skip
