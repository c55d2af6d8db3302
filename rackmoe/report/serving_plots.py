"""Measured and predicted serving points side by side, as scatter plots and along their curves."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rackmoe.report.log_axes import BAND_FRAC, draw_diagonal
from rackmoe.report.numbers import show_number, show_percent
from rackmoe.report.page import TIP_MARK
from rackmoe.report.theme import Drawing, figure_style, machine_color
from rackmoe.study.validation.serving import ServingPoint, ServingValidation
from rackmoe.study.validation.serving_score import STRATA, ServingStratum

__all__ = ["AXES", "OTHERS", "draw_frontiers", "draw_scatter", "point_groups"]

AXES: Mapping[str, str] = MappingProxyType(
    {
        "tpot": "time per output token [ms]",
        "throughput": "tokens/s per GPU",
        "ttft": "time to first token [ms]",
    }
)
"""What each scored figure is called, with its unit."""

OTHERS = "other rows"
"""Points that are in none of the headline strata."""

_MS_PER_S = 1e3
_COLUMNS = 3
_WIDTH_INCH = 11.0
_FEWEST_ON_A_CURVE = 2
# where rows without a prediction lie, over the lower end of the axis
_ABOVE_FLOOR = 1.06
_STYLES = ({"marker": "o", "ls": "-"}, {"marker": "s", "ls": "--"})
_DARK, _PALE = "#333333", "#9a9a9a"


def point_groups(found: ServingValidation) -> dict[str, tuple[ServingPoint, ...]]:
    """Return the points of each headline stratum, and the others.

    Parameters
    ----------
    found : ServingValidation
        A validation.

    Returns
    -------
    dict of str to tuple of ServingPoint
        Only groups that have points.
    """
    groups = {
        name: tuple(one for one in found.points if name in one.strata)
        for name in (*STRATA, OTHERS)
    }
    groups[OTHERS] = tuple(one for one in found.points if not STRATA.keys() & set(one.strata))
    return {name: points for name, points in groups.items() if points}


def draw_scatter(found: ServingValidation, *, metric: str) -> Figure | None:
    """Draw what was predicted over what was measured, a panel for each stratum.

    Parameters
    ----------
    found : ServingValidation
        A validation.
    metric : str
        ``tpot``, ``throughput`` or ``ttft``.

    Returns
    -------
    Figure or None
        Both axes logarithmic; None where no point has both values.
    """
    scores = {one.name: one for one in found.strata}
    panels = {
        name: [one for one in points if _is_drawn(one, metric)]
        for name, points in point_groups(found).items()
    }
    panels = {name: points for name, points in panels.items() if points}
    if not panels:
        return None
    with figure_style():
        figure, axes = _grid(len(panels), height_inch=3.5)
        for axis, (name, points) in zip(axes, panels.items(), strict=True):
            _scatter(axis, points, metric=metric)
            _set_title(axis, name, _words(scores.get(name), metric, len(points)))
        figure.supxlabel(f"measured {AXES[metric]}", fontsize=10)
        figure.supylabel(f"predicted {AXES[metric]}", fontsize=10)
        drawn = [one for points in panels.values() for one in points]
        _legend(figure, drawn, _marks(drawn))
    return figure


def draw_frontiers(points: Sequence[ServingPoint]) -> Figure | None:
    """Draw throughput over speed along each curve, measured and predicted.

    Lines follow the points that no other one of the curve beats in both; a thin line joins
    what was measured with what is predicted.

    Parameters
    ----------
    points : sequence of ServingPoint
        Points of some curves; those with a single point are left out.

    Returns
    -------
    Figure or None
        A panel for each curve; None where there is none.
    """
    curves: dict[str, list[ServingPoint]] = {}
    for one in points:
        if one.pair("tpot")[0] and one.pair("throughput")[0]:
            curves.setdefault(one.curve, []).append(one)
    curves = {name: some for name, some in curves.items() if len(some) >= _FEWEST_ON_A_CURVE}
    if not curves:
        return None
    with figure_style():
        figure, axes = _grid(len(curves), height_inch=2.7)
        for axis, (name, some) in zip(axes, curves.items(), strict=True):
            _frontier(axis, some)
            _set_title(axis, *_curve_words(name))
        figure.supxlabel("tokens/s of one user", fontsize=10)
        figure.supylabel("tokens/s per GPU", fontsize=10)
        kinds = [
            Line2D([], [], color=_DARK, marker="o", label="measured"),
            Line2D([], [], color=_DARK, marker="s", ls="--", mfc="white", label="predicted"),
        ]
        _legend(figure, [one for some in curves.values() for one in some], kinds)
    return figure


def _grid(n_panels: int, *, height_inch: float) -> tuple[Figure, list[Axes]]:
    n_columns = min(_COLUMNS, n_panels)
    n_rows = -(-n_panels // n_columns)
    width_inch = _WIDTH_INCH * n_columns / _COLUMNS + 0.4
    figure = Drawing(figsize=(width_inch, 0.8 + height_inch * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
    for spare in axes[n_panels:]:
        spare.set_visible(False)
    return figure, axes[:n_panels]


def _is_drawn(point: ServingPoint, metric: str) -> bool:
    """Return whether a point is scored on a figure, or shown though it is not."""
    measured, _ = point.pair(metric)
    is_shown = not point.errors and metric != "ttft"
    return bool(measured) and (metric in point.errors or is_shown)


def _scatter(axis: Axes, points: Sequence[ServingPoint], *, metric: str) -> None:
    pairs = [one.pair(metric) for one in points]
    values = np.array([value for pair in pairs for value in pair if value])
    low, _ = draw_diagonal(axis, values=values)
    groups: dict[tuple[str, str, str], list[tuple[float, float, str]]] = {}
    for one, (measured, predicted) in zip(points, pairs, strict=True):
        color, tip = machine_color(one.hardware), TIP_MARK + _tip(one, metric)
        if predicted is None:
            look, y = (color, color, "x"), low * _ABOVE_FLOOR
        else:
            look, y = (color, color if metric in one.errors else "none", "o"), predicted
        groups.setdefault(look, []).append((measured or 0.0, y, tip))
    for (color, face, marker), drawn in groups.items():
        right, up, tips = (list(column) for column in zip(*drawn, strict=True))
        faces: dict[str, Any] = (
            {"facecolor": face, "edgecolor": color} if marker == "o" else {"color": color}
        )
        axis.scatter(right, up, marker=marker, s=20, alpha=0.75, urls=tips, **faces)


def _frontier(axis: Axes, points: Sequence[ServingPoint]) -> None:
    """Draw points, a line along those that no other beats, and what belongs together."""
    color = machine_color(points[0].hardware)
    pairs = [(_place(one, 0), _place(one, 1)) for one in points]
    for measured, predicted in pairs:
        if measured and predicted:
            axis.plot(*zip(measured, predicted, strict=True), color=_PALE, lw=0.5, zorder=1)
    for side, style in enumerate(_STYLES):
        known = {one.id: pair[side] for one, pair in zip(points, pairs, strict=True)}
        places = {name: place for name, place in known.items() if place}
        if not places:
            continue
        x, y = zip(*_pareto(list(places.values())), strict=True)
        axis.plot(x, y, color=color, ls=style["ls"], lw=1.3)
        x, y = zip(*places.values(), strict=True)
        face = color if side == 0 else "white"
        tips = [f"{TIP_MARK}{_tip(one, 'throughput')}" for one in points if one.id in places]
        looks: dict[str, Any] = {
            "marker": style["marker"],
            "facecolor": face,
            "edgecolor": color,
            "s": 18,
        }
        axis.scatter(x, y, urls=tips, zorder=3, **looks)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show_number(float(value))))


def _place(point: ServingPoint, side: int) -> tuple[float, float] | None:
    """Return speed of a user and throughput, as measured (0) or predicted (1)."""
    tpot_ms, rate = point.pair("tpot")[side], point.pair("throughput")[side]
    return (_MS_PER_S / tpot_ms, rate) if tpot_ms and rate else None


def _pareto(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the places that are first in speed or in throughput, from slow to fast."""
    best: list[tuple[float, float]] = []
    for place in sorted(places, reverse=True):
        if not best or place[1] > best[-1][1]:
            best.append(place)
    return best[::-1]


def _set_title(axis: Axes, first: str, second: str) -> None:
    axis.set_title(first, fontsize=9, pad=16)
    axis.text(0, 1.02, second, transform=axis.transAxes, fontsize=8, color="#555555", va="bottom")


def _words(stratum: ServingStratum | None, metric: str, n_points: int) -> str:
    """Return how far the points of a panel are off."""
    if stratum is None:
        return f"{n_points} points"
    score = getattr(stratum, metric)
    if score.median is None:
        return f"{n_points} points, not scored"
    return (
        f"{score.n} points; error: median {show_percent(score.median)}, "
        f"mean {show_percent(score.mean)}"
    )


def _curve_words(curve: str) -> tuple[str, str]:
    """Return a curve's name on two lines, where it is written like a path."""
    parts = [f"MTP {part}" if part in {"on", "off"} else part for part in curve.split("/")]
    half = min(3, len(parts) // 2)
    return " ".join(parts[:half]) or curve, " ".join(parts[half:]) if half else ""


def _tip(point: ServingPoint, metric: str) -> str:
    measured, predicted = point.pair(metric)
    return f"{point.id}: measured {show_number(measured)}, predicted {show_number(predicted)}"


def _marks(points: Sequence[ServingPoint]) -> list[Line2D]:
    marks = []
    if any(not one.answered for one in points):
        marks.append(Line2D([], [], color=_DARK, marker="x", ls="", label="no answer"))
    if any(not one.errors for one in points):
        marks.append(
            Line2D([], [], color=_DARK, marker="o", mfc="none", ls="", label="not scored")
        )
    band = f"shaded: within {BAND_FRAC:.0%}"
    marks.append(Line2D([], [], color="#c9d6e2", lw=6, label=band))
    return marks


def _legend(figure: Figure, points: Sequence[ServingPoint], others: Sequence[Line2D]) -> None:
    machines = dict.fromkeys(one.hardware for one in points)
    handles = [
        Line2D([], [], color=machine_color(name), marker="o", ls="", label=name)
        for name in machines
    ]
    handles += others
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 7))
