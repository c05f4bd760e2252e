"""A process that evaluates chunks: `python -m cosparse.flow.sweep.worker`, pickles in, pickles out.

It ends when its input does, so also when the process that started it is killed.
"""

import pickle
import signal
import sys
from typing import BinaryIO

from .evaluate import Chunk, Evaluator


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer each Chunk with (True, Evaluated) or (False, exception); learn each (number, Workload)."""
    evaluator = Evaluator()
    while True:
        try:
            message = pickle.load(source)
        except EOFError:
            return
        if not isinstance(message, Chunk):
            evaluator.add(*message)
            continue
        try:
            answer: tuple[bool, object] = True, evaluator.evaluate(message)
        except Exception as error:  # it is raised again where the chunk came from
            answer = False, error
        pickle.dump(answer, sink, protocol=5)
        sink.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    serve(sys.stdin.buffer, sys.stdout.buffer)
