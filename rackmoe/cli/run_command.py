"""Simulate a scenario and its variants, and print what they reach."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rackmoe.cli import EXIT_NEGATIVE
from rackmoe.cli.terminal import echo_table, echo_text, echo_warnings, format_option
from rackmoe.errors import ConfigError
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    from rackmoe.cli.jobs import Finished
    from rackmoe.report.outcome import Outcome
    from rackmoe.scenario.resolved import Scenario

__all__ = ["command"]

# Share of the measured requests that has to meet every limit.
_SLO_SHARE = 0.99


@click.command()
@click.argument("scenario")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Replace a value of the scenario and of its variants, e.g. workload.requests=100.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--fidelity",
    type=click.Choice(["plan", "phase", "flow", "packet", "auto"]),
    help="How closely to look at exchanges; short for --set simulation.fidelity=...",
)
@click.option(
    "--audit",
    type=click.IntRange(min=0),
    metavar="K",
    help="Compare one step in K with packets; short for --set simulation.audit=K.",
)
@click.option(
    "--variant",
    "chosen",
    multiple=True,
    metavar="NAME",
    help="Run only this variant, or the base by the scenario's name; repeatable.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the results to a new folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace the results in a folder.")
@click.option("--figures", is_flag=True, help="Draw figures into the folder, as SVG.")
@click.option("--parquet", is_flag=True, help="Write tables as Parquet too.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs side by side, each in a process of its own.  [default: one for each CPU]",
)
@click.option(
    "--require-slo",
    is_flag=True,
    help=f"Exit with 1 unless {_SLO_SHARE:.0%} of the requests of every run meet the SLO.",
)
@format_option
@click.pass_context
def command(  # noqa: PLR0913  one parameter for each option
    ctx: click.Context,
    *,
    scenario: str,
    settings: tuple[str, ...],
    seed: int,
    fidelity: str | None,
    audit: int | None,
    chosen: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    figures: bool,
    parquet: bool,
    jobs: int | None,
    require_slo: bool,
    form: TableFormat,
) -> None:
    """Simulate SCENARIO, a shipped name or a file, with its variants.

    Prints one table; with variants the runs stand side by side, with ratios of the first
    over each other one.
    """
    from rackmoe.cli.jobs import Job, load_runs, n_cpus, run_jobs
    from rackmoe.cli.progress import run_listener
    from rackmoe.report.files import staged_folder

    given = {"simulation.fidelity": fidelity, "simulation.audit": audit}
    settings += tuple(f"{path}={value}" for path, value in given.items() if value is not None)
    _check_options(output, has_files=overwrite or figures or parquet)
    names = _chosen_names(load_runs(scenario, settings=settings), chosen, has_slo=require_slo)
    _say_if_cold()
    with contextlib.ExitStack() as stack:
        stage = None
        if output is not None:
            stage = stack.enter_context(staged_folder(output, overwrite=overwrite))
        planned = [
            Job(
                source=scenario,
                settings=settings,
                name=name,
                seed=seed,
                folder=stage and _folder(stage, name, is_first=name == names[0]),
                has_parquet=parquet,
                has_figures=figures,
            )
            for name in names
        ]
        with run_listener() as listener:
            n_processes = jobs or n_cpus()
            finished = run_jobs(planned, n_processes=n_processes, listener=listener)
        outcomes = [one.outcome for one in finished.values()]
        if stage is not None:
            _write_comparison(stage, outcomes, has_figures=figures)
    _print(outcomes, form=form)
    if form is TableFormat.TABLE:
        _print_hot_links(finished)
    if _is_negative(finished, has_slo=require_slo):
        ctx.exit(EXIT_NEGATIVE)


def _check_options(output: Path | None, *, has_files: bool) -> None:
    if output is None and has_files:
        raise click.UsageError(
            "--overwrite, --figures and --parquet are about files; say where with -o DIR"
        )


def _chosen_names(
    runs: "Mapping[str, Scenario]", chosen: Sequence[str], *, has_slo: bool
) -> list[str]:
    """Return the runs to make, in the order of the file."""
    from rackmoe.schema.tree import did_you_mean

    for name in chosen:
        if name not in runs:
            raise ConfigError(f"--variant {name}: {did_you_mean(name, known=runs)}")
    names = [name for name in runs if name in (chosen or runs)]
    for name in names:
        slo = runs[name].document.slo
        if has_slo and slo.ttft_s is None and slo.tpot_s is None and slo.e2e_s is None:
            raise ConfigError(
                f"{name}: --require-slo: the scenario has no limits; write 'slo', for example"
                " 'slo: {ttft: 2 s, tpot: 20 ms}'"
            )
    return names


def _say_if_cold() -> None:
    """Say that kernels are compiled, where none have been before."""
    from rackmoe.cli.kernels import is_cold

    if is_cold():
        click.echo("compiling kernels: once after an installation, up to two minutes", err=True)


def _folder(stage: Path, name: str, *, is_first: bool) -> Path:
    """Return the folder of a run: the first is at the top, others are below it."""
    if is_first:
        return stage
    if Path(name).name != name:
        raise ConfigError(
            f"variants.{name}: cannot name a folder; expected a name without '/'; rename it"
        )
    folder = stage / "variants" / name
    folder.mkdir(parents=True)
    return folder


def _write_comparison(stage: Path, outcomes: "Sequence[Outcome]", *, has_figures: bool) -> None:
    from rackmoe.report.comparison import render_comparison

    if len(outcomes) > 1:
        for form in (TableFormat.CSV, TableFormat.JSON, TableFormat.MD):
            text = render_comparison(outcomes, form=form)
            path = stage / f"comparison.{form.value}"
            path.write_text(text, encoding="utf-8", newline="\n")
    if has_figures:
        from rackmoe.report.plots import draw_all
        from rackmoe.report.theme import save_figure

        folder = stage / "figures"
        folder.mkdir(exist_ok=True)
        for name, figure in draw_all(outcomes).items():
            save_figure(figure, path=folder / f"{name}.svg")


def _print(outcomes: "Sequence[Outcome]", *, form: TableFormat) -> None:
    from rackmoe.report.comparison import (
        comparison_tables,
        render_comparison,
        validity_lines,
    )

    if form is not TableFormat.TABLE:
        echo_text(render_comparison(outcomes, form=form))
    else:
        figures, parts = comparison_tables(outcomes)
        echo_table(figures)
        echo_text("\n")
        echo_table(parts)
        for line in validity_lines(outcomes):
            echo_text(f"\n{line}")
    for one in outcomes:
        echo_warnings(one.name, warnings=one.warnings)


def _print_hot_links(finished: "Mapping[str, Finished]") -> None:
    """Print the links that each run used most; a run of single GPUs has none."""
    from rackmoe.report.fabric import hot_links_table

    for name, one in finished.items():
        if one.hot_links is not None and len(one.hot_links):
            echo_text("\n")
            echo_table(hot_links_table(one.hot_links, title=f"Links that {name} used most"))


def _is_negative(finished: "Mapping[str, Finished]", *, has_slo: bool) -> bool:
    """Say on standard error which goals were missed, and return whether one was."""
    missed = []
    for name, one in finished.items():
        if not one.is_met:
            missed.append(
                f"{name}: workload.search: not met in {one.n_probes} runs; expected the goal"
                " within its tolerance; raise max_runs or change the goal"
            )
        share = one.outcome.summary.get("slo_met_frac", 1.0)
        if has_slo and not share >= _SLO_SHARE:
            missed.append(
                f"{name}: slo: {share:.1%} of the requests meet it; expected {_SLO_SHARE:.0%};"
                " lower the load or loosen the limits"
            )
    for line in missed:
        click.echo(line, err=True)
    return bool(missed)
