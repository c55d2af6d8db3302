"""Compare the laws with measured points."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    import pandas as pd

    from rackmoe.study.validation.serving import ServingValidation

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


@command.command("serving")
@click.argument("file", type=_FILE)
@click.option("--only", metavar="GLOB", help="Rows whose id or curve matches.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="So many rows, evenly.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, metavar="N")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where answers are kept.  [default: a folder of the system]",
)
@click.option("--explain", metavar="ID", help="Show where the time of one row goes instead.")
@format_option
def _serving_command(
    *,
    file: Path,
    only: str | None,
    sample: int | None,
    jobs: int,
    cache: Path | None,
    explain: str | None,
    form: TableFormat,
) -> None:
    """Simulate the rows of FILE, with the columns of serving_points.csv, and compare."""
    from rackmoe.study.validation.serving import validate_serving

    if explain is not None:
        _explain(file, explain, form=form)
        return
    found = validate_serving(
        file,
        only=only,
        sample=sample,
        jobs=jobs,
        cache_folder=cache,
        progress=lambda n, total: click.echo(f"{n} of {total} rows", err=True),
    )
    if form in {TableFormat.JSON, TableFormat.CSV}:
        _echo(found.as_dict(), form=form, title=file.name)
    else:
        _echo_serving(found, form=form)
    for one in found.unanswered:
        click.echo(f"not answered: {one.id}: {one.reason}", err=True)


def _explain(file: Path, row_id: str, *, form: TableFormat) -> None:
    from rackmoe.study.validation.serving import select_rows
    from rackmoe.study.validation.serving_explain import explain_row
    from rackmoe.study.validation.serving_rows import read_serving_points

    (row, *_) = select_rows(read_serving_points(file), only=row_id)
    _echo_frame(explain_row(row), form=form, title=f"{row.id}: mean steps, in seconds")


def _echo_serving(found: "ServingValidation", *, form: TableFormat) -> None:
    from rackmoe.report.serving import baseline_frame, curve_frame, strata_frame, worst_frame

    _echo_frame(strata_frame(found.strata), form=form, title=f"{found.file}: relative errors")
    _echo_frame(baseline_frame(found), form=form, title="\nMedian errors beside two baselines")
    _echo_frame(curve_frame(found), form=form, title="\nMean errors by curve")
    for metric in ("tpot", "throughput", "ttft"):
        worst = worst_frame(found, metric=metric)
        _echo_frame(worst, form=form, title=f"\nWorst points by {metric}")


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
