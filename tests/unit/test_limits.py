"""The limits of each instruction: a legal one, then one field changed."""

import numpy as np
import pytest

from hwsim import AcceleratorConfig
from hwsim.accesses import Job, Store, accesses
from hwsim.isa import REGISTERS, Flow, Instruction, Lhs, Op, Space, Unit, VectorOp, configure
from hwsim.limits import check_instruction

CONFIG = AcceleratorConfig.preset("sat-4x4", n_max=4)
ACT_HALF, WGT_HALF, ACC_HALF = 1024, 819, 512
"""8 KiB over 2 * 1 * 4, 2 * 4 + 4 / 2 and 4 * 4 bytes a word."""

TRANSFER = {
    "run_bytes": 64,
    "count0": 2,
    "stride0": 64,
    "count1": 1,
    "count2": 1,
    "row_bytes": 32,
    "row_words": 4,
}
MATMUL = {
    "n": 2,
    "m": 4,
    "packed": 1,
    "ic": 2,
    "ir": 2,
    "images": 1,
    "out_h": 1,
    "out_w": 10,
    "in_h": 1,
    "in_w": 10,
    "stride_x": 1,
    "taps_y": 1,
    "taps_x": 1,
    "channels": 8,
    "pixel_words": 2,
    "columns": 6,
    "wgt_words": 2,
    "acc_words": 2,
}
PRUNE = {"n": 2, "m": 8, "rows": 16, "columns": 12, "act_words": 3, "wgt_words": 3}
WUVE = {"rows": 5, "words": 2, "a_words": 2, "b_words": 2, "dst_words": 2}
LEGAL = {
    Op.LOAD: (Unit.DMA, TRANSFER, {"space": Space.ACT, "local": 0, "dram": 64}),
    Op.STORE: (Unit.DMA, TRANSFER, {"space": Space.ACC16, "local": 8, "dram": 0}),
    Op.FILL: (Unit.DMA, {}, {"space": Space.ACC, "local": 0, "words": 8, "value": 1 << 31}),
    Op.MATMUL: (
        *(Unit.STCE, MATMUL),
        {"accumulate": 1, "act": ACT_HALF, "wgt": 0, "acc": ACC_HALF, "table": 0},
    ),
    Op.PRUNE: (Unit.SORE, PRUNE, {"act": 0, "wgt": WGT_HALF}),
    Op.UPDATE: (Unit.WUVE, WUVE, {"weight": 0, "momentum": 10, "gradient": 20, "act": 0}),
    Op.VECTOR: (Unit.WUVE, WUVE, {"vector_op": VectorOp.ADD, "a": 0, "b": 10, "dst": 20}),
}


def problems(op, dram_bytes=1024, **changes):
    """`changes` replace fields or registers of the legal instruction."""
    unit, registers, args = LEGAL[op]
    full = {item.name: 0 for item in REGISTERS[unit]} if op is not Op.FILL else {}
    own = {name: changes.pop(name) for name in args if name in changes}
    instruction = Instruction(op, {**args, **own} if op is Op.FILL else {"bank": 0, **args, **own})
    return check_instruction(instruction, {**full, **registers, **changes}, CONFIG, dram_bytes)


@pytest.mark.parametrize("op", LEGAL)
def test_the_legal_instruction_has_no_problem(op):
    assert problems(op) == []


BROKEN = [
    (Op.LOAD, {"space": 5}, "space: unknown Space '5'"),
    (Op.LOAD, {"dram": 8}, "dram: expected a multiple of 16 bytes, got 8"),
    (Op.LOAD, {"stride2": -24}, "stride2: expected a multiple of 16 bytes, got -24"),
    (Op.LOAD, {"row_bytes": 48}, "row_bytes: expected a divisor of the 128 bytes moved, got 48"),
    (Op.LOAD, {"count1": 0}, "count1: expected at least 1, got 0"),
    (Op.LOAD, {"dram": 1024 - 112}, "dram: expected bytes 0 to 1023 of DRAM, got 912 to 1039"),
    (Op.LOAD, {"stride0": -80}, "dram: expected bytes 0 to 1023 of DRAM, got -16 to 127"),
    (Op.LOAD, {"local": ACT_HALF - 15}, "got 1009 to 1024"),
    (Op.LOAD, {"local": 2 * ACT_HALF - 15}, "got 2033 to 2048"),
    (Op.LOAD, {"row_words": 3}, "local: expected rows at least 4 words apart, got 3"),
    (Op.FILL, {"space": Space.IDX}, "space: expected one of ACT, WGT, ACC, got IDX"),
    (Op.FILL, {"space": Space.ACT}, "value: expected 16 bits, got 0x80000000"),
    (Op.FILL, {"words": 0}, "words: expected at least 1, got 0"),
    (Op.MATMUL, {"m": 3}, "m: expected a divisor of group_max 8, got 3"),
    (Op.MATMUL, {"n": 5}, "n: expected at most 4 (m and n_max), got 5"),
    (Op.MATMUL, {"m": 8, "n": 5}, "n: expected at most 4 (m and n_max), got 5"),
    (Op.MATMUL, {"ic": 4}, "ic * ir: expected at most interleave 4, got 8"),
    (Op.MATMUL, {"ir": 3, "ic": 1}, "ir: expected at most 2, got 3"),
    (Op.MATMUL, {"lhs": Lhs.COLUMN}, "packed: expected lhs = ROW"),
    (Op.MATMUL, {"packed": 0}, "n: expected m = 4 unless packed, got 2"),
    (Op.MATMUL, {"use_table": 1, "segments": 1}, "use_table: expected a right operand without"),
    (
        *(Op.MATMUL, {"lhs": Lhs.COLUMN, "packed": 0, "n": 4, "flow": Flow.WS}),
        "flow: expected lhs = ROW with WS",
    ),
    (
        *(Op.MATMUL, {"use_table": 1, "packed": 0, "n": 4, "segments": 1, "flow": Flow.WS}),
        "flow: expected no segment table with WS",
    ),
    (
        *(Op.MATMUL, {"use_table": 1, "packed": 0, "n": 4}),
        "segments: expected at least 1 with use_table, got 0",
    ),
    (Op.MATMUL, {"acc_words": 1}, "acc: expected rows at least 2 words apart, got 1"),
    (Op.MATMUL, {"acc": ACC_HALF - 19}, "acc: expected words of one half of ACC"),
    (Op.MATMUL, {"act": ACT_HALF - 19}, "act: expected words of one half of ACT"),
    (Op.MATMUL, {"wgt": WGT_HALF - 7}, "wgt: expected words of one half of WGT"),
    (Op.PRUNE, {"n": 0}, "n: expected at least 1, got 0"),
    (Op.PRUNE, {"wgt_words": 2}, "wgt_words: expected room for 12 lanes, got 8"),
    (Op.PRUNE, {"transpose": 1}, "wgt_words: expected room for 16 lanes, got 12"),
    (Op.PRUNE, {"wgt": 2 * WGT_HALF - 11}, "wgt: expected words of one half of WGT"),
    (Op.UPDATE, {"momentum": 9}, "momentum: expected no common word with weight"),
    (Op.UPDATE, {"momentum": 0}, "momentum: expected no common word with weight"),
    (Op.UPDATE, {"dst_words": 1}, "act: expected rows at least 2 words apart, got 1"),
    (Op.VECTOR, {"vector_op": 7}, "vector_op: unknown VectorOp '7'"),
    (Op.VECTOR, {"rows": 0}, "rows: expected at least 1, got 0"),
    (Op.VECTOR, {"dst": 1}, "dst: expected no common word with a, or the same words"),
    (Op.VECTOR, {"dst": 9, "vector_op": VectorOp.BIAS}, "dst: expected no common word with a"),
]


@pytest.mark.parametrize(("op", "changes", "message"), BROKEN)
def test_a_broken_limit_is_named(op, changes, message):
    found = problems(op, **changes)
    assert any(message in text for text in found), found


def test_the_last_legal_place_is_legal():
    for op, changes in (
        (Op.LOAD, {"local": ACT_HALF - 16}),
        (Op.LOAD, {"dram": 1024 - 128}),
        (Op.MATMUL, {"acc": ACC_HALF - 20}),
        (Op.MATMUL, {"act": ACT_HALF - 20}),
        (Op.MATMUL, {"wgt": WGT_HALF - 8}),
        (Op.VECTOR, {"dst": 0}),
        (Op.VECTOR, {"dst": 10}),
        (Op.UPDATE, {"weight": 502, "momentum": 512}),
    ):
        assert problems(op, **changes) == [], (op, changes)


def test_interleaved_rows_do_not_meet():
    """w, v and dW in turn: their intervals overlap, their words do not."""
    interleaved = {"a_words": 6, "weight": 0, "momentum": 2, "gradient": 4}
    assert problems(Op.UPDATE, **interleaved) == []
    assert problems(Op.UPDATE, **interleaved | {"momentum": 3}) != []


def test_config_writes_a_pair_of_registers():
    listed = configure(Unit.DMA, 3, {"row_words": 5, "stride0": -16})
    assert [check_instruction(item, {}, CONFIG) for item in listed] == [[]] * 5
    last = listed[-1].args
    for changes, message in (
        ({"register": 1}, "register: expected an even number below 9 of DMA, got 1"),
        ({"register": 10}, "register: expected an even number below 9 of DMA, got 10"),
        ({"value1": 1}, "value1, past the last register: expected 0 bits, got 0x1"),
        ({"value0": 1 << 20}, "row_words: expected 20 bits, got 0x100000"),
    ):
        broken = Instruction(Op.CONFIG, {**last, **changes})
        assert check_instruction(broken, {}, CONFIG) == [message]


def test_halt_has_no_semaphores():
    assert check_instruction(Instruction(Op.HALT), {}, CONFIG) == []
    assert len(check_instruction(Instruction(Op.HALT, signal=1), {}, CONFIG)) == 1


def test_accesses_of_a_product():
    """10 tokens of 2 words, 4 entries of 2 words, 10 rows of 2 words."""
    unit, registers, args = LEGAL[Op.MATMUL]
    full = {item.name: 0 for item in REGISTERS[unit]} | registers
    found = accesses(Job(Instruction(Op.MATMUL, {"bank": 0, **args}), full, CONFIG))
    assert [(item.store, item.first, item.last, item.writes) for item in found] == [
        (Store.ACT, 1024, 1043, False),
        (Store.WGT, 0, 7, False),
        (Store.IDX, 0, 7, False),
        (Store.ACC, 512, 531, False),
        (Store.ACC, 512, 531, True),
    ]
    assert np.array_equal(found[-1].addresses, np.arange(512, 532).reshape(10, 2))
