"""What a result says about its fabric: the hottest links, and pictures of links and wiring."""

import pandas as pd
from matplotlib.figure import Figure

from rackmoe.report.links import draw_link_heat, hot_links_frame
from rackmoe.report.tables import text_table
from rackmoe.report.text import TextTable
from rackmoe.report.topology_plot import draw_topology
from rackmoe.simulation import Result

__all__ = ["draw_fabric", "hot_links_of", "hot_links_table"]

_PERCENT = 100.0
_HEADERS = {"mean_utilization_frac": "mean use, %", "p99_utilization_frac": "p99 use, %"}


def hot_links_of(result: Result) -> pd.DataFrame:
    """Return the links that a run used most, the hottest first.

    Parameters
    ----------
    result : Result
        From `simulate`.

    Returns
    -------
    DataFrame
        At most 10 rows as of `hot_links_frame`; none where nothing went over a link.
    """
    links = result.to_frame("links")
    return hot_links_frame(links, span_s=max(result.run.end_s, 1e-12))


def hot_links_table(hot: pd.DataFrame, *, title: str) -> TextTable:
    """Return the hottest links as a table for people.

    Parameters
    ----------
    hot : DataFrame
        From `hot_links_of`.
    title : str
        A line above it.

    Returns
    -------
    TextTable
        A row for each link; use is that of the busier direction.
    """
    shown = hot.assign(**{name: _PERCENT * hot[name] for name in _HEADERS if name in hot})
    return text_table(shown, title=title, headers=_HEADERS, has_prefixes=True)


def draw_fabric(result: Result) -> dict[str, Figure]:
    """Draw how busy each link of a run was, and how the machine is wired.

    Parameters
    ----------
    result : Result
        From `simulate`.

    Returns
    -------
    dict of str to Figure
        By the name of a file without its ending: ``links`` where any link carried
        something, and ``topology``.
    """
    scenario = result.scenario
    machine, n_gpus = scenario.machine, scenario.n_gpus
    figures = {}
    links = result.to_frame("links")
    if (links["sent_bytes"] + links["received_bytes"]).sum() > 0.0:
        figures["links"] = draw_link_heat(
            links,
            span_s=result.run.end_s,
            title=scenario.document.title,
            note=f"{machine.title}, {n_gpus} GPUs, seed {result.seed}",
        )
    n_domains = max(-(-n_gpus // machine.scale_up.domain_gpus), 1)
    figures["topology"] = draw_topology(machine, n_domains=n_domains)
    return figures
