"""Builds and runs the RTL: Verilator models, cocotb benches, a memory that both sides share.

    build = cosim.build(Design("tb_sore", parameters={"Lanes": 4}))
    cosim.run(build, "sore_bench", folder=cosim.BENCHES, arguments={"seed": 1})

`simulate` does both. A build is kept by a digest of everything that it was made from, so a second run
of the same design starts at once. Inside a bench, `arguments()` returns what `run` was given and
`shared_memory` the bytes that the design reads and writes through DPI.

`accelerator` runs programs on the complete accelerator, `layers` makes those of a training step, and `law`
compares what the RTL did with machine, timing model and engine.
"""

from .bench import arguments, shared_memory
from .build import Build, build
from .design import Design
from .run import Outcome, run, run_main, simulate
from .sources import BENCHES, RTL, folders
from .toolchain import Toolchain, find_toolchain

__all__ = [
    "BENCHES",
    "RTL",
    "Build",
    "Design",
    "Outcome",
    "Toolchain",
    "arguments",
    "build",
    "find_toolchain",
    "folders",
    "run",
    "run_main",
    "shared_memory",
    "simulate",
]
