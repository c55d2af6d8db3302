"""Answer questions about a scenario by running it with other settings."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rackmoe.cli import EXIT_NEGATIVE
from rackmoe.cli.terminal import (
    echo_table,
    echo_text,
    echo_warnings,
    format_option,
    scenario_options,
)
from rackmoe.errors import ConfigError
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    from rackmoe.study.balance import BalanceRow

__all__ = ["command"]


_figure_option = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw a figure (.svg, .png or .pdf).",
)


@click.group()
def command() -> None:
    """Answer questions about a scenario by running it with other settings."""


@command.command("balance")
@scenario_options("workload.requests=100")
@click.option(
    "--length",
    "length_frac",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.25,
    show_default=True,
    help="Part of the scenario's requests, or of its times, that each run takes.",
)
@_figure_option
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
@scenario_options("slo.tpot=30ms")
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
        click.get_current_context().exit(EXIT_NEGATIVE)


@command.command("contributions")
@scenario_options("slo.tpot=30ms")
@_figure_option
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs side by side, each in a process of its own.  [default: one for each CPU]",
)
@format_option
def _contributions_command(
    *,
    scenario: str,
    settings: tuple[str, ...],
    seed: int,
    output: Path | None,
    jobs: int | None,
    form: TableFormat,
) -> None:
    """Say what each variant of SCENARIO adds to the one before it.

    The base comes first, then the variants in the order of the file; each should change one
    part. With `workload.search` all are compared at the same speed for the user.
    """
    from rackmoe.cli.jobs import Job, load_runs, n_cpus, run_jobs
    from rackmoe.cli.progress import run_listener
    from rackmoe.report.contributions import (
        contribution_headers,
        contributions_frame,
        draw_contributions,
    )
    from rackmoe.report.tables import render_frame, text_table

    runs = load_runs(scenario, settings=settings)
    if len(runs) == 1:
        raise ConfigError(
            f"{scenario}: variants: none; expected one or more, each with one part changed; write"
            " them into the scenario"
        )
    planned = [Job(source=scenario, settings=settings, name=name, seed=seed) for name in runs]
    with run_listener() as listener:
        finished = run_jobs(planned, n_processes=jobs or n_cpus(), listener=listener)
    outcomes = [one.outcome for one in finished.values()]
    frame = contributions_frame(outcomes)
    title = next(iter(runs.values())).document.title
    headers = contribution_headers()
    if form is TableFormat.TABLE:
        echo_table(text_table(frame, title=title, headers=headers))
    else:
        echo_text(render_frame(frame, form=form, title=title, headers=headers))
    for one in outcomes:
        echo_warnings(one.name, warnings=one.warnings)
    if output is not None:
        from rackmoe.report.theme import save_figure

        figure = draw_contributions(frame, title=title, seed=seed)
        click.echo(f"written: {save_figure(figure, path=output)}", err=True)
    missed = [name for name, one in finished.items() if not one.is_met]
    if missed:
        click.echo(f"not at the wanted speed: {', '.join(missed)}", err=True)
        click.get_current_context().exit(EXIT_NEGATIVE)


_DIGITS = {"imbalance": 3, "speedup": 3}


def _say(row: "BalanceRow") -> None:
    click.echo(f"{row.setting}: {row.problem or 'done'}", err=True)
