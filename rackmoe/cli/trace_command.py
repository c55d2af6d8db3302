"""Import, describe, generate, fit and export traces."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rackmoe.cli.catalog import find_entry
from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.cli.trace_files import export_command, import_command
from rackmoe.cli.trace_output import check_new, found_trace
from rackmoe.errors import ConfigError
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    from rackmoe.study.trace_fit import TraceFit

__all__ = ["command"]


@click.group()
def command() -> None:
    """Import, describe, generate, fit and export routing traces; describe request traces."""


command.add_command(import_command)
command.add_command(export_command)


@command.command("formats")
@format_option
def _formats_command(*, form: TableFormat) -> None:
    """List the formats that `rackmoe trace import` reads."""
    import pandas as pd

    from rackmoe.report.tables import render_frame, text_table
    from rackmoe.routing.importers.formats import FORMATS

    frame = pd.DataFrame({"name": list(FORMATS), "content": list(FORMATS.values())})
    if form is TableFormat.TABLE:
        echo_table(text_table(frame))
    else:
        echo_text(render_frame(frame, form=form))


@command.command("info")
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw a heat map of the experts (.svg, .png or .pdf).",
)
@format_option
def _info_command(*, file: str, output: Path | None, form: TableFormat) -> None:
    """Check FILE, a trace or the name of a shipped one, and say what it holds."""
    from rackmoe.report.traces import trace_summary

    path = Path(file) if Path(file).exists() else find_entry(file).path
    _echo({"name": file, **trace_summary(path)}, form=form)
    if output is not None:
        from rackmoe.report.routing_figures import draw_count_trace, draw_trace
        from rackmoe.report.theme import save_figure
        from rackmoe.routing.importers.importing import import_trace
        from rackmoe.routing.statistics import measure_trace
        from rackmoe.routing.traces import CountTrace

        trace = import_trace(path, format="rackmoe")
        title, source = f"{file}: {trace.header.model}", trace.header.source
        if isinstance(trace, CountTrace):
            figure = draw_count_trace(trace, title=title)
        else:
            figure = draw_trace(measure_trace(trace), title=title, source=source)
        click.echo(f"written: {save_figure(figure, path=output)}", err=True)


@command.command("fit")
@click.argument("trace")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the parameters for scenarios (.yaml), or the regenerated trace (.npz).",
)
@click.option(
    "--figure",
    "drawn",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw trace and regenerated trace (.svg, .png or .pdf).",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@format_option
@click.pass_context
def _fit_command(
    ctx: click.Context,  # noqa: ARG001  keeps the others by name
    *,
    trace: str,
    seed: int,
    output: Path | None,
    drawn: Path | None,
    overwrite: bool,
    form: TableFormat,
) -> None:
    """Estimate the generator's parameters from TRACE, and say how well they imitate it."""
    from rackmoe.report.traces import fit_summary
    from rackmoe.study.trace_fit import fit_trace

    if output is not None:
        check_new(output, overwrite=overwrite)
    fit = fit_trace(found_trace(trace), seed=seed)
    _echo({"name": trace, **fit_summary(fit)}, form=form)
    if drawn is not None:
        from rackmoe.report.routing_figures import draw_trace
        from rackmoe.report.theme import save_figure

        figure = draw_trace(
            fit.measured,
            title=f"{trace} and its imitation, seed {seed}",
            source=fit.statistics.source,
            imitation=fit.regenerated,
        )
        click.echo(f"written: {save_figure(figure, path=drawn)}", err=True)
    if output is not None:
        _write_fit(fit, output, seed=seed)


def _write_fit(fit: "TraceFit", output: Path, *, seed: int) -> None:
    """Write the parameter set, or the regenerated trace."""
    from rackmoe.routing.family_files import save_statistics
    from rackmoe.routing.trace_files import save_token_trace

    if output.suffix in {".yaml", ".yml"}:
        from rackmoe.study.trace_fit import fit_parameters

        save_statistics(fit_parameters(fit, seed=seed), path=output)
        click.echo(f"{output}: a parameter set for workload.routing.generator", err=True)
        return
    save_token_trace(fit.trace, path=output)
    click.echo(f"{output}: {fit.trace.n_tokens:,} tokens, generated", err=True)


@command.command("generate")
@click.option("--model", required=True, metavar="NAME", help="Shipped model, or a config.json.")
@click.option(
    "--statistics",
    required=True,
    metavar="NAME",
    help="Parameter set of the generator, e.g. deepseek_chat or uniform.",
)
@click.option(
    "--tokens", "n_tokens", type=click.IntRange(min=1), default=16_384, show_default=True
)
@click.option(
    "--requests", "n_requests", type=click.IntRange(min=1), default=64, show_default=True
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--domains",
    "n_domains",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Kinds of text, each with hot experts of its own.",
)
@click.option(
    "--domain-sd",
    type=float,
    default=0.7,
    show_default=True,
    help="Spread of log popularity between domains.",
)
@click.option(
    "--drift-sd",
    type=float,
    default=0.0,
    show_default=True,
    help="Spread of the domains' log weights over the requests.",
)
@click.option(
    "--cold",
    "cold_frac",
    type=float,
    default=0.0,
    show_default=True,
    help="Part of the experts that hardly any token chooses.",
)
@click.option(
    "--early-boost",
    type=float,
    default=1.0,
    show_default=True,
    help="Factor on the skew of the first 128 tokens of a request.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.npz")
@click.option("--overwrite", is_flag=True, help="Replace FILE.npz.")
@click.pass_context
def _generate_command(  # noqa: PLR0913  one parameter for each option
    ctx: click.Context,  # noqa: ARG001  keeps the others by name
    *,
    model: str,
    statistics: str,
    n_tokens: int,
    n_requests: int,
    seed: int,
    output: Path,
    overwrite: bool,
    n_domains: int,
    domain_sd: float,
    drift_sd: float,
    cold_frac: float,
    early_boost: float,
) -> None:
    """Draw the expert choices of tokens of a model, and write them as a trace."""
    from rackmoe.routing.refinements import Refinements
    from rackmoe.routing.trace_files import save_token_trace
    from rackmoe.study.generated_traces import generate_model_trace

    if output.suffix != ".npz":
        raise ConfigError(f"{output}: '{output.suffix}'; expected a name that ends in '.npz'")
    check_new(output, overwrite=overwrite)
    trace = generate_model_trace(
        model,
        statistics=statistics,
        n_tokens=n_tokens,
        n_requests=n_requests,
        seed=seed,
        refinements=Refinements(
            n_domains=n_domains,
            domain_sd=domain_sd,
            drift_sd=drift_sd,
            cold_frac=cold_frac,
            early_boost=early_boost,
        ),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.partial.npz")
    try:
        save_token_trace(trace, path=partial)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"{output}: {n_tokens:,} tokens of {n_requests:,} requests, generated", err=True)


def _echo(values: dict[str, object], *, form: TableFormat) -> None:
    from rackmoe.report.tables import mapping_frame, render_mapping, text_table

    if form is TableFormat.TABLE:
        echo_table(text_table(mapping_frame(values)))
    else:
        echo_text(render_mapping(values, form=form))
