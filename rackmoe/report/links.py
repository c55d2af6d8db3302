"""Which links a run used most: the hottest ones as a table, all of them as a heat map."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rackmoe.errors import ConfigError
from rackmoe.report.theme import Drawing, figure_style

__all__ = ["N_HOT_LINKS", "draw_link_heat", "hot_links_frame"]

N_HOT_LINKS = 10
"""Links in the table of the hottest, unless told otherwise."""

_BOTH_WAYS = ("sent_bytes", "received_bytes")
_LEAST_SHOWN_FRAC = 0.01


def hot_links_frame(
    links: pd.DataFrame, *, span_s: float, n_links: int = N_HOT_LINKS
) -> pd.DataFrame:
    """Return the links that were used most, the hottest first.

    Parameters
    ----------
    links : DataFrame
        The link table of a run; columns that it lacks are left out.
    span_s : float
        How long the run lasted. [s]
    n_links : int, optional
        How many.

    Returns
    -------
    DataFrame
        A row for each link: its name, whose it is, what it carried and for whom, and its
        mean utilization, that of the busier direction.
    """
    frame = links.copy()
    shares = _utilizations_frac(links, span_s=span_s).max(axis=0)
    if "mean_utilization_frac" not in frame:
        frame["mean_utilization_frac"] = shares
    frame["link"] = [
        f"{tier} {port}" for tier, port in zip(frame["tier"], _ports(frame), strict=True)
    ]
    classes = _class_columns(frame)
    if classes:
        most = frame[classes].to_numpy(np.float64).argmax(axis=1)
        frame["mostly"] = [classes[one].removesuffix("_bytes") for one in most]
    order = np.lexsort((-frame[list(_BOTH_WAYS)].sum(axis=1), -frame["mean_utilization_frac"]))
    shown = [
        *("link", "replica", "rank", "capacity_bytes_per_s", "sent_bytes", "received_bytes"),
        *("mostly", "mean_utilization_frac", "p99_utilization_frac", "busy_s"),
    ]
    hot = frame.iloc[order[:n_links]]
    return hot[[name for name in shown if name in hot]].reset_index(drop=True)


def draw_link_heat(links: pd.DataFrame, *, span_s: float, title: str, note: str) -> Figure:
    """Draw how busy each port was: a panel for each fabric, a column for each port.

    Parameters
    ----------
    links : DataFrame
        The link table of a run.
    span_s : float
        How long the run lasted. [s]
    title : str
        What ran.
    note : str
        Machine and seed, for the line below.

    Returns
    -------
    Figure
        Rows are the two directions and, where the table has them, the classes of traffic,
        each as mean share of the capacity; pale is idle, and a color bar says the rest.

    Raises
    ------
    ConfigError
        If no link carried anything.
    """
    carried = links[links[list(_BOTH_WAYS)].sum(axis=1) > 0]
    tiers = list(dict.fromkeys(carried["tier"].astype(str)))
    if not tiers:
        raise ConfigError(
            "links: none carried anything; expected a run with several GPUs; draw another run"
        )
    parts = {tier: _heat_rows(carried, tier=tier, span_s=span_s) for tier in tiers}
    heights = [0.75 + 0.24 * len(rows) for rows, _ in parts.values()]
    with figure_style():
        figure = Drawing(figsize=(9.0, 0.9 + sum(heights)), layout="constrained")
        panels = figure.subplots(
            len(tiers), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
        ).ravel()
        for panel, (tier, (rows, ports)) in zip(panels.tolist(), parts.items(), strict=True):
            _draw_tier(figure, panel, rows, ports=ports, tier=tier)
            panel.set_title(_panel_title(carried, tier=tier, rows=rows))
        figure.suptitle(f"{title}: use of links", x=0.01, ha="left")
        figure.supxlabel(
            f"mean over {span_s:.4g} s; {note}; modeled by rackmoe",
            x=0.01,
            ha="left",
            fontsize=7.5,
            color="#555555",
        )
    return figure


def _utilizations_frac(links: pd.DataFrame, *, span_s: float) -> np.ndarray:
    """Return the share of the capacity used out and in, shape (2, n_links)."""
    if not span_s > 0.0:
        raise ConfigError(f"span_s: {span_s}; expected a positive time; give that of the run")
    most_bytes = links["capacity_bytes_per_s"].to_numpy(np.float64) * span_s
    used = links[list(_BOTH_WAYS)].to_numpy(np.float64).T
    share: np.ndarray = np.divide(used, most_bytes, out=np.zeros_like(used), where=most_bytes > 0)
    return share


def _ports(links: pd.DataFrame) -> list[int]:
    """Return the number of each port in the machine, or of its rank where there is none."""
    column = "port" if "port" in links else "rank"
    return [int(port) for port in links[column]]


def _class_columns(links: pd.DataFrame) -> list[str]:
    return [name for name in links.columns if name.endswith("_bytes") and name not in _BOTH_WAYS]


def _heat_rows(
    links: pd.DataFrame, *, tier: str, span_s: float
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Return the shares to draw of one fabric, and the ports that they belong to."""
    mine = links[links["tier"].astype(str) == tier]
    mine = mine.assign(port_number=_ports(mine)).sort_values("port_number", kind="stable")
    out, into = _utilizations_frac(mine, span_s=span_s)
    rows = {"sent": out, "received": into}
    most_bytes = 2 * span_s * mine["capacity_bytes_per_s"].to_numpy(np.float64)
    for name in _class_columns(mine):
        share = mine[name].to_numpy(np.float64) / most_bytes
        if share.any():
            rows[f"{name.removesuffix('_bytes')} (both)"] = share
    return rows, mine["port_number"].tolist()


def _panel_title(links: pd.DataFrame, *, tier: str, rows: dict[str, np.ndarray]) -> str:
    """Return what a panel shows, with the most that any of its ports carried."""
    mine = links[links["tier"].astype(str) == tier]
    most_frac = max(rows["sent"].max(), rows["received"].max())
    text = f"{tier.replace('_', '-')} ports, {len(mine)} in use, at most {most_frac:.2%} of one"
    if "p99_utilization_frac" in mine:
        text += f", {mine['p99_utilization_frac'].max():.2%} at its p99"
    return text


def _draw_tier(
    figure: Figure, panel: Axes, rows: dict[str, np.ndarray], *, ports: list[int], tier: str
) -> None:
    shares = 100.0 * np.array(list(rows.values()))
    most = max(float(shares.max()), 100.0 * _LEAST_SHOWN_FRAC)
    image = panel.imshow(
        shares, aspect="auto", interpolation="nearest", cmap="YlOrRd", vmin=0.0, vmax=most
    )
    panel.grid(visible=False)
    panel.set_yticks(range(len(rows)), list(rows))
    panel.tick_params(axis="y", length=0)
    step = max(len(ports) // 12, 1)
    panel.set_xticks(range(0, len(ports), step), [str(port) for port in ports[::step]])
    panel.set_xlabel("leaf" if tier == "leaf" else "NIC" if tier == "scale_out" else "GPU")
    bar = figure.colorbar(image, ax=panel, pad=0.01)
    bar.set_label("of capacity [%]")
