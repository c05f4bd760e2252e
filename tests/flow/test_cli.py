"""The command: exit codes, what goes to which stream, and what it imports.

A few commands run in a process of their own, the rest in this one.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cosparse import cli

ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def scenario_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("scenario") / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny({"epochs": 0, "steps": None}, phases=["FF"])))
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    """Call main() with arguments. Returns (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cosparse", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code or 0
        return code, *capsys.readouterr()

    return call


def in_a_process(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "cosparse.cli", *map(str, arguments)],
        capture_output=True, text=True, cwd=cwd, check=False,
    )  # fmt: skip


def loaded_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


# --- processes


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import cosparse.cli", {"torch", "numpy", "rich", "numba", "pydantic", "plotly"}),
        ("import cosparse", {"torch", "numpy", "numba"}),
        ("import hwsim", {"torch", "numba", "pydantic"}),
    ],
)
def test_imports_stay_light(statement, forbidden):
    assert loaded_after(statement) & forbidden == set()


def test_help_answers_without_the_heavy_imports():
    help_text = "import contextlib, io\nfrom cosparse.cli import main\nimport sys\n"
    help_text += "sys.argv = ['cosparse', '--help']\n"
    help_text += (
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
    )
    help_text += "    main()\n"
    assert loaded_after(f"exec({help_text!r})") & {"torch", "numba", "pydantic", "plotly"} == set()


def test_run_in_a_pipe(scenario_file, tmp_path):
    done = in_a_process("run", scenario_file, "--json", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "results.json").read_text())
    assert done.stderr == ""


def test_bad_input_is_exit_code_2_and_nothing_on_standard_output(tmp_path):
    (tmp_path / "bad.yaml").write_text("schema: 1\nmodel: digits-cnm\ntrain:\n  metod: bdwp\n")
    done = in_a_process("run", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert ESCAPE not in done.stderr and "Traceback" not in done.stderr
    assert "bad.yaml:2:1: model" in done.stderr and "did you mean 'digits-cnn'" in done.stderr
    assert "bad.yaml:4:3: train.metod" in done.stderr and "did you mean 'method'" in done.stderr
    assert not (tmp_path / "results").exists()


# --- in this process


def test_run_prints_a_summary_of_at_most_five_lines(command, scenario_file, tmp_path):
    code, out, err = command("run", scenario_file, "--out", tmp_path)
    lines = out.splitlines()
    assert code == 0 and 1 <= len(lines) <= 5
    assert lines[-1].split() == ["report", str(tmp_path / "report.html")]
    assert ESCAPE not in out + err
    assert "simulating 2 training steps on sat-8x8\n" in err


def test_a_failing_run_is_exit_code_1(command, tiny, tmp_path):
    (tmp_path / "failing.py").write_text("def build():\n    raise OSError('disk on fire')\n")
    scenario = tiny(model="failing:build", data="digits")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(scenario))
    code, out, err = command("run", tmp_path / "s.yaml", "--trust", "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"error: 'failing:build' raised OSError: disk on fire ({tmp_path / 'failing.py'}:2)"
    ]
    code, _, err = command("run", tmp_path / "s.yaml", "--out", tmp_path / "out")
    assert code == 2 and "--trust" in err


@pytest.mark.parametrize("json_option", [(), ("--json",)])
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "absent.yaml"),
        ("check", "qickstart"),
        ("train", "absent.yaml"),
        ("simulate", "absent.json"),
        ("simulate", "absent.csv"),
        ("simulate", "absent.onnx"),
        ("simulate", "absent.json", "--training"),
        ("simulate", "resnet50-timing", "--pattern", "2:8"),
        ("simulate", "absent.csv", "--ends"),
        ("simulate", "resnet50-timing", "--accelerator", "sat-9x9"),
        ("report", "absent"),
        ("inspect", "absent.safetensors"),
    ],
    ids=" ".join,
)
def test_every_command_refuses_bad_input(command, arguments, json_option):
    code, out, err = command(*arguments, *json_option)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") or "absent.yaml" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("run",), ("fly",), ("run", "quickstart", "--fast")])
def test_wrong_usage_is_exit_code_2(command, arguments):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert "Usage" in err or "usage" in err


def test_an_interrupt_is_exit_code_130(command, monkeypatch, scenario_file):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cosparse.flow.run.run", interrupted)
    code, out, err = command("run", scenario_file)
    assert (code, out) == (130, "")
    assert err.endswith("interrupted; what was finished is kept and reused\n")


def test_check_shows_defaults_and_runs_no_code(command, tmp_path, tiny):
    (tmp_path / "own.py").write_text("raise SystemExit('executed')\n")
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(tiny(model="own:build", data="digits")))
    code, out, _ = command("check", tmp_path / "s.yaml")
    assert code == 0 and "not executed here" in out
    code, out, _ = command("check", tmp_path / "s.yaml", "--json")
    checked = json.loads(out)
    assert checked["scenario"]["train"]["compare"] == ["dense"] and len(checked["hash"]) == 64


def test_train_keeps_checkpoints_for_run(command, tmp_path, tiny):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(tiny()))
    out_option = ("--out", tmp_path / "out")
    code, out, _ = command("train", tmp_path / "s.yaml", "--json", *out_option)
    rows = json.loads(out)
    assert code == 0 and [row["method"] for row in rows] == ["bdwp", "dense"]
    code, out, _ = command("train", tmp_path / "s.yaml", *out_option)
    assert code == 0 and out.splitlines()[0].split()[:2] == ["method", "metric"]
    kept = {path.name for path in (tmp_path / "out" / "trainings").iterdir()}
    assert {"bdwp-seed0.json", "bdwp-seed0.safetensors"} <= kept


def test_simulate_a_scenario_and_its_workload_agree(command, finished, tmp_path):
    code, out, _ = command("simulate", finished.folder / "workload-bdwp.json", "--json")
    step = json.loads(out)["methods"]["workload-bdwp"]
    assert code == 0 and step == finished.document["simulated"]["methods"]["bdwp"]
    code, out, _ = command("simulate", finished.folder / "workload-bdwp.json")
    assert code == 0 and f"{step['cycles']:,} cycles a step" in out


def test_simulate_on_another_preset(command, scenario_file):
    code, out, _ = command("simulate", scenario_file, "--accelerator", "sat-4x4", "--json")
    assert code == 0 and json.loads(out)["accelerator"]["name"] == "sat-4x4"


def test_report_is_written_again(command, finished, tmp_path):
    shutil.copy(finished.folder / "results.json", tmp_path)
    code, out, _ = command("report", tmp_path, "--json")
    written = {key: Path(path) for key, path in json.loads(out).items()}
    assert code == 0
    assert written["markdown"].read_text() == (finished.folder / "report.md").read_text()
    assert written["html"].read_text() == finished.report_path.read_text()


def test_inspect(command, finished):
    checkpoint = finished.folder / "trainings" / "dense-seed0.safetensors"
    code, out, _ = command("inspect", checkpoint)
    assert code == 0 and "fc1.weight" in out and "digits-mlp" in out
    code, out, _ = command("inspect", checkpoint, "--json")
    assert code == 0 and json.loads(out)["kind"] == "checkpoint"


@pytest.mark.parametrize("name", ["doctor", "list"])
def test_what_is_there(command, name):
    code, out, _ = command(name)
    assert code == 0 and out
    code, out, _ = command(name, "--json")
    assert code == 0 and json.loads(out)


def test_version(command):
    import cosparse

    assert command("--version")[:2] == (0, f"cosparse {cosparse.__version__}\n")
