"""The checkers of the whole tree, so that one command says everything (STYLE section 8)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

COMMANDS = {
    "ruff check": [sys.executable, "-m", "ruff", "check", "."],
    "ruff format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "mypy": [sys.executable, "-m", "mypy"],
    "import-linter": [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_tree_passes(name):
    done = subprocess.run(  # noqa: S603  one of the commands above
        COMMANDS[name], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{name} (STYLE section 8):\n{done.stdout}\n{done.stderr}"
