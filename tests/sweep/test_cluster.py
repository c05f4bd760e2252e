"""A real Dask scheduler and worker, started as a user starts them."""

import json
import os
import subprocess
import sys
import time

import pytest

import cosparse as cs
from cosparse.flow.sweep.executors import Cluster
from cosparse.spec import RunError
from tests.sweep.contents import contents


def dask(*arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "ignore", "-m", "dask", *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, **quiet)


@pytest.fixture
def scheduler(tmp_path):
    """(address, processes) of a scheduler with one worker of two threads."""
    path = tmp_path / "scheduler.json"
    options = ("--scheduler-file", path, "--no-dashboard")
    started = [dask("scheduler", "--port", 0, "--interface", "lo", *options)]
    while not path.is_file():
        assert started[0].poll() is None
        time.sleep(0.05)
    worker = ("--nworkers", 1, "--nthreads", 2, "--no-nanny", "--local-directory", tmp_path)
    started.append(dask("worker", "--interface", "lo", *options, *worker))
    yield json.loads(path.read_text())["address"], started
    for process in reversed(started):
        process.terminate()
        process.wait()


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same(scenario, complete, scheduler, tmp_path):
    address, _ = scheduler
    found = cs.sweep(scenario(), out=tmp_path / "out", dask=address)
    assert found.evaluated == 24
    assert contents(found.path) == contents(complete.path)


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_dies_loses_nothing(scenario, complete, scheduler, tmp_path, monkeypatch):
    address, started = scheduler
    submit, asked = Cluster._submit, []

    def dying(cluster, chunk, workload):
        asked.append(chunk.number)
        if len(asked) == 2:
            started[0].kill()
            started[0].wait()
        return submit(cluster, chunk, workload)

    monkeypatch.setattr(Cluster, "_submit", dying)
    monkeypatch.setattr("cosparse.flow.sweep.executors.QUEUED", 0)
    with pytest.raises(RunError, match=r"no Dask scheduler answers .* the same command"):
        cs.sweep(scenario(), out=tmp_path / "out", dask=address)
    found = cs.sweep(scenario(), out=tmp_path / "out", processes=1)
    assert 0 < found.reused < 24 and contents(found.path) == contents(complete.path)


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_at_the_address(scenario, tmp_path, monkeypatch):
    monkeypatch.setattr("cosparse.flow.sweep.executors.CONNECT_SECONDS", 1)
    with pytest.raises(RunError, match="no Dask scheduler answers at"):
        cs.sweep(scenario(), out=tmp_path, dask="tcp://127.0.0.1:9")
