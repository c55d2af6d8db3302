"""Figures of routing traces: who is used, how choices are remembered, what balancing gives."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rackmoe.report.theme import Drawing, figure_style, machine_color
from rackmoe.routing.statistics import LAGS, TraceStatistics
from rackmoe.routing.traces import CountTrace

__all__ = ["draw_balance", "draw_count_trace", "draw_trace"]

_LEAST, _MOST = 0.1, 10.0
_GRAY = "#555555"
_GB = 1e9
_FEW = 50  # steps that are marked one by one


def draw_trace(
    statistics: TraceStatistics,
    *,
    title: str,
    source: str,
    imitation: TraceStatistics | None = None,
) -> Figure:
    """Draw the popularity of experts as a heat map, and how long choices are remembered.

    Parameters
    ----------
    statistics : TraceStatistics
        From `measure_trace`.
    title : str
        What the trace is.
    source : str
        Where it comes from.
    imitation : TraceStatistics, optional
        The same of a trace that the generator made, drawn beside it.

    Returns
    -------
    Figure
        Load over the mean of its layer, experts in the order of their load; overlap
        over the distance in tokens.
    """
    with figure_style():
        figure = Drawing(figsize=(9.0, 3.8), layout="constrained")
        heat, memory = figure.subplots(1, 2, width_ratios=(1.5, 1))
        _draw_heat(figure, heat, statistics.counts)
        _draw_memory(memory, statistics, color="black", label="trace")
        if imitation is not None:
            _draw_memory(memory, imitation, color="#d1495b", label="regenerated")
        memory.axhline(
            float(statistics.random_overlap.mean()), color=_GRAY, linestyle=":", label="unrelated"
        )
        memory.set_xscale("log", base=2)
        memory.set_ylim(bottom=0)
        memory.set_title("shared experts of two tokens")
        memory.set_xlabel("distance within a request [tokens]")
        memory.legend()
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(
            f"{statistics.n_tokens:,} tokens, top-{statistics.top_k}; {source}"[:160],
            x=0.01,
            ha="left",
            fontsize=7.5,
            color=_GRAY,
        )
    return figure


def draw_count_trace(trace: CountTrace, *, title: str) -> Figure:
    """Draw the popularity of experts as a heat map, and the load of the busiest step by step.

    Parameters
    ----------
    trace : CountTrace
        The trace.
    title : str
        What it is.

    Returns
    -------
    Figure
        Load over the mean of its layer, experts in the order of their load; busiest
        expert over the mean in each step.
    """
    counts = trace.counts.astype(np.float64)
    mean = counts.mean(axis=2)
    busiest = np.divide(counts.max(axis=2), mean, out=np.ones_like(mean), where=mean > 0)
    with figure_style():
        figure = Drawing(figsize=(9.0, 3.8), layout="constrained")
        heat, steps = figure.subplots(1, 2, width_ratios=(1.5, 1))
        _draw_heat(figure, heat, counts.sum(axis=0))
        steps.plot(busiest.mean(axis=1), color="black", marker="o" if len(counts) < _FEW else "")
        steps.set_ylim(0, 1.1 * float(busiest.mean(axis=1).max()))
        steps.xaxis.set_major_locator(MaxNLocator(integer=True))
        steps.set_title("busiest expert over the mean")
        steps.set_xlabel("step")
        figure.suptitle(title, x=0.01, ha="left")
        header = trace.header
        figure.supxlabel(
            f"{int(trace.step_tokens.sum()):,} tokens, top-{header.top_k}; {header.source}"[:160],
            x=0.01,
            ha="left",
            fontsize=7.5,
            color=_GRAY,
        )
    return figure


def draw_balance(rows: pd.DataFrame, *, title: str, machine: str, seed: int) -> Figure:
    """Draw what each setting of the experts gives: imbalance, throughput and memory.

    Parameters
    ----------
    rows : DataFrame
        From `balance_frame`.
    title : str
        The scenario.
    machine : str
        Its profile, for the color.
    seed : int
        Seed of the runs.

    Returns
    -------
    Figure
        Three panels of bars, a bar for each setting.
    """
    panels = (
        ("imbalance of ranks (max / mean)", rows["imbalance"].to_numpy(np.float64)),
        (
            "output [tokens/s per GPU]",
            rows["output_tokens_per_s_per_gpu"].to_numpy(np.float64),
        ),
        (
            "expert weights of a rank [GB]",
            rows["expert_weight_bytes_per_rank"].to_numpy(float) / _GB,
        ),
    )
    labels = rows["setting"].astype(str).tolist()
    with figure_style():
        figure = Drawing(figsize=(10.0, 1.4 + 0.34 * len(rows)), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True)
        for panel, (name, values) in zip(grid.tolist(), panels, strict=True):
            _draw_bars(panel, values, labels=labels, color=machine_color(machine))
            panel.set_title(name)
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(
            f"modeled by rackmoe, seed {seed}; short runs of the scenario at its own traffic",
            x=0.01,
            ha="left",
            fontsize=7.5,
            color=_GRAY,
        )
    return figure


def _draw_heat(figure: Figure, panel: Axes, counts: NDArray[np.int64]) -> None:
    mean = np.maximum(counts.mean(axis=1, keepdims=True), 1.0)
    loads = np.sort(counts / mean, axis=1)[:, ::-1]
    image = panel.imshow(
        np.clip(loads, _LEAST, _MOST),
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r",
        norm=LogNorm(_LEAST, _MOST),
        extent=(0.5, loads.shape[1] + 0.5, len(loads) - 0.5, -0.5),
    )
    panel.grid(visible=False)
    panel.set_title("load of experts over the mean of their layer")
    panel.set_xlabel("expert, in the order of its load")
    panel.set_ylabel("MoE layer")
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=panel)


def _draw_memory(panel: Axes, statistics: TraceStatistics, *, color: str, label: str) -> None:
    panel.plot(LAGS, statistics.overlap.mean(axis=1), "o-", color=color, markersize=4, label=label)


def _draw_bars(
    panel: Axes, values: NDArray[np.float64], *, labels: Sequence[str], color: str
) -> None:
    heights = np.arange(len(values))[::-1]
    bars = panel.barh(heights, np.nan_to_num(values), height=0.7, color=color)
    panel.bar_label(bars, [f"{value:.4g}" for value in values], padding=3, fontsize=7.5)
    panel.set_yticks(heights, labels)
    panel.margins(x=0.2)
