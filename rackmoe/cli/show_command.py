"""Show what a machine, a model, a backend, a scenario or a trace is, with its totals."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rackmoe.cli.catalog import KINDS, Entry, find_entry
from rackmoe.cli.terminal import echo_table, echo_text, format_option
from rackmoe.errors import ConfigError
from rackmoe.report.text import TableFormat

if TYPE_CHECKING:
    import pandas as pd

    from rackmoe.hardware.machine import Machine

__all__ = ["command"]


@click.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(list(KINDS)), help="What NAME is, if it is several.")
@click.option("--topology", is_flag=True, help="Show the links of a machine.")
@click.option(
    "--domains",
    "n_domains",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Racks of an NVL72 machine, nodes of an HGX machine.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw the links of a machine (.svg, .png or .pdf).",
)
@format_option
@click.pass_context
def command(
    ctx: click.Context,  # noqa: ARG001  keeps the others by name
    *,
    name: str,
    kind: str | None,
    topology: bool,
    n_domains: int,
    output: Path | None,
    form: TableFormat,
) -> None:
    """Show NAME, a shipped thing or a file, with its totals; ASSUMED marks assumed values."""
    entry = find_entry(name, kind=kind)
    if entry.kind == "machine":
        _show_machine(name, has_links=topology, n_domains=n_domains, form=form)
        if output is not None:
            _draw_machine(name, n_domains=n_domains, output=output)
        return
    if topology or n_domains > 1 or output is not None:
        raise ConfigError(
            f"{name}: a {entry.kind}; expected a machine for --topology, --domains and --output;"
            " leave them out"
        )
    shows = {
        "model": _show_model,
        "backend": _show_backend,
        "scenario": _show_scenario,
        "published": _show_scenario,
    }
    shows.get(entry.kind, _show_trace)(entry, form)


def _show_machine(name: str, *, has_links: bool, n_domains: int, form: TableFormat) -> None:
    from rackmoe.hardware.profile import build_machine, load_profile
    from rackmoe.report.profiles import machine_data, sourced_frame, topology_data

    document = load_profile(name)
    machine = build_machine(document)
    data = machine_data(document, n_domains=n_domains)
    title = f"{document.title} ({document.name}, {document.status})"
    if form is TableFormat.JSON:
        extra = {"topology": topology_data(machine, n_domains=n_domains)} if has_links else {}
        _echo_mapping({**data, **extra}, form=form)
        return
    _echo_mapping(data["totals"], form=form, title=f"{title}, {n_domains} domain(s): totals")
    if has_links:
        _show_links(machine, n_domains=n_domains, form=form)
        return
    _echo_frame(sourced_frame(document), form=form, title="\nValues")
    _echo_mapping(data["sources"], form=form, title="\nSources")


def _show_links(machine: "Machine", *, n_domains: int, form: TableFormat) -> None:
    from rackmoe.report.profiles import links_frame
    from rackmoe.report.topology import cuts_frame, machine_graph, parts_frame, paths_frame

    graph = machine_graph(machine, n_domains=n_domains)
    _echo_frame(parts_frame(graph), form=form, title="\nParts")
    _echo_frame(links_frame(machine, n_domains=n_domains), form=form, title="\nLinks, added up")
    _echo_frame(paths_frame(graph, machine=machine), form=form, title="\nWays from GPU 0")
    _echo_frame(cuts_frame(graph, machine=machine), form=form, title="\nCuts")


def _draw_machine(name: str, *, n_domains: int, output: Path) -> None:
    from rackmoe.hardware.profile import load_machine
    from rackmoe.report.theme import save_figure
    from rackmoe.report.topology_plot import draw_topology

    figure = draw_topology(load_machine(name), n_domains=n_domains)
    click.echo(f"written: {save_figure(figure, path=output)}", err=True)


def _show_model(entry: Entry, form: TableFormat) -> None:
    from rackmoe.model.config import load_model
    from rackmoe.report.profiles import model_data

    data = model_data(load_model(entry.name))
    if form is TableFormat.JSON:
        _echo_mapping(data, form=form)
        return
    _echo_mapping(data["totals"], form=form, title=f"{data['title']}: totals")
    _echo_mapping(data["architecture"], form=form, title="\nArchitecture")


def _show_backend(entry: Entry, form: TableFormat) -> None:
    from rackmoe.backend.profile import load_backend
    from rackmoe.report.plain import to_plain

    document = load_backend(entry.name)
    _echo_mapping({"kind": "backend", **to_plain(document)}, form=form, title=document.title)


def _show_scenario(entry: Entry, form: TableFormat) -> None:
    from rackmoe.report.plain import to_plain
    from rackmoe.scenario.resolved import load_scenario

    base = load_scenario(entry.name)
    data: dict[str, Any] = {
        "kind": "scenario",
        "name": base.name,
        **to_plain(base.document),
        "variants": {name: to_plain(one.document) for name, one in base.variants.items()},
    }
    _echo_mapping(data, form=form, title=base.document.title)


def _show_trace(entry: Entry, form: TableFormat) -> None:
    from rackmoe.report.traces import trace_summary

    data = {"kind": entry.kind, "name": entry.name, **trace_summary(entry.path)}
    _echo_mapping(data, form=form, title=entry.name)


def _echo_mapping(values: dict[str, Any], *, form: TableFormat, title: str = "") -> None:
    from rackmoe.report.tables import mapping_frame, render_mapping

    if form is TableFormat.TABLE:
        _echo_frame(mapping_frame(values), form=form, title=title)
    else:
        echo_text(render_mapping(values, form=form, title=title.strip()))


def _echo_frame(frame: "pd.DataFrame", *, form: TableFormat, title: str) -> None:
    from rackmoe.report.tables import render_frame, text_table

    if form is TableFormat.TABLE:
        echo_table(text_table(frame, title=title, has_prefixes=True))
    else:
        echo_text(render_frame(frame, form=form, title=title.strip()))
