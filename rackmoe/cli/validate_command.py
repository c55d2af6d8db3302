"""Compare the laws with measured points."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.cli.validate_serving import serving_command
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["command"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def command() -> None:
    """Compare the laws with measured points of a file."""


@command.command("kernels")
@click.argument("file", type=_FILE)
@click.option("--hardware", required=True, metavar="NAME", help="Machine that was measured.")
@format_option
def _kernels_command(*, file: Path, hardware: str, form: TableFormat) -> None:
    """Compare operator times with FILE, a table in a layout of scenarios/calibration/kernels."""
    from rackmoe.hardware.profile import load_machine
    from rackmoe.report.validation import excluded_frame
    from rackmoe.study.validation.kernels import validate_kernels

    found = validate_kernels(file, machine=load_machine(hardware))
    data = found.as_dict()
    for point in data["points"]:
        # the names that validations of all laws share
        point |= {name: point[f"{name}_us"] for name in ("measured", "predicted")}
        point["unit"] = "us"
    _echo(data, form=form, title=f"{file.name} on {found.gpu}")
    excluded = excluded_frame(found.points)
    if form in (TableFormat.TABLE, TableFormat.MD) and len(excluded):
        _echo_frame(excluded, form=form, title="\nRows left out of the strata")


@command.command("network")
@click.argument("file", type=_FILE)
@click.option("--hardware", metavar="NAME", help="Machine of rows that do not name theirs.")
@format_option
def _network_command(*, file: Path, hardware: str | None, form: TableFormat) -> None:
    """Compare communication times with FILE, a table in a layout of scenarios/calibration."""
    from rackmoe.hardware.profile import load_machine
    from rackmoe.study.validation.network import validate_network

    machine = None if hardware is None else load_machine(hardware)
    found = validate_network(file, machine=machine)
    _echo(found.as_dict(), form=form, title=file.name)
    for one in found.points:
        if not one.answered:
            click.echo(f"not answered: row {one.row}: {one.reason}", err=True)


command.add_command(serving_command)


def _echo(data: dict[str, Any], *, form: TableFormat, title: str) -> None:
    """Write the strata for people, the points as CSV, everything as JSON."""
    import pandas as pd

    from rackmoe.report.plain import json_text
    from rackmoe.report.tables import render_frame

    if form is TableFormat.JSON:
        echo_text(json_text(data, is_sorted=False))
    elif form is TableFormat.CSV:
        echo_text(render_frame(pd.DataFrame(data["points"]), form=form))
    else:
        _echo_frame(pd.DataFrame(data["strata"]), form=form, title=title)


def _echo_frame(frame: "pd.DataFrame", *, form: TableFormat, title: str) -> None:
    from rackmoe.report.tables import text_table

    table = text_table(frame, title=title)
    if form is TableFormat.MD:
        echo_text(table.markdown())
    else:
        echo_table(table)
