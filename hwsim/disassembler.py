"""Readable text of instructions and programs.

A line has index, unit, opcode, operands, what the registers of its bank say, waits and signals.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from .accesses import OPERANDS_OF_VECTOR, Registers
from .banks import Banks
from .isa import (
    REGISTERS,
    Flow,
    Instruction,
    Lhs,
    Op,
    Space,
    Unit,
    VectorOp,
    register_value,
)
from .program import Program

_UNKNOWN: Registers = MappingProxyType({})
_TWO_OPERANDS = {kind for kind, count in OPERANDS_OF_VECTOR.items() if count == 2}


def disassemble(instruction: Instruction, registers: Registers = _UNKNOWN) -> str:
    """One instruction. registers: of the bank that it names, to tell what they say."""
    parts = [f"{instruction.op.name:<7}", _operands(instruction, registers)]
    if "bank" in instruction.args and instruction.op is not Op.CONFIG:
        parts.append(_bank(instruction, registers))
    for name, semaphores in (("wait", instruction.waits()), ("signal", instruction.signals())):
        if semaphores:
            parts.append(f"{name} {','.join(f's{number}' for number in semaphores)}")
    return "  ".join(part for part in parts if part).rstrip()


def disassemble_program(program: Program) -> Iterator[str]:
    """A line for each instruction, in program order. Raises InputError for an illegal encoding."""
    banks = {unit: Banks(unit) for unit in Unit}
    width = len(str(len(program)))
    for index, instruction in enumerate(program):
        unit = instruction.unit
        if unit is not None and instruction.op is Op.CONFIG:
            banks[unit].write(instruction)
        text = disassemble(instruction, named_bank(banks, instruction))
        yield f"{index:>{width}}  {unit.name if unit is not None else 'all':<4}  {text}"


def named_bank(banks: Mapping[Unit, Banks], instruction: Instruction) -> Registers:
    """Registers of the bank that describes the instruction; empty where it names none."""
    unit = instruction.unit
    if unit is None or instruction.op is Op.CONFIG or "bank" not in instruction.args:
        return {}
    return banks[unit].read(instruction.args["bank"])


def _operands(instruction: Instruction, registers: Registers) -> str:
    if instruction.op is Op.HALT:
        return ""
    text = _OPERANDS[instruction.op](instruction.args)
    if registers.get("use_table"):
        text += f", table {_word('WGT', instruction.args['table'])}"
    return text


def _bank(instruction: Instruction, registers: Registers) -> str:
    name = f"bank {instruction.args['bank']}"
    if not registers:
        return name
    return f"{name}: {_DESCRIPTIONS[instruction.op](registers)}"


def _config(args: Mapping[str, int]) -> str:
    unit, first = Unit(args["unit"]), args["register"]
    items = REGISTERS[unit][first : first + 2]
    values = [
        f"{item.name} = {register_value(unit, first + offset, args[f'value{offset}'])}"
        for offset, item in enumerate(items)
    ]
    return f"bank {args['bank']}: {', '.join(values) or f'register {first}'}"


def _load(args: Mapping[str, int]) -> str:
    return f"{_word(_space(args), args['local'])} <- {_byte(args['dram'])}"


def _store(args: Mapping[str, int]) -> str:
    return f"{_byte(args['dram'])} <- {_word(_space(args), args['local'])}"


def _fill(args: Mapping[str, int]) -> str:
    last = args["local"] + args["words"] - 1
    return f"{_space(args)}[{args['local']}..{last}] <- 0x{args['value']:x}"


def _matmul(args: Mapping[str, int]) -> str:
    becomes = "+=" if args["accumulate"] else "="
    product = f"{_word('ACT', args['act'])} * {_word('WGT', args['wgt'])}"
    return f"{_word('ACC', args['acc'])} {becomes} {product}"


def _prune(args: Mapping[str, int]) -> str:
    return f"{_word('WGT', args['wgt'])} <- {_word('ACT', args['act'])}"


def _update(args: Mapping[str, int]) -> str:
    names = ("weight", "momentum", "gradient")
    state = ", ".join(f"{name} {_word('ACC', args[name])}" for name in names)
    return f"{state}, copy {_word('ACT', args['act'])}"


def _vector(args: Mapping[str, int]) -> str:
    """The bank tells where dst lies."""
    operation = _member(VectorOp, args["vector_op"])
    operands = [_word("ACC", args["a"]), _word("ACC", args["b"])]
    count = 2 if args["vector_op"] in _TWO_OPERANDS else 1
    return f"{_word('dst', args['dst'])} <- {operation} {', '.join(operands[:count])}"


def _describe_transfer(registers: Registers) -> str:
    loops = " ".join(
        f"{registers[f'count{level}']} at {registers[f'stride{level}']:+d}"
        for level in (2, 1, 0)
        if registers[f"count{level}"] != 1
    )
    runs = f"runs of {registers['run_bytes']} B" + (f" ({loops})" if loops else "")
    return f"{runs}, rows of {registers['row_bytes']} B at +{registers['row_words']} words"


def _describe_matmul(registers: Registers) -> str:
    kind = f"{_member(Flow, registers['flow'])} {_member(Lhs, registers['lhs'])}"
    form = f"{registers['n']}:{registers['m']}" + (" packed" if registers["packed"] else "")
    tokens = "x".join(str(registers[name]) for name in ("images", "out_h", "out_w"))
    taps = f"{registers['taps_y']}x{registers['taps_x']} taps"
    if registers["use_table"]:
        taps = f"{registers['segments']} segments"
    sizes = f"{tokens} tokens, {taps} of {registers['channels']}, {registers['columns']} columns"
    return f"{kind} {form} Ic {registers['ic']} Ir {registers['ir']}, {sizes}"


def _describe_prune(registers: Registers) -> str:
    source = f"{registers['rows']} x {registers['columns']}"
    transposed = " transposed" if registers["transpose"] else ""
    return f"{registers['n']}:{registers['m']} of {source}{transposed}"


def _describe_update(registers: Registers) -> str:
    return f"{registers['rows']} rows of {registers['words']} words"


def _describe_vector(registers: Registers) -> str:
    return f"{_describe_update(registers)}, dst in {'ACT' if registers['to_act'] else 'ACC'}"


def _space(args: Mapping[str, int]) -> str:
    return _member(Space, args["space"])


def _member(members: type[Space] | type[VectorOp] | type[Flow] | type[Lhs], value: int) -> str:
    """Name of an enumerated value; the number where it has none."""
    return members(value).name if value in set(members) else str(value)


def _word(space: str, address: int) -> str:
    return f"{space}[{address}]"


def _byte(address: int) -> str:
    return f"DRAM[0x{address:x}]"


_OPERANDS: dict[Op, Callable[[Mapping[str, int]], str]] = {
    Op.CONFIG: _config,
    Op.LOAD: _load,
    Op.STORE: _store,
    Op.FILL: _fill,
    Op.MATMUL: _matmul,
    Op.PRUNE: _prune,
    Op.UPDATE: _update,
    Op.VECTOR: _vector,
}

_DESCRIPTIONS: dict[Op, Callable[[Registers], str]] = {
    Op.LOAD: _describe_transfer,
    Op.STORE: _describe_transfer,
    Op.MATMUL: _describe_matmul,
    Op.PRUNE: _describe_prune,
    Op.UPDATE: _describe_update,
    Op.VECTOR: _describe_vector,
}
