"""The accelerator's RTL as an executor: one simulator process that runs programs as they come.

    with Session(config, programs.size_bytes) as session:
        trainer = Trainer(programs, parameters, session)

The simulator is never reset between programs: a program finds scratchpads and registers as the one
before left them, and what it needs to be zero it has to make zero. Between programs it stands still.
"""

import socket
import subprocess
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cosparse.spec.dtypes import Array
from cosparse.spec.errors import RunError

from ..config import AcceleratorConfig
from ..machine import Memory
from ..program import Program
from .accelerator import Case, RtlResult, accelerator_design, read_result, write_case
from .build import build
from .run import Outcome, run

_POLL_SECONDS = 0.2


@dataclass(frozen=True, eq=False)
class Executed:
    """memory, nonfinite: as the machine gives them. rtl: all that the host read."""

    rtl: RtlResult

    @property
    def memory(self) -> Memory:
        return Memory(self.rtl.image)

    @property
    def nonfinite(self) -> bool:
        return self.rtl.nonfinite


class Session:
    """A simulator process; it starts on entry and ends on exit.

    dram_bytes: of the largest memory. timeout_cycles: of a program. timeout_seconds: of the session.
    options: of `Design`; -O3 pays off from some ten seconds of simulation.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        dram_bytes: int,
        *,
        timeout_cycles: int = 10_000_000,
        timeout_seconds: float = 3600,
        **options: Any,
    ) -> None:
        self._config, self._dram_bytes = config, dram_bytes
        self._timeout_cycles, self._timeout_seconds = timeout_cycles, timeout_seconds
        self._design = accelerator_design(config, **options)
        self._stack = ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self._over = False
        """Whether a simulator that still runs, or starts now, is to be killed."""
        self._told = False
        """Whether a program's caller was told that the simulation is over."""
        self.cycles: list[int] = []
        """Of every program so far."""

    def __enter__(self) -> Self:
        model = build(self._design)
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(str(self._folder / "socket"))
            server.listen()
            pool = stack.enter_context(ThreadPoolExecutor(1))
            stack.callback(self._kill)  # the pool waits for the simulator
            arguments = {
                "folder": str(self._folder),
                "socket": str(self._folder / "socket"),
                "timeout_cycles": self._timeout_cycles,
                "dram_bytes": self._dram_bytes,
            }
            simulation = pool.submit(
                run,
                model,
                "session_bench",
                arguments=arguments,
                timeout_seconds=self._timeout_seconds,
                started=self._started,
            )
            self._simulation = simulation
            self._bench = stack.enter_context(_accepted(server, simulation))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and not self._simulation.done():
                with suppress(OSError):  # it ended just now; what it said is raised below
                    self._bench.send(None)
                wait([self._simulation])
        finally:
            self._stack.close()
        if kind is None and not self._told:
            self._simulation.result()

    def _started(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        if self._over:
            process.kill()

    def _kill(self) -> None:
        self._over = True
        if self._process is not None:
            self._process.kill()

    def __call__(self, program: Program, memory: Memory) -> Executed:
        """Run a program. Raises RunError unless it comes to its HALT."""
        result = self.result(program, memory.image)
        if not result.done:
            raise RunError(f"{program.name} on RTL: {_why(result)}")
        self.cycles.append(result.cycles)
        return Executed(result)

    def result(self, program: Program, image: Array) -> RtlResult:
        """Run a program to its end, good or bad. Raises RunError where the simulator ended before."""
        case = write_case(self._folder, 0, Case.of(program, self._config, image))
        try:
            self._bench.send(case)
            found = self._bench.recv()
        except (EOFError, OSError) as gone:
            self._told = True
            self._simulation.result()
            raise RunError("the simulation ended before the program did") from gone
        return read_result(self._folder, 0, found)


def _why(result: RtlResult) -> str:
    """What kept a program from its HALT."""
    if result.timed_out:
        return "no interrupt came in time"
    where = f"{result.error_unit.name}, address 0x{result.error_address:x}"
    return f"error {result.error.name} ({where})"


def _accepted(server: socket.socket, simulation: "Future[Outcome]") -> Connection:
    """The bench's connection. Raises what the simulation raised where it ended before."""
    server.settimeout(_POLL_SECONDS)
    while True:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            if simulation.done():
                simulation.result()
                raise RunError("the simulation ended before its bench began") from None
            continue
        connection.settimeout(None)
        return Connection(connection.detach())
