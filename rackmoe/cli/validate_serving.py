"""Compare simulated serving with measured points."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rackmoe.cli import EXIT_NEGATIVE
from rackmoe.cli.terminal import echo_table, echo_text, report_option
from rackmoe.errors import ConfigError
from rackmoe.report.text import ReportFormat, TextTable

if TYPE_CHECKING:
    import pandas as pd

    from rackmoe.study.validation.serving import ServingValidation
    from rackmoe.study.validation.serving_rows import ServingRow

__all__ = ["serving_command"]


@click.command("serving")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--only", metavar="GLOB", help="Rows whose id or curve matches.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="So many rows, evenly.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, metavar="N")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where answers are kept, by scenario and code.  [default: the user's caches]",
)
@click.option("--explain", metavar="ID", help="Show where the time of one row goes instead.")
@report_option
@click.pass_context
def serving_command(
    ctx: click.Context,
    *,
    file: Path,
    only: str | None,
    sample: int | None,
    jobs: int,
    cache: Path | None,
    explain: str | None,
    form: ReportFormat,
) -> None:
    """Simulate the rows of FILE, with the columns of serving_points.csv, and compare.

    Rows that cannot be simulated are listed with the reason and count as failures. Exits with
    1 if no row has an answer.
    """
    from rackmoe.cli.progress import RowTally
    from rackmoe.study.validation.serving import validate_serving

    if explain is not None:
        _explain(file, explain, cache=cache, form=form)
        return
    with RowTally("rows") as tally:
        found = validate_serving(
            file,
            only=only,
            sample=sample,
            jobs=jobs,
            cache_folder=cache,
            progress=tally,
        )
    _echo(found, form=form)
    for one in found.unanswered:
        click.echo(f"not answered: {one.id}: {one.reason}", err=True)
    if len(found.unanswered) == len(found.points):
        ctx.exit(EXIT_NEGATIVE)


def _echo(found: "ServingValidation", *, form: ReportFormat) -> None:
    from rackmoe.report.plain import json_text
    from rackmoe.report.serving import point_frame
    from rackmoe.report.serving_page import render_serving, serving_sections

    if form is ReportFormat.JSON:
        echo_text(json_text(found.as_dict(), is_sorted=False))
    elif form is ReportFormat.CSV:
        echo_text(point_frame(found).to_csv(index=False, lineterminator="\n"))
    elif form is ReportFormat.TABLE:
        for section in serving_sections(found):
            echo_text(f"\n{section.title}\n" + "".join(f"{words}\n" for words in section.words))
            for table in section.tables:
                echo_table(table)
    else:
        echo_text(render_serving(found, form=form))


def _explain(file: Path, row_id: str, *, cache: Path | None, form: ReportFormat) -> None:
    from rackmoe.report.page import Section, html_page, markdown_page
    from rackmoe.report.plain import json_text
    from rackmoe.report.serving import figure_frame
    from rackmoe.report.tables import text_table
    from rackmoe.study.validation.serving import validate_answers
    from rackmoe.study.validation.serving_answers import answer_folder, answer_rows
    from rackmoe.study.validation.serving_explain import explain_row

    row = _row(file, row_id)
    answers = answer_rows([row], jobs=1, cache_folder=cache or answer_folder())
    (point,) = validate_answers([row], answers=answers, file=file.name).points
    if not point.answered:
        raise ConfigError(f"{row_id}: {point.reason}")
    steps = explain_row(row)
    figures = figure_frame(point)
    if form is ReportFormat.JSON:
        echo_text(json_text({"id": row_id, "figures": figures, "steps": steps}, is_sorted=False))
    elif form is ReportFormat.CSV:
        echo_text(steps.to_csv(index=False, lineterminator="\n"))
    else:
        parts: dict[str, TextTable] = {
            "Figures": text_table(figures, percents={"error": "+"}),
            "Mean steps, in seconds": text_table(_upright(steps)),
        }
        sections = [Section(title=title, tables=(table,)) for title, table in parts.items()]
        if form is ReportFormat.TABLE:
            for title, table in parts.items():
                echo_text(f"\n{title}\n")
                echo_table(table)
        else:
            render = html_page if form is ReportFormat.HTML else markdown_page
            echo_text(render(row_id, lead=row.curve, sections=sections))


def _row(file: Path, row_id: str) -> "ServingRow":
    import difflib

    from rackmoe.study.validation.serving_rows import read_serving_points

    rows = {row.id: row for row in read_serving_points(file)}
    if row_id not in rows:
        close = difflib.get_close_matches(row_id, rows, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "take one from its column 'id'"
        raise ConfigError(f"--explain: '{row_id}': not an id of {file}; {hint}")
    return rows[row_id]


def _upright(steps: "pd.DataFrame") -> "pd.DataFrame":
    """Return steps as columns, because they have more parts than a line holds."""
    import pandas as pd

    names = [f"{pool} {kind}" for pool, kind in zip(steps["pool"], steps["kind"], strict=True)]
    values = steps.drop(columns=["pool", "kind"])
    table = {"part": list(values.columns)}
    columns = {name: values.iloc[i].tolist() for i, name in enumerate(names)}
    return pd.DataFrame(table | columns)
