"""The dependency rule, and what stays out of an import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cosparse", "algos", "kernels", "hwsim")


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path):
    """Top-level names of the modules that a file imports anywhere, functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module).split(".")[0])
    return names


def test_the_layers_are_kept():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_nothing_imports_rtl_tests_or_scenarios():
    for path in sources(*PACKAGES):
        assert not imported(path) & {"rtl", "tests", "scenarios"}, path


def test_the_vocabulary_needs_numpy_and_nothing_else():
    allowed = set(sys.stdlib_module_names) | {"numpy", "cosparse"}
    for path in sources("cosparse/spec"):
        assert imported(path) <= allowed, path


@pytest.mark.parametrize(
    "module", ["cosparse", "hwsim", "kernels", "algos", "cosparse.cli", "cosparse.spec"]
)
def test_importing_loads_no_heavy_library(module):
    code = f"import sys, {module}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


HEAVY = ["torch", "triton", "numba", "sklearn", "scipy", "plotly", "transformers", "optuna"]


def test_help_needs_neither_numpy_nor_rich():
    """Starting the command costs what typer costs; see benchmarks of --help in the closing figures."""
    code = "import sys, cosparse.cli; print(sorted(set(sys.modules) & {'numpy', 'rich', 'pydantic', 'yaml'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_and_functions_stay_readable():
    """Not a style rule by number: a file or function far beyond the rest is a shape to reconsider."""
    long_files = {
        p.name: n for p in sources(*PACKAGES) if (n := len(p.read_text().splitlines())) > 500
    }
    assert not long_files
    for path in sources(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno
                assert lines <= 80, f"{path}: {node.name} has {lines} lines"
