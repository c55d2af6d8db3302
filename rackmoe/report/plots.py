"""What results look like: comparisons, distributions, where time goes, and loads of experts."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rackmoe.errors import ConfigError
from rackmoe.report.comparison import HEADLINES, MS_PER_S, Headline, labels_of
from rackmoe.report.numbers import show_number
from rackmoe.report.outcome import Outcome, outcome_of
from rackmoe.report.theme import PART_COLORS, Drawing, figure_style, machine_color
from rackmoe.simulation import Result

__all__ = [
    "draw_all",
    "draw_breakdown",
    "draw_comparison",
    "draw_expert_load",
    "draw_latencies",
    "plot_breakdown",
    "plot_comparison",
    "plot_expert_load",
    "plot_latencies",
]

_PANELS = (
    "output_tokens_per_s_per_gpu",
    "interactivity_p50_tokens_per_s",
    "output_tokens_per_s_per_mw",
    "ttft_p99_s",
    "tpot_p99_s",
    "usd_per_million_output_tokens",
)
_HATCHES = ("", "///", "...", "xxx", "\\\\\\")
_DASHES = ("-", "--", ":", "-.")
# what is left when parts of a step are subtracted from each other
_NEGLIGIBLE_MS = 1e-6
_LEAST_LOAD, _MOST_LOAD = 1 / 8, 8.0


def plot_comparison(*results: Result) -> Figure:
    """Draw the headline figures of results as bars; see `draw_comparison`."""
    return draw_comparison([outcome_of(result) for result in results])


def plot_latencies(*results: Result) -> Figure:
    """Draw how TTFT and TPOT are distributed; see `draw_latencies`."""
    return draw_latencies([outcome_of(result) for result in results])


def plot_breakdown(*results: Result) -> Figure:
    """Draw where the time of a step goes; see `draw_breakdown`."""
    return draw_breakdown([outcome_of(result) for result in results])


def plot_expert_load(*results: Result) -> Figure:
    """Draw how unevenly experts are used; see `draw_expert_load`."""
    return draw_expert_load([outcome_of(result) for result in results])


def draw_all(outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """Draw every figure that the runs have data for.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs; the first is the base.

    Returns
    -------
    dict of str to Figure
        By the name of a file without its ending.
    """
    figures = {
        "comparison": draw_comparison(outcomes),
        "latencies": draw_latencies(outcomes),
        "breakdown": draw_breakdown(outcomes),
    }
    if any(one.expert_loads.size for one in outcomes):
        figures["expert_load"] = draw_expert_load(outcomes)
    return figures


def draw_comparison(outcomes: Sequence[Outcome]) -> Figure:
    """Draw the headline figures of runs as bars, each in its own panel from zero.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs; the first is the base.

    Returns
    -------
    Figure
        A panel for each figure, a bar for each run in the color of its machine.
    """
    lines = [line for line in HEADLINES if line.metric in _PANELS]
    lines.sort(key=lambda line: _PANELS.index(line.metric))
    n_columns = 3
    n_rows = -(-len(lines) // n_columns)
    height_inch = 0.8 + n_rows * (0.75 + 0.3 * len(outcomes))
    with figure_style():
        figure = Drawing(figsize=(9.0, height_inch), layout="constrained")
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True)
        panels = grid.ravel().tolist()
        for panel, line in zip(panels, lines, strict=True):
            _bars(panel, line, outcomes)
        _finish(figure, outcomes)
    return figure


def draw_latencies(outcomes: Sequence[Outcome]) -> Figure:
    """Draw which share of the requests has at most a TTFT and a TPOT.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs.

    Returns
    -------
    Figure
        Two panels of empirical distribution functions, with a dot at p50 and at p99.
    """
    with figure_style():
        figure = Drawing(figsize=(9.0, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        _distributions(left, "ttft_s", outcomes)
        _distributions(right, "tpot_s", outcomes)
        left.set_title("Time to first token")
        left.set_xlabel("TTFT [ms], logarithmic")
        left.set_xscale("log")
        left.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show_number(value)))
        left.xaxis.set_minor_formatter(NullFormatter())
        left.set_ylabel("share of requests [%]")
        right.set_title("Time per output token")
        right.set_xlabel("TPOT [ms]")
        right.set_xlim(left=0)
        if left.lines:
            right.legend(*left.get_legend_handles_labels(), title="dots: p50, p99")
        _finish(figure, outcomes)
    return figure


def draw_breakdown(outcomes: Sequence[Outcome]) -> Figure:
    """Draw where the time of a mean step goes, as one stacked bar for each pool and run.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs.

    Returns
    -------
    Figure
        A panel for each pool, because prefill and decode steps differ in length.
    """
    pools = list(dict.fromkeys(str(pool) for one in outcomes for pool in one.breakdown["pool"]))
    if not pools:
        raise ConfigError("breakdown: no steps; expected a run with steps; lengthen the run")
    labels = labels_of(outcomes)
    bars = {
        pool: [
            (label, one)
            for label, one in zip(labels, outcomes, strict=True)
            if any(_parts_ms(one.breakdown, pool).values())
        ]
        for pool in pools
    }
    heights = [0.75 + 0.32 * len(drawn) for drawn in bars.values()]
    with figure_style():
        figure = Drawing(figsize=(9.0, 1.3 + sum(heights)), layout="constrained")
        panels = figure.subplots(
            len(pools), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
        ).ravel()
        for panel, (pool, drawn) in zip(panels.tolist(), bars.items(), strict=True):
            _stacks(panel, pool, drawn)
        shown = {part for drawn in bars.values() for _, one in drawn for part in _used(one)}
        patches = [
            Patch(color=color, label=part.replace("_", " "))
            for part, color in PART_COLORS.items()
            if part in shown
        ]
        panels[-1].legend(
            handles=patches, loc="upper center", bbox_to_anchor=(0.45, -0.25), ncols=5
        )
        _finish(figure, outcomes)
    return figure


def draw_expert_load(outcomes: Sequence[Outcome]) -> Figure:
    """Draw the load of each expert of each layer over the mean of its layer.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs.

    Returns
    -------
    Figure
        A heat map for each run, the experts of each layer in the order of their load.
    """
    drawn = [one for one in outcomes if one.expert_loads.size]
    if not drawn:
        raise ConfigError(
            "experts: no assignments were recorded; expected a run with routed experts;"
            " draw another run"
        )
    with figure_style():
        figure = Drawing(figsize=(9.0, 0.9 + 2.4 * len(drawn)), layout="constrained")
        panels = figure.subplots(len(drawn), 1, squeeze=False).ravel().tolist()
        for panel, one, label in zip(panels, drawn, labels_of(drawn), strict=True):
            _heat_map(figure, panel, one, label=label)
        _finish(figure, drawn)
    return figure


def _bars(panel: Axes, line: Headline, outcomes: Sequence[Outcome]) -> None:
    values = [one.summary.get(line.metric, np.nan) * line.scale for one in outcomes]
    heights = np.arange(len(outcomes))[::-1]
    bars = panel.barh(
        heights,
        np.nan_to_num(values),
        height=0.7,
        color=[machine_color(one.machine) for one in outcomes],
        hatch=[_repeat(outcomes, i, _HATCHES) for i in range(len(outcomes))],
        edgecolor="white",
    )
    panel.bar_label(bars, [_short(value) for value in values], padding=3)
    panel.set_yticks(heights, labels_of(outcomes))
    panel.set_title(f"{line.label}\n[{line.unit}]", fontsize=10)
    panel.margins(x=0.22)
    panel.set_xlim(left=0)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)
    panel.grid(visible=False)
    panel.tick_params(axis="y", length=0)


def _distributions(panel: Axes, column: str, outcomes: Sequence[Outcome]) -> None:
    for i, one in enumerate(outcomes):
        values = np.sort(one.latencies[column].dropna().to_numpy(np.float64)) * MS_PER_S
        if not values.size:
            continue
        # as percentiles are defined (linear interpolation), so that the dots lie on the line
        share = 100.0 * np.arange(values.size) / max(values.size - 1, 1)
        color = machine_color(one.machine)
        label = f"{labels_of(outcomes)[i]} ({values.size:,} requests)"
        style = _repeat(outcomes, i, _DASHES)
        panel.plot(values, share, color=color, linestyle=style, label=label)
        marks = np.percentile(values, [50, 99])
        panel.plot(marks, [50, 99], "o", color=color, markersize=4)
    panel.set_ylim(0, 101)


def _stacks(panel: Axes, pool: str, drawn: Sequence[tuple[str, Outcome]]) -> None:
    heights = np.arange(len(drawn))[::-1]
    left = np.zeros(len(drawn))
    series = [_parts_ms(one.breakdown, pool) for _, one in drawn]
    for part, color in PART_COLORS.items():
        widths = np.array([one.get(part, 0.0) for one in series])
        panel.barh(heights, widths, left=left, height=0.7, color=color)
        left += widths
    for height, total in zip(heights, left, strict=True):
        panel.annotate(
            f"{_short(float(total))} ms",
            (total, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    panel.set_yticks(heights, [label for label, _ in drawn])
    for text, (_, one) in zip(panel.get_yticklabels(), drawn, strict=True):
        text.set_color(machine_color(one.machine))
        text.set_fontweight("bold")
    panel.set_title(f"{pool.capitalize()} step, mean over steps and ranks [ms]")
    panel.set_ylim(-0.6, len(drawn) - 0.4)
    panel.set_xlim(left=0)
    panel.grid(visible=False, axis="y")


def _used(one: Outcome) -> set[str]:
    """Return the parts that take any time that can be seen."""
    pools = {str(pool) for pool in one.breakdown["pool"]}
    return {
        part for pool in pools for part, time in _parts_ms(one.breakdown, pool).items() if time
    }


def _heat_map(figure: Figure, panel: Axes, one: Outcome, *, label: str) -> None:
    loads = np.sort(one.expert_loads.to_numpy(np.float64), axis=1)[:, ::-1]
    layers = one.expert_loads.index.to_numpy()
    image = panel.imshow(
        np.clip(loads, _LEAST_LOAD, _MOST_LOAD),
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r",
        norm=LogNorm(_LEAST_LOAD, _MOST_LOAD),
        extent=(0.5, loads.shape[1] + 0.5, layers[-1] + 0.5, layers[0] - 0.5),
    )
    panel.grid(visible=False)
    panel.set_title(f"{label}: load of each expert over the mean of its layer")
    panel.set_xlabel("expert of the layer, by load (1 = most used)")
    panel.set_ylabel("layer of the model")
    bar = figure.colorbar(image, ax=panel, pad=0.01)
    bar.set_ticks([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8], labels=list("⅛¼½1248"))
    bar.set_label("load / mean [1]")
    bar.ax.minorticks_off()


def _parts_ms(breakdown: pd.DataFrame, pool: str) -> dict[str, float]:
    """Return the time of each part of a pool's steps, rounding errors apart."""
    rows = breakdown[breakdown["pool"] == pool]
    times = np.nan_to_num(rows["time_per_step_s"].to_numpy(np.float64)) * MS_PER_S
    times[np.abs(times) < _NEGLIGIBLE_MS] = 0.0
    return dict(zip(rows["part"].astype(str), times.tolist(), strict=True))


def _short(value: float) -> str:
    """Return a number with three significant digits."""
    return show_number(float(f"{value:.3g}"))


def _repeat(outcomes: Sequence[Outcome], i: int, marks: Sequence[str]) -> str:
    """Return the mark that tells a run from earlier ones on the same machine."""
    n_before = sum(one.machine == outcomes[i].machine for one in outcomes[:i])
    return marks[n_before % len(marks)]


def _finish(figure: Figure, outcomes: Iterable[Outcome]) -> None:
    """State scenario, machines, seed, and that the figures are modeled."""
    runs = list(outcomes)
    machines = "; ".join(
        f"{label}: {one.machine_title}, {one.n_gpus} GPUs"
        for one, label in zip(runs, labels_of(runs), strict=True)
    )
    seeds = ", ".join(dict.fromkeys(str(one.seed) for one in runs))
    figure.suptitle(runs[0].title, x=0.01, ha="left")
    figure.supxlabel(
        f"{machines}; seed {seeds}; modeled by rackmoe",
        x=0.01,
        ha="left",
        fontsize=7.5,
        color="#555555",
    )
