import importlib

import click
import pytest

from rackmoe import cli as package
from rackmoe.cli import EXIT_INTERNAL, EXIT_NO_FIT, EXIT_USAGE, cli, main
from rackmoe.errors import CapacityError, ConfigError, InvariantError, TraceError


def code_of(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return stop.value.code


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigError("a: b"), EXIT_USAGE, "a: b\n"),
        (TraceError("t: damaged"), EXIT_USAGE, "TraceError: t: damaged\n"),
        (CapacityError("too large"), EXIT_NO_FIT, "CapacityError: too large\n"),
        (InvariantError("LAW-01"), EXIT_INTERNAL, "InvariantError: LAW-01\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_error_decides_the_exit_code_and_goes_to_standard_error(
    error, code, text, monkeypatch, capsys
):
    def fail(**_arguments):
        raise error

    monkeypatch.setattr(package.cli, "main", fail)
    assert code_of("list") == code
    assert capsys.readouterr().err == text


def test_unknown_command_is_refused_with_a_suggestion(capsys):
    assert code_of("shwo") == EXIT_USAGE
    assert "no such command 'shwo'; did you mean 'show'?" in capsys.readouterr().err


def test_help_lists_every_command(capsys):
    assert code_of("--help") == 0
    shown = capsys.readouterr().out
    for name in cli.list_commands(click.Context(cli)):
        assert f"  {name} " in shown


@pytest.mark.parametrize("name", cli.list_commands(click.Context(cli)))
def test_every_command_of_the_group_exists_and_explains_itself(name, capsys):
    module = importlib.import_module(f"rackmoe.cli.{name}_command")
    assert isinstance(module.command, click.Command)
    assert code_of(name, "--help") == 0
    assert "Usage: rackmoe " in capsys.readouterr().out
