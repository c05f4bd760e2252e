"""Serial execution of a program, in program order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cosparse.spec.errors import InputError, ProgramError

from ..accesses import Job
from ..config import AcceleratorConfig
from ..disassembler import disassemble, named_bank
from ..isa import Instruction, Op, Unit, decode
from ..limits import check_instruction
from ..program import Program
from .dma import fill, load, store
from .memory import Memory
from .scratchpads import Scratchpads
from .sore import prune
from .state import State
from .stce import matmul
from .wuve import update, vector


@dataclass(frozen=True)
class Result:
    """memory: DRAM at the end. nonfinite: a round gave an infinity or NaN."""

    memory: Memory
    nonfinite: bool
    scratchpads: Scratchpads


def run(program: Program, config: AcceleratorConfig, memory: Memory) -> Result:
    """Execute a program; `memory` is left as it is.

    Raises ProgramError, naming the instruction, for an unknown opcode, a broken limit, a semaphore
    without a token, and a word that is read before anything has written it. Races need
    `hwsim.legality`: in program order there are none.
    """
    state = State(memory.image.copy(), Scratchpads.unknown(config))
    last = len(program) - 1
    if last < 0:
        raise ProgramError(f"{program.name}: expected instructions that end in HALT, got none")
    for index, instruction in _decoded(program):
        try:
            _check_end(instruction, index == last)
            _step(state, instruction, config)
        except ProgramError as error:
            raise ProgramError(
                f"{_where(program, index)} ({_text(instruction)}): {error}"
            ) from error
    return Result(Memory(state.dram), state.nonfinite, state.pads)


def _check_end(instruction: Instruction, is_last: bool) -> None:
    if (instruction.op is Op.HALT) != is_last:
        raise ProgramError("expected HALT as the last instruction, and only there")


def _step(state: State, instruction: Instruction, config: AcceleratorConfig) -> None:
    registers = named_bank(state.banks, instruction)
    problems = check_instruction(instruction, registers, config, len(state.dram))
    if problems:
        raise ProgramError("; ".join(problems))
    state.consume(instruction)
    _EXECUTE[instruction.op](state, Job(instruction, registers, config))
    state.produce(instruction)


def _configure(state: State, job: Job) -> None:
    state.banks[Unit(job.args["unit"])].write(job.instruction)


def _decoded(program: Program) -> Iterator[tuple[int, Instruction]]:
    for index, (low, high) in enumerate(program.words.tolist()):
        try:
            instruction = decode(low | high << 64)
        except InputError as error:
            raise ProgramError(f"{_where(program, index)}: {error}") from error
        yield index, instruction


def _where(program: Program, index: int) -> str:
    return f"{program.name}, instruction {index}"


def _text(instruction: Instruction) -> str:
    return " ".join(disassemble(instruction).split())


_EXECUTE: dict[Op, Callable[[State, Job], None]] = {
    Op.HALT: lambda _state, _job: None,
    Op.CONFIG: _configure,
    Op.LOAD: load,
    Op.STORE: store,
    Op.FILL: fill,
    Op.MATMUL: matmul,
    Op.PRUNE: prune,
    Op.UPDATE: update,
    Op.VECTOR: vector,
}
