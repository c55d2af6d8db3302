"""STYLE section 1: the command line starts without the heavy packages."""

import subprocess
import sys

import pytest

HEAVY = ("pandas", "matplotlib", "networkx", "numba", "pydantic", "scipy", "simpy", "IPython")
CODE = """
import sys, runpy
sys.argv = ["rackmoe", *sys.argv[1:]]
try:
    runpy.run_module("rackmoe", run_name="__main__")
except SystemExit as stop:
    code = stop.code or 0
print("MODULES", code, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def packages_after(*arguments, root):
    """Run the command line in a fresh process; return its output and what it imported."""
    done = subprocess.run(  # noqa: S603 our own interpreter and code
        [sys.executable, "-c", CODE, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("MODULES ")]
    _, code, *names = line.split()
    return done.stdout, int(code), set(names)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["list"]])
def test_command_that_computes_nothing_imports_nothing_heavy(arguments, root):
    output, code, names = packages_after(*arguments, root=root)
    assert code == 0
    assert output.strip()
    assert not names & set(HEAVY), f"STYLE 1: {sorted(names & set(HEAVY))} for {arguments}"


@pytest.mark.parametrize("name", ["rackmoe", "rackmoe.units", "rackmoe.errors", "rackmoe.cli"])
def test_light_module_imports_nothing_heavy(name, root):
    code = f"import {name}, sys; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run(  # noqa: S603 our own interpreter and code
        [sys.executable, "-c", code],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not set(done.stdout.split()) & set(HEAVY), f"STYLE 1: {name} is light"
