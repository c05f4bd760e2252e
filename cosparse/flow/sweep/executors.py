"""Where chunks are evaluated: in this process, in processes of this machine, on a Dask cluster.

Each is a context manager with `run`, which takes chunks as they come and gives results as they are ready.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, Protocol, Self

from cosparse.spec import CosparseError, RunError, Workload
from cosparse.spec.errors import MissingToolError

from .evaluate import Chunk, Evaluated, Evaluator

QUEUED = 2
"""Chunks for each process: one that is worked on and one that waits."""
CONNECT_SECONDS = 20
"""How long to wait for a Dask scheduler."""


class Executor(Protocol):
    """Evaluates chunks, in any order."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *details: object) -> None: ...

    def run(
        self, chunks: Iterable[Chunk], workloads: Mapping[int, Workload]
    ) -> Iterator[tuple[Chunk, Evaluated]]:
        """Results as they are ready; `chunks` is read only as far as work can be begun."""


class InProcess:
    """One chunk after the other, here."""

    def __init__(self) -> None:
        self._evaluator = Evaluator()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def run(
        self, chunks: Iterable[Chunk], workloads: Mapping[int, Workload]
    ) -> Iterator[tuple[Chunk, Evaluated]]:
        for chunk in chunks:
            if not self._evaluator.knows(chunk.workload):
                self._evaluator.add(chunk.workload, workloads[chunk.workload])
            yield chunk, self._evaluator.evaluate(chunk)


class Processes:
    """Processes of this machine. They end with this one, however it ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: list[_Worker] = []
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(count, initializer=self._start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:  # one that began meanwhile
            worker.stop()

    def _start(self) -> None:
        """Each thread talks to a process of its own."""
        self._own.worker = _Worker()
        self._workers.append(self._own.worker)

    def _ask(self, chunk: Chunk, workload: Workload) -> Evaluated:
        worker: _Worker = self._own.worker
        return worker.ask(chunk, workload)

    def run(
        self, chunks: Iterable[Chunk], workloads: Mapping[int, Workload]
    ) -> Iterator[tuple[Chunk, Evaluated]]:
        waiting: dict[Future[Evaluated], Chunk] = {}
        for chunk in chunks:
            asked = self._threads.submit(self._ask, chunk, workloads[chunk.workload])
            waiting[asked] = chunk
            if len(waiting) >= QUEUED * self._count:
                yield from _finished(waiting)
        while waiting:
            yield from _finished(waiting)


def _finished(waiting: dict[Future[Evaluated], Chunk]) -> Iterator[tuple[Chunk, Evaluated]]:
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()


class _Worker:
    """A `worker` process and the pipes to it."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cosparse.flow.sweep.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._known: set[int] = set()

    def ask(self, chunk: Chunk, workload: Workload) -> Evaluated:
        """Raises RunError where the process ends, and what it raises."""
        try:
            if chunk.workload not in self._known:
                self._send((chunk.workload, workload))
                self._known.add(chunk.workload)
            self._send(chunk)
            assert self._process.stdout is not None
            good, answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            code = self._process.wait()
            raise RunError(
                f"a worker process ended with code {code}, pricing {len(chunk.configs):,} points; "
                "finished points are kept, run the same command to go on"
            ) from error
        if not good:
            raise answer
        found: Evaluated = answer
        return found

    def _send(self, message: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(message, self._process.stdin, protocol=5)
        self._process.stdin.flush()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):
                    pipe.close()


class Cluster:
    """A Dask cluster, whose workers have cosparse installed. address: of its scheduler."""

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ModuleNotFoundError as error:
            raise MissingToolError(
                "a cluster needs dask[distributed]: pip install 'cosparse[sweep]'"
            ) from error
        with _reached(address):
            self._client = Client(address, timeout=CONNECT_SECONDS)
        try:
            self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            self._client.close()
            raise RunError(
                f"the Dask scheduler at '{address}' has no workers after {CONNECT_SECONDS} s; start some "
                f"with `dask worker {address}`"
            ) from error
        self._address = address
        self._sent: dict[int, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._client.close()

    def run(
        self, chunks: Iterable[Chunk], workloads: Mapping[int, Workload]
    ) -> Iterator[tuple[Chunk, Evaluated]]:
        from distributed import as_completed

        arriving, asked = as_completed(), {}
        for chunk in chunks:
            future = self._submit(chunk, workloads[chunk.workload])
            asked[future.key] = chunk
            arriving.add(future)
            if len(asked) >= self._most():
                yield self._next(arriving, asked)
        while asked:
            yield self._next(arriving, asked)

    def _submit(self, chunk: Chunk, workload: Workload) -> Any:
        with _reached(self._address):
            if chunk.workload not in self._sent:
                sent = self._client.scatter(workload, broadcast=True, hash=False)
                self._sent[chunk.workload] = sent
            return self._client.submit(
                evaluate_alone, chunk, self._sent[chunk.workload], pure=False
            )

    def _most(self) -> int:
        with _reached(self._address):
            return QUEUED * max(1, int(sum(self._client.nthreads().values())))

    def _next(self, arriving: Any, asked: dict[Any, Chunk]) -> tuple[Chunk, Evaluated]:
        with _reached(self._address):
            future = next(arriving)
            found: Evaluated = future.result()
        return asked.pop(future.key), found


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """What Dask raises without its scheduler or workers, as RunError; what the models raise stays."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.client import FutureCancelledError
    from distributed.comm.core import CommClosedError

    gone = (OSError, ValueError, CancelledError, CommClosedError, FutureCancelledError)
    try:
        yield
    except CosparseError:
        raise
    except KilledWorker as error:
        raise RunError(
            f"the workers of the Dask scheduler at '{address}' died: {error}; finished points are kept, run "
            "the same command to go on"
        ) from error
    except gone as error:
        raise RunError(
            f"no Dask scheduler answers at '{address}' ({error or type(error).__name__}); finished points "
            "are kept, run the same command to go on"
        ) from error


def evaluate_alone(chunk: Chunk, workload: Workload) -> Evaluated:
    """A chunk on a worker of a cluster, which keeps nothing between chunks."""
    evaluator = Evaluator()
    evaluator.add(chunk.workload, workload)
    return evaluator.evaluate(chunk)


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
