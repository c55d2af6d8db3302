"""What each step from one machine to another contributes, when runs stand in a row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rackmoe.report.comparison import HEADLINES, Headline
from rackmoe.report.numbers import show_number
from rackmoe.report.outcome import Outcome
from rackmoe.report.theme import Drawing, figure_style, machine_color

__all__ = ["contribution_headers", "contributions_frame", "draw_contributions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gain:
    """A figure whose steps are counted, so that more than 1 is better."""

    line: Headline
    is_less_better: bool

    @property
    def words(self) -> str:
        """What people call it, so that more is better."""
        return "output per dollar" if self.is_less_better else self.line.label

    def factor(self, value: float, *, before: float) -> float:
        if not value or not before:
            return math.nan
        return before / value if self.is_less_better else value / before


_LESS_IS_BETTER: Final = {
    "output_tokens_per_s_per_gpu": False,
    "output_tokens_per_j": False,
    "usd_per_million_output_tokens": True,
}
_GAINS: Final = tuple(
    _Gain(line=line, is_less_better=_LESS_IS_BETTER[line.metric])
    for line in HEADLINES
    if line.metric in _LESS_IS_BETTER
)
_SPEED: Final = "interactivity_p50_tokens_per_s"


def contributions_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return what each run reaches, and how many times better it is than the one before it.

    Parameters
    ----------
    outcomes : sequence of Outcome
        One or more, each with one part changed against the one before it.

    Returns
    -------
    DataFrame
        A row for each run and a last one, ``all``, for the last run against the first.
        Columns ``step``, ``machine``, ``interactivity_p50_tokens_per_s``, and for output
        per GPU, output per joule and cost of output the figure, in the unit of `METRICS`,
        and ``.times``: how many times better than the row before; for cost, how many times
        cheaper.

    Notes
    -----
    A product of the factors is the whole, exactly; each factor depends on the order of the
    steps, because parts work together: wide expert parallelism over NICs may lose what it
    gains over NVLink.
    """
    befores = (None, *outcomes[:-1])
    rows = [
        _row(one, before=before, step=one.name)
        for one, before in zip(outcomes, befores, strict=True)
    ]
    return pd.DataFrame([*rows, _row(outcomes[-1], before=outcomes[0], step="all")])


def _row(one: Outcome, *, before: Outcome | None, step: str) -> dict[str, object]:
    row: dict[str, object] = {
        "step": step,
        "machine": one.machine,
        _SPEED: one.summary.get(_SPEED, math.nan),
    }
    for gain in _GAINS:
        name = gain.line.metric
        value = one.summary.get(name, math.nan)
        row[name] = value
        row[f"{name}.times"] = (
            math.nan
            if before is None
            else gain.factor(value, before=before.summary.get(name, math.nan))
        )
    return row


def contribution_headers() -> dict[str, str]:
    """Return what people read above the columns of `contributions_frame`.

    Returns
    -------
    dict of str to str
        Headings by column; the others read as they are.
    """
    return {f"{gain.line.metric}.times": f"{gain.words}, times" for gain in _GAINS} | {
        _SPEED: "per user, median [tokens/s]"
    }


def draw_contributions(frame: pd.DataFrame, *, title: str, seed: int) -> Figure:
    """Draw how each step multiplies output per GPU, output per joule and what a dollar buys.

    Parameters
    ----------
    frame : DataFrame
        From `contributions_frame`.
    title : str
        Above the figure.
    seed : int
        Of the runs; written below.

    Returns
    -------
    Figure
        A panel for each figure with logarithmic bars, which begin where the bar before ends;
        losses reach back.
    """
    with figure_style():
        figure = Drawing(figsize=(9.0, 1.6 + 0.34 * len(frame)), layout="constrained")
        panels = figure.subplots(1, len(_GAINS), sharey=True)
        for panel, gain in zip(panels, _GAINS, strict=True):
            _waterfall(panel, gain, frame)
        figure.suptitle(title, x=0.01, ha="left")
        figure.supxlabel(
            f"simulated, seed {seed}; each bar: how many times better than the step above",
            x=0.01,
            ha="left",
            fontsize=8,
        )
    return figure


def _waterfall(panel: Axes, gain: _Gain, frame: pd.DataFrame) -> None:
    heights = list(range(len(frame)))[::-1]
    factors = frame[f"{gain.line.metric}.times"].fillna(1.0).tolist()
    at = 1.0
    for index, (height, factor) in enumerate(zip(heights, factors, strict=True)):
        is_total = index == len(frame) - 1
        start = 1.0 if is_total else at
        end = start * factor
        low, high = min(start, end), max(start, end)
        panel.barh(
            height,
            high - low,
            left=low,
            height=0.7,
            color=machine_color(str(frame["machine"].iloc[index])),
            hatch="///" if factor < 1.0 else "",
            edgecolor="white",
        )
        if index:
            panel.annotate(
                f"{factor:.3g}x",
                (high, height),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        at = end
    panel.set_xscale("log")
    panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{show_number(value)}x"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.margins(x=0.18)
    panel.axvline(1.0, color="black", linewidth=0.8)
    panel.set_yticks(heights, [str(step).replace("_", " ") for step in frame["step"]])
    panel.set_title(gain.words)
    panel.grid(visible=False, axis="y")
