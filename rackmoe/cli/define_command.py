"""Explain what a metric means."""

import click

from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.report.text import TableFormat

__all__ = ["command"]


@click.command()
@click.argument("metric", required=False)
@format_option
def command(*, metric: str | None, form: TableFormat) -> None:
    """Explain METRIC: its unit and definition. Without METRIC, explain all."""
    import pandas as pd

    from rackmoe.metrics.catalog import METRICS, define_metric
    from rackmoe.report.tables import render_frame, text_table

    chosen = list(METRICS.values()) if metric is None else [define_metric(metric)]
    rows = [(one.name, one.unit, one.definition) for one in chosen]
    frame = pd.DataFrame(rows, columns=["metric", "unit", "definition"])
    if form is TableFormat.TABLE and metric is not None:
        (one,) = chosen
        echo_text(f"{one.name} [{one.unit}]: {one.definition}\n")
    elif form is TableFormat.TABLE:
        echo_table(text_table(frame))
    else:
        echo_text(render_frame(frame, form=form))
