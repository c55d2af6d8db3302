"""Check the installation and the shipped files."""

import click

from rackmoe.cli import EXIT_NEGATIVE
from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.report.text import TableFormat

__all__ = ["command"]


@click.command()
@click.option("--run/--no-run", "has_run", default=True, help="Simulate a small scenario too.")
@format_option
@click.pass_context
def command(ctx: click.Context, *, has_run: bool, form: TableFormat) -> None:
    """Check packages, shipped files, the cache of kernels and a small run; 1 if one is bad."""
    import pandas as pd

    from rackmoe.cli.kernels import is_cold
    from rackmoe.report.tables import render_frame, text_table
    from rackmoe.study.self_test import check_installation

    if has_run and is_cold():
        click.echo("compiling kernels: once after an installation, up to two minutes", err=True)
    checks = list(check_installation(has_run=has_run))
    rows = [(one.name, "good" if one.is_good else "BAD", one.detail) for one in checks]
    frame = pd.DataFrame(rows, columns=["check", "state", "detail"])
    if form is TableFormat.TABLE:
        echo_table(text_table(frame))
    else:
        echo_text(render_frame(frame, form=form))
    if not all(one.is_good for one in checks):
        ctx.exit(EXIT_NEGATIVE)
