"""The notebooks run from a clean kernel and keep what their last cell asserts."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the kernel's transport, not ours
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs_to_its_last_assertion(path):
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.get("outputs") for cell in _shown(notebook)), f"{path}: commit its outputs"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()


def _shown(notebook):
    """Return the code cells whose last line is a bare expression."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    last = [cell.source.strip().splitlines()[-1] for cell in code]
    return [
        cell
        for cell, line in zip(code, last, strict=True)
        if "=" not in line and not line.startswith(("import", ")", "assert"))
    ]
