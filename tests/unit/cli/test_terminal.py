import io
import sys

import click
import pytest
from click.testing import CliRunner

from rackmoe.cli.terminal import (
    echo_table,
    echo_text,
    echo_warnings,
    format_option,
    is_terminal,
)
from rackmoe.report.text import TableFormat, TextTable

TABLE = TextTable(title="T", head=("a",), rows=(("[b]1[/b]",),), is_numeric=(True,))


class Terminal(io.StringIO):
    """An output that a person reads."""

    def isatty(self):
        return True


def test_format_option_gives_a_format_and_refuses_others():
    @click.command()
    @format_option
    def command(form):
        assert isinstance(form, TableFormat)
        click.echo(form.name)

    assert CliRunner().invoke(command, ["--format", "md"]).output == "MD\n"
    assert CliRunner().invoke(command, []).output == "TABLE\n"
    assert CliRunner().invoke(command, ["--format", "xml"]).exit_code == 2


def test_table_is_plain_where_nobody_watches(capsys):
    echo_table(TABLE)
    assert capsys.readouterr().out == "T\n       a\n--------\n[b]1[/b]\n"


def test_table_is_drawn_on_a_terminal_with_its_cells_as_they_are(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    echo_table(TABLE)
    assert "[b]1[/b]" in terminal.getvalue()
    assert "─" in terminal.getvalue()


@pytest.mark.parametrize(("term", "drawn"), [("xterm", True), ("dumb", False)])
def test_dumb_terminals_get_no_drawings(monkeypatch, term, drawn):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", term)
    assert is_terminal(err=True) is drawn


def test_data_goes_to_standard_output_and_warnings_to_standard_error(capsys):
    echo_text("data\n")
    echo_warnings("run", warnings=["first", "second"])
    captured = capsys.readouterr()
    assert captured.out == "data\n"
    assert captured.err == "warning: run: first\nwarning: run: second\n"
