"""Compile what a launch wrapper launches, for sm_90 and without a GPU, and read the machine code.

Only in a process without TRITON_INTERPRET, such as `python -m tests.gpu.machine_code`. Wrappers run
on CPU tensors with a driver that only names the target; every launch becomes a compilation,
specialised as on a GPU (alignment, divisibility).
"""

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
INSTRUCTION = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?(.*?);")
BRANCH = re.compile(r"BRA.*0x([0-9a-f]+)")


class TargetOnly:
    """A driver that names its target and owns no device."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


@dataclass(frozen=True)
class Machine:
    """Machine code of one kernel. loop: opcodes of its hottest loop, of the whole without one.

    loop_products: multiplications of one warp in that loop, by FFMA, FMUL, HMMA or HGMMA.
    """

    name: str
    registers: int
    spill_bytes: int
    shared_bytes: int
    warps: int
    opcodes: Counter
    loop: Counter
    loop_products: int


def compiled(run):
    """What `run` launches, as a list of Machine."""
    kernels = []
    launch = JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        kernel = launch(self, *args, grid=grid, warmup=True, **options)
        kernels.append((self.__name__, kernel))
        return kernel

    triton.runtime.driver.set_active(TargetOnly())
    JITFunction.run = compile_only
    triton.knobs.runtime.interpret = True  # wrappers then take CPU tensors; nothing is interpreted
    try:
        run()
    finally:
        JITFunction.run = launch
        triton.knobs.runtime.interpret = False
    return [read(name, kernel) for name, kernel in kernels]


def read(name, kernel):
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage, text = (
            subprocess.run(
                [TOOLS / "cuobjdump", option, file.name], capture_output=True, text=True, check=True
            ).stdout
            for option in ("-res-usage", "-sass")
        )
    registers, stack, local = (
        int(re.search(rf"{key}:(\d+)", usage)[1]) for key in ("REG", "STACK", "LOCAL")
    )
    lines = [(int(m[1], 16), m[2]) for m in map(INSTRUCTION.match, text.splitlines()) if m]
    loop = longest_loop(lines)
    return Machine(
        name=name,
        registers=registers,
        spill_bytes=stack + local,
        shared_bytes=kernel.metadata.shared,
        warps=kernel.metadata.num_warps,
        opcodes=Counter(opcode(line) for _, line in lines),
        loop=Counter(opcode(line) for line in loop),
        loop_products=sum(map(products, loop)),
    )


def longest_loop(lines):
    best = [line for _, line in lines]
    loops = []
    for address, line in lines:
        target = BRANCH.match(line)
        if target and int(target[1], 16) < address:
            loops.append([text for at, text in lines if int(target[1], 16) <= at <= address])
    return max(loops, key=len, default=best)


def opcode(line):
    return line.split()[0].split(".")[0]


def products(line):
    """Multiplications of one warp by an instruction; a warp group of four shares an HGMMA."""
    name, *parts = line.split()[0].split(".")
    if name in ("FFMA", "FMUL"):
        return 32
    if name == "HGMMA":
        m, n, k = map(int, parts[0].split("x"))
        return m * n * k // 4
    if name == "HMMA":
        return {"16816": 16 * 8 * 16, "1688": 16 * 8 * 8}[parts[0]]
    return 0
