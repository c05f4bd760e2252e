import pytest

from hwsim.disassembler import disassemble, disassemble_program
from hwsim.isa import FIELDS, REGISTERS, Instruction, Op, Space, Unit, VectorOp, configure
from hwsim.program import Program
from tests.programs import program_from_seed

ROWS = {"run_bytes": 64, "count0": 4, "stride0": 128, "count1": 1, "count2": 1}
ROWS |= {"row_bytes": 256, "row_words": 8}


def zeros(op, **args):
    return {item.name: 0 for item in FIELDS[op]} | args


def test_transfer_with_its_bank_and_semaphores():
    args = {"bank": 3, "space": Space.WGT, "local": 16, "dram": 0x1230}
    text = disassemble(Instruction(Op.LOAD, args, wait=0b101000, signal=0b10), ROWS)
    assert " ".join(text.split()) == (
        "LOAD WGT[16] <- DRAM[0x1230] bank 3: runs of 64 B (4 at +128), "
        "rows of 256 B at +8 words wait s3,s5 signal s1"
    )


def test_store_goes_the_other_way():
    args = {"bank": 0, "space": Space.ACC16, "local": 0, "dram": 32}
    assert "DRAM[0x20] <- ACC16[0]" in disassemble(Instruction(Op.STORE, args))


def test_config_names_registers_and_their_signed_values():
    config = configure(Unit.DMA, 1, {"count0": 7, "stride0": -16})
    assert "bank 1: stride0 = -16, count1 = 0" in disassemble(config[1])


def test_config_of_the_last_register_of_an_odd_table():
    config = configure(Unit.DMA, 1, {"row_words": 5})[-1]
    assert disassemble(config).endswith("bank 1: row_words = 5")


@pytest.mark.parametrize(
    ("instruction", "registers", "part"),
    [
        (
            Instruction(Op.FILL, {"space": Space.ACT, "local": 4, "words": 3, "value": 0x3C00}),
            {},
            "ACT[4..6] <- 0x3c00",
        ),
        (Instruction(Op.HALT), {}, "HALT"),
        (
            Instruction(Op.VECTOR, zeros(Op.VECTOR, vector_op=VectorOp.MASK, a=1, b=2, dst=3)),
            {"rows": 2, "words": 1, "to_act": 1},
            "dst[3] <- MASK ACC[1], ACC[2]  bank 0: 2 rows of 1 words, dst in ACT",
        ),
        (
            Instruction(Op.PRUNE, zeros(Op.PRUNE, act=5, wgt=6)),
            {"n": 2, "m": 8, "rows": 16, "columns": 4, "transpose": 1},
            "WGT[6] <- ACT[5]  bank 0: 2:8 of 16 x 4 transposed",
        ),
        (
            Instruction(Op.UPDATE, zeros(Op.UPDATE, momentum=7)),
            {"rows": 1, "words": 2},
            "momentum ACC[7]",
        ),
    ],
)
def test_instruction(instruction, registers, part):
    assert part in disassemble(instruction, registers)


def test_matmul_tells_flow_format_and_sizes():
    registers = {"flow": 1, "lhs": 0, "packed": 1, "use_table": 0, "n": 2, "m": 8, "ic": 2, "ir": 1}
    registers |= {"images": 1, "out_h": 4, "out_w": 5, "taps_y": 3, "taps_x": 3}
    registers |= {"channels": 16, "columns": 8, "segments": 0}
    text = disassemble(Instruction(Op.MATMUL, zeros(Op.MATMUL, accumulate=1, acc=9)), registers)
    assert "ACC[9] += ACT[0] * WGT[0]  bank 0" in text
    assert "WS ROW 2:8 packed Ic 2 Ir 1, 1x4x5 tokens, 3x3 taps of 16, 8 columns" in text


def test_a_segment_table_is_an_operand():
    registers = dict.fromkeys(item.name for item in REGISTERS[Unit.STCE])
    registers |= {"use_table": 1, "segments": 5, "flow": 0, "lhs": 0, "channels": 4}
    text = disassemble(Instruction(Op.MATMUL, zeros(Op.MATMUL, table=6)), registers)
    assert "WGT[0], table WGT[6]" in text and "5 segments of 4" in text


def test_a_line_for_each_instruction_of_a_program():
    _, program = program_from_seed(0)
    lines = list(disassemble_program(program))
    assert len(lines) == len(program)
    for number, (line, instruction) in enumerate(zip(lines, program, strict=True)):
        index, unit, op = line.split()[:3]
        assert int(index) == number
        assert unit == (instruction.unit.name if instruction.unit is not None else "all")
        assert op == instruction.op.name


def test_the_bank_is_the_one_written_last():
    load = Instruction(Op.LOAD, {"bank": 0, "space": Space.ACT, "local": 0, "dram": 0})
    again = configure(Unit.DMA, 0, ROWS | {"run_bytes": 32})
    program = Program.assemble([*configure(Unit.DMA, 0, ROWS), load, *again, load])
    runs = [line for line in disassemble_program(program) if "LOAD" in line]
    assert "runs of 64 B" in runs[0] and "runs of 32 B" in runs[1]
