"""Show which machines, models, backends, scenarios and traces come with rackmoe."""

import csv
import io
import json

import click

from rackmoe.cli.catalog import KINDS, entries
from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.report.text import TableFormat, TextTable

__all__ = ["command"]


@click.command()
@click.argument("kind", required=False, type=click.Choice(list(KINDS)))
@format_option
def command(*, kind: str | None, form: TableFormat) -> None:
    """List what ships with rackmoe, or only things of one KIND."""
    rows = [
        (one, entry.name, entry.title)
        for one in ([kind] if kind else KINDS)
        for entry in entries(one)
    ]
    head = ("kind", "name", "title")
    if form is TableFormat.JSON:
        found = [dict(zip(head, row, strict=True)) for row in rows]
        echo_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    elif form is TableFormat.CSV:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([head, *rows])
        echo_text(text.getvalue())
    else:
        table = TextTable(title="", head=head, rows=tuple(rows), is_numeric=(False,) * len(head))
        if form is TableFormat.MD:
            echo_text(table.markdown())
        else:
            echo_table(table)
