"""Workload files: every kind of operation comes back as it was; damaged ones are refused."""

import json

import pytest

from cosparse.spec import (
    NM,
    VNM,
    Block,
    ConvGeometry,
    CorruptFileError,
    Gemm,
    InputError,
    Operand,
    PatternError,
    Phase,
    SchemaVersionError,
    TensorInfo,
    Unstructured,
    Vector,
    Workload,
)

CONV = ConvGeometry(4, (8, 8), (4, 4), (3, 3), (2, 2), (1, 1), (1, 1))


def product(pattern=None, **fields):
    rhs = Operand("w") if pattern is None else Operand("w", pattern)
    sizes = {"name": "g", "phase": Phase.FF, "m": 6, "k": 32, "n": 16}
    return Gemm(**sizes | {"lhs": Operand("x"), "rhs": rhs} | fields)


OPS = {
    "dense": product(),
    "N:M": product(NM(2, 8)),
    "V:N:M": product(VNM(16, 2, 8)),
    "block": product(Block(16, 16, 0.25)),
    "unstructured": product(Unstructured(0.1)),
    "convolution": product(NM(2, 4), m=64, k=9 * 8, conv=CONV),
    "strided BP": product(phase=Phase.BP, conv=CONV, macs=12345),
    "grouped": product(groups=4),
    "batched": product(batch=12, phase=Phase.BP),
    "sparse gradient": product(phase=Phase.BP, lhs=Operand("dy", NM(2, 8), "bfloat16")),
    "vector": Vector("relu", Phase.FF, "relu", 100, 400),
    "update": Vector("w", Phase.UPDATE, "sgd_momentum", 100, 2000),
    "prune": Vector("w.FF", Phase.PRUNE, "2:8", 100, 300),
}


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_round_trip(op, tmp_path):
    workload = Workload((op,), (TensorInfo("w", (16, 32), "float16", "weight"),), {"a": [1, None]})
    workload.save(tmp_path / "w.json")
    assert Workload.load(tmp_path / "w.json") == workload


def test_counts_by_phase():
    workload = Workload((OPS["N:M"], OPS["batched"], OPS["vector"]))
    assert workload.macs() == 6 * 32 * 16 * (1 + 12)
    assert workload.macs(Phase.FF) == 6 * 32 * 16
    assert workload.issued_macs(Phase.FF) == 6 * 32 * 16 // 4
    assert workload.only((Phase.BP,)).ops == (OPS["batched"],)


@pytest.mark.parametrize(
    ("gemm", "expected"),
    [
        (product(NM(2, 8), k=33), 6 * 16 * 5 * 2),  # 33 inputs: five groups of two
        (product(NM(2, 8), k=9 * 12, conv=CONV), 6 * 16 * 9 * 2 * 2),  # nine taps of two groups
        (product(Unstructured(0.5)), 6 * 32 * 16 // 2),
        (product(NM(2, 8), k=0), 0),
        (product(NM(4, 8), macs=1000), 500),
    ],
)
def test_issued_macs(gemm, expected):
    assert gemm.issued_macs == expected


def test_negative_sizes_are_refused():
    with pytest.raises(PatternError, match="sizes >= 0"):
        product(m=-1)


def _without(key):
    return lambda data: data.pop(key)


def _with(key, value):
    return lambda data: data.update({key: value})


@pytest.mark.parametrize(
    "damage",
    [
        _without("ops"),
        _without("tensors"),
        _without("provenance"),
        _with("ops", 3),
        _with("ops", [3]),
        _with("ops", [{"op": "gemm"}]),
        _with("tensors", [{"name": "w"}]),
        lambda data: data["ops"][0].update(phase="FW"),
        lambda data: data["ops"][0]["rhs"].update(pattern="8:2"),
        lambda data: data["ops"][0].update(colour="red"),
        lambda data: data["ops"][0].update(conv={"batch": 1}),
        lambda data: data["ops"][0].pop("m"),
        lambda data: data["ops"][0].update(m=-3),
        lambda data: data["ops"][0].update(m="many"),
    ],
)
def test_damaged_files_are_refused(tmp_path, damage):
    data = Workload((OPS["N:M"],)).to_json()
    damage(data)
    (tmp_path / "w.json").write_text(json.dumps(data))
    with pytest.raises(InputError):
        Workload.load(tmp_path / "w.json")


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1'])
def test_what_is_not_json(tmp_path, text):
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(CorruptFileError, match="not a workload"):
        Workload.load(tmp_path / "w.json")


@pytest.mark.parametrize("data", [{"schema": 99}, {}, [], None])
def test_other_schemas_say_the_way_out(data):
    with pytest.raises(SchemaVersionError, match="capture it again"):
        Workload.from_json(data)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot read a workload"):
        Workload.load(tmp_path / "absent.json")
