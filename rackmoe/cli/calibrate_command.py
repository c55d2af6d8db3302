"""Fit the constants of the laws on the calibration files."""

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    import pandas as pd

    from rackmoe.backend.collectives import CollectiveConstants, ExchangeConstants

__all__ = ["command"]

_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the files of constants there; without it, only print how good they are.",
)
_DATE = click.option(
    "--date",
    default=lambda: dt.datetime.now(tz=dt.UTC).date().isoformat(),
    show_default="today",
    metavar="YYYY-MM-DD",
    help="Date that the files carry.",
)


@click.group()
def command() -> None:
    """Fit the constants of the laws on half of the rows of the calibration files."""


@command.command("kernels")
@click.option(
    "--tables",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Folder of kernel tables.  [default: the shipped ones]",
)
@_OUTPUT
@_DATE
@format_option
def _kernels_command(
    *, tables: Path | None, output: Path | None, date: str, form: TableFormat
) -> None:
    """Fit operator times."""
    import pandas as pd

    from rackmoe.schema.shipped import shipped_folder
    from rackmoe.study.calibration.kernels import calibrate_kernels, write_operator_files

    click.echo("fitting operator constants", err=True)
    fits = calibrate_kernels(tables or shipped_folder("scenarios/calibration/kernels"), date=date)
    rows = [
        {
            "gpu": fit.gpu,
            "operator": fit.operator,
            "source": fit.source,
            "kernel": fit.kernel,
            "dtype": fit.dtype,
            "kind": fit.kind.value,
            "n_rows": fit.report.n_rows if fit.report else None,
            "n_held_out": fit.report.n_held_out if fit.report else None,
            "error_median": fit.report.error_median if fit.report else None,
            "error_p90": fit.report.error_p90 if fit.report else None,
        }
        for fit in fits
    ]
    _echo(pd.DataFrame(rows), form=form)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for path in write_operator_files(fits, folder=output):
            click.echo(f"written: {path}", err=True)


@command.command("network")
@_OUTPUT
@_DATE
@format_option
def _network_command(*, output: Path | None, date: str, form: TableFormat) -> None:
    """Fit communication times."""
    import pandas as pd

    from rackmoe.study.calibration.network import calibrate_network, fit_books

    click.echo("fitting communication constants", err=True)
    rows = []
    for gpu, book in fit_books().items():
        rows += [_row(gpu, one) for one in book.exchanges]
        rows += [_row(gpu, one) for one in book.collectives]
    _echo(pd.DataFrame(rows), form=form)
    if output is not None:
        for path in calibrate_network(output, date=date).values():
            click.echo(f"written: {path}", err=True)


@command.command("serving")
@click.option(
    "--points",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Measured serving points.  [default: the shipped ones]",
)
@click.option("--rounds", type=click.IntRange(min=1), default=2, show_default=True, metavar="N")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, metavar="N")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where answers are kept; a call that was cut off goes on there.  "
    "[default: the user's caches]",
)
@_OUTPUT
@_DATE
@format_option
def _serving_command(
    *,
    points: Path | None,
    rounds: int,
    jobs: int,
    cache: Path | None,
    output: Path | None,
    date: str,
    form: TableFormat,
) -> None:
    """Fit what the hosts of each backend add, on measured serving points.

    Prints the constants and the errors on curves left out; --format other than table prints the
    errors alone.
    """
    from rackmoe.report.serving_accuracy import accuracy_frame, accuracy_table, calibration_frame
    from rackmoe.schema.shipped import shipped_folder
    from rackmoe.study.calibration.serving import calibrate_serving
    from rackmoe.study.calibration.serving_files import write_backend_files
    from rackmoe.study.validation.serving_answers import answer_folder

    shipped = shipped_folder("scenarios/calibration") / "serving_points.csv"
    found = calibrate_serving(
        points or shipped,
        date=date,
        n_rounds=rounds,
        jobs=jobs,
        cache_folder=cache or answer_folder(),
        progress=lambda n, total: click.echo(f"{n} of {total} rows", err=True),
    )
    errors = accuracy_table(found)
    if output is not None:
        for path in write_backend_files(found, folder=output):
            click.echo(f"written: {path}", err=True)
    if form is TableFormat.TABLE:
        _echo(calibration_frame(found), form=form)
        echo_table(errors)
    elif form is TableFormat.MD:
        echo_text(errors.markdown())
    else:
        _echo(accuracy_frame(found), form=form)


def _row(gpu: str, one: "ExchangeConstants | CollectiveConstants") -> dict[str, object]:
    return {
        "gpu": gpu,
        "library": one.key.library,
        "kernel": one.key.kernel,
        "operation": one.key.operation,
        "dtype": one.key.dtype,
        "kind": one.report.kind,
        "n_rows": one.report.n_rows,
        "n_held_out": one.report.n_held_out,
        "median_error_frac": one.report.median_error_frac,
        "p90_error_frac": one.report.p90_error_frac,
        "median_error_s": one.report.median_error_s,
    }


def _echo(frame: "pd.DataFrame", *, form: TableFormat) -> None:
    from rackmoe.report.tables import render_frame, text_table

    if form is TableFormat.TABLE:
        echo_table(text_table(frame))
    else:
        echo_text(render_frame(frame, form=form))
