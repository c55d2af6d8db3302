"""Describe routing traces and request traces, and generate routing traces."""

from pathlib import Path

import click

from rackmoe.cli.catalog import find_entry
from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.errors import ConfigError
from rackmoe.report.text import TableFormat

__all__ = ["command"]


@click.group()
def command() -> None:
    """Describe routing and request traces, and generate routing traces."""


@command.command("info")
@click.argument("file")
@format_option
def _info_command(*, file: str, form: TableFormat) -> None:
    """Check FILE, a trace or the name of a shipped one, and say what it holds."""
    from rackmoe.report.tables import mapping_frame, render_mapping, text_table
    from rackmoe.report.traces import trace_summary

    path = Path(file) if Path(file).exists() else find_entry(file).path
    summary = {"name": file, **trace_summary(path)}
    if form is TableFormat.TABLE:
        echo_table(text_table(mapping_frame(summary)))
    else:
        echo_text(render_mapping(summary, form=form))


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
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.npz")
@click.option("--overwrite", is_flag=True, help="Replace FILE.npz.")
@click.pass_context
def _generate_command(
    ctx: click.Context,  # noqa: ARG001  keeps the others by name
    *,
    model: str,
    statistics: str,
    n_tokens: int,
    n_requests: int,
    seed: int,
    output: Path,
    overwrite: bool,
) -> None:
    """Draw the expert choices of tokens of a model, and write them as a trace."""
    from rackmoe.routing.trace_files import save_token_trace
    from rackmoe.study.generated_traces import generate_model_trace

    if output.suffix != ".npz":
        raise ConfigError(f"{output}: '{output.suffix}'; expected a name that ends in '.npz'")
    if output.exists() and not overwrite:
        raise ConfigError(
            f"{output}: the file exists; expected a new one; choose another or pass --overwrite"
        )
    trace = generate_model_trace(
        model, statistics=statistics, n_tokens=n_tokens, n_requests=n_requests, seed=seed
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.partial.npz")
    try:
        save_token_trace(trace, partial)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    click.echo(f"{output}: {n_tokens:,} tokens of {n_requests:,} requests, generated", err=True)
