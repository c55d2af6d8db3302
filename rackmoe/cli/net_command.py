"""Ask the laws of the network what a collective costs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rackmoe.cli.terminal import echo_table, echo_text, echo_warnings, format_option
from rackmoe.errors import ConfigError, UnitError
from rackmoe.report.text import TableFormat
from rackmoe.units import Dimension, parse_quantity

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["command"]


@click.group()
def command() -> None:
    """Ask the laws of the network what a collective costs."""


@command.command("bench")
@click.argument("hardware")
@click.option(
    "--op",
    "operation",
    default="dispatch",
    show_default=True,
    metavar="NAME",
    help="dispatch, combine, prepare, all_reduce, all_gather, reduce_scatter or all_to_all.",
)
@click.option(
    "--ep",
    default="8,16,32,64",
    show_default=True,
    metavar="N,N,...",
    help="GPUs of each group.",
)
@click.option(
    "--sizes",
    default="",
    metavar="N,N,...",
    help="Tokens of a rank, or sizes such as 64 MiB.  [default: a range]",
)
@click.option("--family", default="", metavar="NAME", help="Family of kernels.  [default: all]")
@click.option("--library", default="", metavar="NAME", help="Beginning of the library's name.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw a figure (.svg, .png or .pdf) with every measured point.",
)
@format_option
def _bench_command(
    *,
    hardware: str,
    operation: str,
    ep: str,
    sizes: str,
    family: str,
    library: str,
    output: Path | None,
    form: TableFormat,
) -> None:
    """Print latency and bandwidth of a collective on HARDWARE over its size.

    Times of the same size in the shipped tables of measurements stand beside the law.
    """
    from rackmoe.report.network_bench import bench_frame, draw_bench
    from rackmoe.report.theme import save_figure
    from rackmoe.study.network_bench import bench_network

    groups = [_count(text, option="--ep") for text in ep.split(",")]
    bench = partial(
        bench_network,
        hardware,
        operation=operation,
        n_ranks=groups,
        sizes=[_size(text) for text in sizes.split(",") if text.strip()],
        family=family,
        library=library,
    )
    rows = bench()
    if not rows:
        raise ConfigError(
            f"--ep: {ep}; expected a group that {family or 'a family'} can serve on {hardware}"
            f" with a kernel for '{operation}'; choose smaller groups, another operation or family"
        )
    unserved = [n for n in groups if all(row.n_ranks != n for row in rows)]
    echo_warnings("net bench", warnings=[f"no family serves {n} GPUs" for n in unserved])
    frame = bench_frame(rows, operation=operation)
    _echo(frame, form=form, title=f"{operation} on {hardware}, balanced traffic")
    if output is not None:
        from rackmoe.hardware.profile import load_machine

        points = bench(has_measured_sizes=True)
        figure = draw_bench(points, machine=load_machine(hardware), operation=operation)
        click.echo(f"written: {save_figure(figure, path=output)}", err=True)


def _count(text: str, *, option: str) -> int:
    """Return a number of GPUs."""
    if not text.strip().isdecimal() or int(text) < 2:  # noqa: PLR2004  an exchange needs two
        raise ConfigError(f"{option}: '{text}'; expected whole numbers from 2, such as 8,16,32")
    return int(text)


def _size(text: str) -> float:
    """Return a number of tokens or a size in bytes."""
    if text.strip().isdecimal() and int(text) > 0:
        return float(text)
    try:
        return parse_quantity(text.strip(), dimension=Dimension.BYTES)
    except UnitError as error:
        raise ConfigError(
            f"--sizes: '{text}'; expected a number of tokens such as 128, or bytes such as"
            " 64 MiB; separate several by commas"
        ) from error


def _echo(frame: "pd.DataFrame", *, form: TableFormat, title: str) -> None:
    from rackmoe.report.tables import render_frame, text_table

    if form is TableFormat.TABLE:
        rounded = frame.round({"error_frac": 3})
        echo_table(text_table(rounded, title=title, has_prefixes=True))
    else:
        echo_text(render_frame(frame, form=form, title=title))
