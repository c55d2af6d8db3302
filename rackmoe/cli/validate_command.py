"""Compare the laws with measured points."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rackmoe.cli import EXIT_NEGATIVE
from rackmoe.cli.terminal import echo_table, echo_text, report_option
from rackmoe.cli.validate_serving import serving_command
from rackmoe.report.text import ReportFormat, TextTable

if TYPE_CHECKING:
    from rackmoe.report.law_points import LawPoint

__all__ = ["command"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def command() -> None:
    """Compare the laws with measured points of a file."""


@command.command("kernels")
@click.argument("file", type=_FILE)
@click.option("--hardware", required=True, metavar="NAME", help="Machine that was measured.")
@report_option
def _kernels_command(*, file: Path, hardware: str, form: ReportFormat) -> None:
    """Compare operator times with FILE, a table in a layout of scenarios/calibration/kernels."""
    from rackmoe.hardware.profile import load_machine
    from rackmoe.report.law_points import kernel_points
    from rackmoe.report.tables import text_table
    from rackmoe.report.validation import excluded_frame
    from rackmoe.study.validation.kernels import validate_kernels

    found = validate_kernels(file, machine=load_machine(hardware))
    data = found.as_dict()
    for point in data["points"]:
        # the names that validations of all laws share
        point |= {name: point[f"{name}_us"] for name in ("measured", "predicted")}
        point["unit"] = "us"
    excluded = excluded_frame(found.points)
    title = "Rows left out of the strata"
    extra = (text_table(excluded, title=title, percents={"error_median": ""}),)
    _echo(
        data,
        points=kernel_points(found),
        title=f"{file.name} on {found.gpu}",
        form=form,
        extra=extra if len(excluded) else (),
    )


@command.command("network")
@click.argument("file", type=_FILE)
@click.option("--hardware", metavar="NAME", help="Machine of rows that do not name theirs.")
@report_option
def _network_command(*, file: Path, hardware: str | None, form: ReportFormat) -> None:
    """Compare communication times with FILE, a table in a layout of scenarios/calibration."""
    from rackmoe.hardware.profile import load_machine
    from rackmoe.report.law_points import network_points
    from rackmoe.study.validation.network import validate_network

    machine = None if hardware is None else load_machine(hardware)
    found = validate_network(file, machine=machine)
    _echo(found.as_dict(), points=network_points(found), title=file.name, form=form)
    for one in found.points:
        if not one.answered:
            click.echo(f"not answered: row {one.row}: {one.reason}", err=True)


@command.command("power")
@click.argument("file", type=_FILE)
@click.option("--only", metavar="GLOB", help="Rows whose id matches.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, metavar="N")
@report_option
@click.pass_context
def _power_command(
    ctx: click.Context, *, file: Path, only: str | None, jobs: int, form: ReportFormat
) -> None:
    """Compare simulated power with FILE, with the columns of power_points.csv.

    Measurements that no constant was fitted to stand apart from inputs: constants and idle
    readings that the profiles were written with. Exits with 1 if no row has an answer.
    """
    from rackmoe.cli.progress import RowTally
    from rackmoe.report.law_points import power_points
    from rackmoe.study.validation.power import validate_power

    with RowTally("rows") as tally:
        found = validate_power(file, only=only, jobs=jobs, progress=tally)
    _echo(found.as_dict(), points=power_points(found), title=f"Power: {found.file}", form=form)
    for one in found.points:
        if not one.answered:
            click.echo(f"not answered: {one.id}: {one.reason}", err=True)
    if not any(one.answered for one in found.points):
        ctx.exit(EXIT_NEGATIVE)


command.add_command(serving_command)


def _echo(
    data: dict[str, Any],
    *,
    points: "Sequence[LawPoint]",
    title: str,
    form: ReportFormat,
    extra: Sequence[TextTable] = (),
) -> None:
    """Write the strata for people, the points as CSV, everything as JSON."""
    import pandas as pd

    from rackmoe.report.law_page import law_sections, render_law
    from rackmoe.report.plain import json_text

    if form is ReportFormat.JSON:
        echo_text(json_text(data, is_sorted=False))
        return
    if form is ReportFormat.CSV:
        echo_text(pd.DataFrame(data["points"]).to_csv(index=False, lineterminator="\n"))
        return
    sections = law_sections(
        data["strata"], points=points, extra=extra, has_figure=form is ReportFormat.HTML
    )
    if form is not ReportFormat.TABLE:
        n_answered = sum(one.predicted is not None for one in points)
        lead = f"{n_answered} of {len(points)} rows answered; errors are relative."
        echo_text(render_law(sections, title=title, lead=lead, form=form))
        return
    echo_text(f"{title}\n")
    for section in sections:
        echo_text(f"\n{section.title}\n" + "".join(f"{words}\n" for words in section.words))
        for table in section.tables:
            echo_table(table)
