"""Import routing traces of other programs, and export counts and placements to them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rackmoe.cli.trace_output import check_new, found_trace
from rackmoe.errors import ConfigError

if TYPE_CHECKING:
    from rackmoe.routing.importers.facts import ImportHints

__all__ = ["export_command", "import_command"]

_FIELDS = {
    "n_experts": int,
    "top_k": int,
    "phase": str,
    "source": str,
    "licence": str,
    "moe_layer_ids": "integers",
    "n_prompt_rows": "integers",
    "step_tokens": "integers",
    "physical_to_logical": "table",
}
_PLACEMENTS = ("contiguous", "round_robin", "eplb", "eplb_global", "eplb_vec", "affinity")


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--format", "form", metavar="NAME", help="Format of PATH.  [default: found out]")
@click.option(
    "--model",
    metavar="NAME",
    help="The model that was recorded: a shipped name, or a config.json.",
)
@click.option(
    "--hint",
    "hints",
    multiple=True,
    metavar="KEY=VALUE",
    help=f"What PATH does not say: {', '.join(_FIELDS)}; lists as 3,4,5; repeatable.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="OUT",
    help="A new .npz, or a folder that is memory-mapped.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT.npz.")
@click.pass_context
def import_command(
    ctx: click.Context,  # noqa: ARG001  keeps the others by name
    *,
    path: Path,
    form: str | None,
    model: str | None,
    hints: tuple[str, ...],
    output: Path,
    overwrite: bool,
) -> None:
    """Read a trace of a serving engine at PATH and write it as rackmoe keeps it.

    `rackmoe trace formats` lists what can be read.
    """
    from rackmoe.routing.importers.importing import import_with_notes
    from rackmoe.routing.trace_files import save_count_trace, save_token_trace
    from rackmoe.routing.traces import TokenTrace

    check_new(output, overwrite=overwrite)
    given = _hints(hints)
    done = import_with_notes(path, format=form, model=model, hints=given)
    output.parent.mkdir(parents=True, exist_ok=True)
    trace = done.trace
    if isinstance(trace, TokenTrace):
        save_token_trace(trace, path=output)
        size = f"{trace.n_tokens:,} tokens of {len(trace.req_offsets) - 1:,} requests"
    else:
        save_count_trace(trace, path=output)
        size = f"counts of {len(trace.step_tokens):,} steps"
    for note in done.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{output}: {size}, read as {done.format}", err=True)


@click.command("export")
@click.argument("trace")
@click.option(
    "--to",
    "engine",
    type=click.Choice(["sglang", "tensorrt_llm", "sglang_counts"]),
    required=True,
    help="The engine that reads the placement, or SGLang's logical_count.",
)
@click.option("--ep", type=click.IntRange(min=1), help="Ranks of the placement.")
@click.option(
    "--redundant",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Experts beyond one copy of each.",
)
@click.option(
    "--ranks-per-node",
    type=click.IntRange(min=1),
    help="Ranks in a scale-up domain.  [default: all]",
)
@click.option("--policy", type=click.Choice(_PLACEMENTS), default="eplb", show_default=True)
@click.option(
    "--model",
    metavar="NAME",
    help="Model whose layers are numbered.  [default: the trace's header]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@click.pass_context
def export_command(  # noqa: PLR0913  one parameter for each option
    ctx: click.Context,  # noqa: ARG001  keeps the others by name
    *,
    trace: str,
    engine: str,
    ep: int | None,
    redundant: int,
    ranks_per_node: int | None,
    policy: str,
    model: str | None,
    output: Path,
    overwrite: bool,
) -> None:
    """Find a placement for TRACE and write the file with which an engine runs it."""
    from rackmoe.routing.exporters.exporting import export_counts, export_placement
    from rackmoe.study.trace_placements import place_trace, requests_as_steps

    check_new(output, overwrite=overwrite)
    found = found_trace(trace)
    if engine == "sglang_counts":
        export_counts(requests_as_steps(found), path=output, model=model, is_summed=True)
        click.echo(f"{output}: counts of {found.n_tokens:,} tokens", err=True)
        return
    if ep is None:
        raise ConfigError("--ep: missing; expected the ranks of the placement; write --ep 32")
    placed = place_trace(
        found,
        policy=policy,
        n_ranks=ep,
        n_redundant=redundant,
        ranks_per_node=ranks_per_node,
        model=model,
    )
    export_placement(
        placed.placement,
        path=output,
        format=engine,
        model=model,
        moe_layer_ids=found.header.moe_layer_ids,
    )
    click.echo(
        f"{output}: {policy} on {ep} ranks, imbalance {placed.imbalance:.3f} "
        f"(contiguous {placed.contiguous_imbalance:.3f}, bound {placed.floor:.3f})",
        err=True,
    )


def _hints(texts: tuple[str, ...]) -> "ImportHints":
    from rackmoe.routing.importers.facts import ImportHints

    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in _FIELDS:
            raise ConfigError(
                f"--hint: '{text}'; expected KEY=VALUE with a key of {', '.join(_FIELDS)}; "
                "write for example --hint top_k=8"
            )
        given[name] = _value(name, value)
    return ImportHints(**given)


def _value(name: str, text: str) -> object:
    import numpy as np

    kind = _FIELDS[name]
    try:
        if kind == "table":
            return np.load(text, allow_pickle=False)
        if kind == "integers":
            numbers = tuple(int(one) for one in text.split(","))
            return np.array(numbers) if name == "step_tokens" else numbers
        read: Callable[[str], Any] = int if kind is int else str
        return read(text)
    except (OSError, ValueError) as error:
        expected = {"table": "an .npy file", "integers": "whole numbers such as 3,4,5"}
        raise ConfigError(
            f"--hint: {name}: '{text}'; expected {expected.get(str(kind), 'a whole number')}; "
            "correct the value"
        ) from error
