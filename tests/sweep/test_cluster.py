"""A real Dask scheduler and worker, started as a user starts them."""

import os
import subprocess
import sys
import time

import pytest

import cosparse as cs
from cosparse.spec import RunError
from tests.sweep.contents import contents


def dask(*arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore", "-m", "dask", *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, **quiet)


@pytest.fixture
def scheduler_file(tmp_path):
    """Of a scheduler with one worker of two threads."""
    path = tmp_path / "scheduler.json"
    options = ("--scheduler-file", path, "--no-dashboard")
    started = [dask("scheduler", "--port", 0, "--interface", "lo", *options)]
    while not path.is_file():
        assert started[0].poll() is None
        time.sleep(0.05)
    worker = ("--nworkers", 1, "--nthreads", 2, "--no-nanny", "--local-directory", tmp_path)
    started.append(dask("worker", "--interface", "lo", *options, *worker))
    yield path
    for process in reversed(started):
        process.terminate()
        process.wait()


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same(scenario, complete, scheduler_file, tmp_path):
    import json

    address = json.loads(scheduler_file.read_text())["address"]
    found = cs.sweep(scenario(), out=tmp_path / "out", dask=address)
    assert found.evaluated == 24
    assert contents(found.path) == contents(complete.path)


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_at_the_address(scenario, tmp_path, monkeypatch):
    monkeypatch.setattr("cosparse.flow.sweep.executors.CONNECT_SECONDS", 1)
    with pytest.raises(RunError, match="no Dask scheduler answers at"):
        cs.sweep(scenario(), out=tmp_path, dask="tcp://127.0.0.1:9")
