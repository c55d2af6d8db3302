"""Run commands as a shell would: exit code, standard output, standard error."""

from dataclasses import dataclass

import pytest

from rackmoe.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    """Return a function that runs the command line with arguments."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(code=stop.value.code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def scenario_file(tmp_path, tiny_text):
    """Return a function that writes a scenario with changes and returns its path."""

    def write(*, name="tiny.yaml", extra="", change=("", "")):
        path = tmp_path / name
        path.write_text(tiny_text.replace(*change) + extra)
        return path

    return write
