"""How the commands talk: data to standard output, the rest to standard error."""

import os
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any

import click

from rackmoe.report.text import ReportFormat, TableFormat, TextTable

__all__ = [
    "echo_table",
    "echo_text",
    "echo_warnings",
    "format_option",
    "is_terminal",
    "report_option",
    "scenario_options",
]


def format_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that chooses how tables are written.

    Parameters
    ----------
    command : callable
        A function that takes `form`, a `TableFormat`.

    Returns
    -------
    callable
        The function with the option.
    """
    return _form_option(TableFormat, default=TableFormat.TABLE, text="How tables are written.")(
        command
    )


def report_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that chooses how a report is written.

    Parameters
    ----------
    command : callable
        A function that takes `form`, a `ReportFormat`.

    Returns
    -------
    callable
        The function with the option.
    """
    text = "How the report is written; html is one file with figures."
    return _form_option(ReportFormat, default=ReportFormat.TABLE, text=text)(command)


def _form_option(
    forms: type[StrEnum], *, default: StrEnum, text: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--format",
        "form",
        type=click.Choice([form.value for form in forms]),
        default=default.value,
        show_default=True,
        callback=lambda _ctx, _param, value: forms(value),
        help=text,
    )


def scenario_options(
    example: str,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that say which scenario a command takes: changes to it, and a seed.

    Parameters
    ----------
    example : str
        A change that makes sense for the command.

    Returns
    -------
    callable
        A decorator of functions that take `scenario`, `settings` and `seed`.
    """

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
        setting = click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="PATH=VALUE",
            help=f"Replace a value of the scenario, e.g. {example}.",
        )
        return click.argument("scenario")(setting(seed(command)))

    return add


def is_terminal(*, err: bool = False) -> bool:
    """Return whether a person reads an output, and wants it drawn.

    Parameters
    ----------
    err : bool, optional
        Whether standard error is meant.
    """
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def echo_text(text: str) -> None:
    """Write data to standard output.

    Parameters
    ----------
    text : str
        The data, with a newline at its end.
    """
    click.echo(text, nl=False)


def echo_table(table: TextTable) -> None:
    """Write a table for people: drawn on a terminal, else as plain lines.

    Parameters
    ----------
    table : TextTable
        The table.
    """
    if not is_terminal():
        echo_text(table.aligned())
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    drawn = Table(title=table.title or None, title_justify="left", title_style="", box=SIMPLE_HEAD)
    for name, right in zip(table.head, table.is_numeric, strict=True):
        drawn.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        drawn.add_row(*row)
    Console(markup=False, highlight=False, emoji=False).print(drawn)


def echo_warnings(place: str, *, warnings: Iterable[str]) -> None:
    """Write warnings to standard error.

    Parameters
    ----------
    place : str
        What they are about.
    warnings : iterable of str
        One line each.
    """
    for warning in warnings:
        click.echo(f"warning: {place}: {warning}", err=True)
