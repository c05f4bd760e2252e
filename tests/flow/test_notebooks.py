"""The notebooks run from top to bottom in an empty folder, and keep no output in the repository."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_from_top_to_bottom(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        output for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output
    ]
    assert any("text/html" in output["data"] for output in shown) or path.stem == "kernel-engineer"


def test_there_is_one_for_each_kind_of_user():
    assert {path.stem for path in NOTEBOOKS} == {"architect", "researcher", "kernel-engineer"}
