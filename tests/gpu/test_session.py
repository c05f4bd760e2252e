"""The prepared steps of benchmarks/gpu_session.py, as far as they go without a GPU."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("gpu_session", ROOT / "benchmarks/gpu_session.py")
session = importlib.util.module_from_spec(SPEC)
sys.modules["gpu_session"] = session
SPEC.loader.exec_module(session)


@pytest.mark.parametrize("name", list(session.steps(Path())))
def test_steps_name_what_exists_and_end_in_five_minutes(name):
    step = session.steps(Path("results"))[name]
    assert step.limit_s < 300
    assert all((ROOT / part).exists() for part in step.arguments if part.startswith("tests/"))
    modules = [part for part in step.arguments if part.startswith("kernels.")]
    assert all((ROOT / f"{module.replace('.', '/')}.py").exists() for module in modules)
    assert step.sanitized or session.command(step)[0] == sys.executable


def test_memcheck_without_the_tool_is_told(monkeypatch):
    monkeypatch.setattr(session.shutil, "which", lambda _: None)
    monkeypatch.setattr(session.Path, "exists", lambda _: False)
    with pytest.raises(FileNotFoundError, match="compute-sanitizer"):
        session.command(session.steps(Path())["memcheck"])


def test_printing_runs_nothing(capsys):
    assert session.main(["tune", "--print"]) == 0
    assert "kernels.gpu.tune" in capsys.readouterr().out


def test_a_step_past_its_limit_is_stopped(monkeypatch, tmp_path, capsys):
    def late(*args, timeout, **options):
        raise subprocess.TimeoutExpired("step", timeout)

    monkeypatch.setattr(session.subprocess, "run", late)
    assert session.main(["bench", "--out", str(tmp_path / "new")]) == 124
    assert "limit of 290 s" in capsys.readouterr().out
