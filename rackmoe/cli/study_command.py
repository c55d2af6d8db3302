"""Answer questions about a scenario by running it with other settings."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    from rackmoe.study.balance import BalanceRow

__all__ = ["command"]


@click.group()
def command() -> None:
    """Answer questions about a scenario by running it with other settings."""


@command.command("balance")
@click.argument("scenario")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Replace a value of the scenario, e.g. workload.requests=100.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--length",
    "length_frac",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.25,
    show_default=True,
    help="Part of the scenario's requests, or of its times, that each run takes.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw a figure (.svg, .png or .pdf).",
)
@format_option
def _balance_command(
    *,
    scenario: str,
    settings: tuple[str, ...],
    seed: int,
    length_frac: float,
    output: Path | None,
    form: TableFormat,
) -> None:
    """Say what EPLB, redundant experts or wider groups would give SCENARIO.

    Each setting is a short run of the scenario with its own routing and traffic.
    """
    from rackmoe.cli.jobs import load_runs
    from rackmoe.report.balance import balance_frame
    from rackmoe.report.tables import render_frame, text_table
    from rackmoe.study.balance import study_balance

    chosen = next(iter(load_runs(scenario, settings=settings).values()))
    rows = study_balance(chosen, seed=seed, length_frac=length_frac, progress=_say)
    frame = balance_frame(rows)
    title = f"{chosen.name}: placement of experts, seed {seed}"
    if form is TableFormat.TABLE:
        echo_table(text_table(frame.round(_DIGITS), title=title, has_prefixes=True))
    else:
        echo_text(render_frame(frame, form=form, title=title))
    if output is not None:
        from rackmoe.report.routing_figures import draw_balance
        from rackmoe.report.theme import save_figure

        figure = draw_balance(frame, title=title, machine=chosen.machine.name, seed=seed)
        click.echo(f"written: {save_figure(figure, path=output)}", err=True)


@command.command("rates")
@click.argument("scenario")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Replace a value of the scenario, e.g. slo.tpot=30ms.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--utilization",
    "utilization_frac",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.8,
    show_default=True,
    help="Part of its capacity that a replica shall use.",
)
@click.option(
    "--check/--no-check",
    "is_checked",
    default=True,
    help="Run the proposal and its neighbors (default).",
)
@format_option
def _rates_command(
    *,
    scenario: str,
    settings: tuple[str, ...],
    seed: int,
    utilization_frac: float,
    is_checked: bool,
    form: TableFormat,
) -> None:
    """Say how many prefill and decode replicas the traffic and SLO of SCENARIO ask for."""
    from rackmoe.cli.jobs import load_runs
    from rackmoe.report.rates import rates_frame, sizes_frame
    from rackmoe.report.tables import render_frame, text_table
    from rackmoe.study.rate_matching import match_rates

    chosen = next(iter(load_runs(scenario, settings=settings).values()))
    match = match_rates(
        chosen, seed=seed, utilization_frac=utilization_frac, is_checked=is_checked
    )
    frame = rates_frame(match)
    title = f"{chosen.name}: pool sizes, seed {seed}"
    tried = sizes_frame(match)
    words = "Predicted by waiting times and planned steps, and simulated"
    if form is TableFormat.TABLE:
        echo_table(text_table(frame, title=title, has_prefixes=True))
        echo_table(text_table(tried, title=words))
    else:
        echo_text(render_frame(frame, form=form, title=title))
        if form is TableFormat.MD:
            echo_text(render_frame(tried, form=form, title=words))
    if not match.chosen.is_met:
        click.echo("none of these sizes meets the SLO; lower --utilization", err=True)
        click.get_current_context().exit(1)


_DIGITS = {"imbalance": 3, "speedup": 3}


def _say(row: "BalanceRow") -> None:
    click.echo(f"{row.setting}: {row.problem or 'done'}", err=True)
