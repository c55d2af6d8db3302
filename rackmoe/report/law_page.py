"""A validation of a law as a report: points, strata and, on a page, measured over predicted."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rackmoe.report.law_points import LawPoint
from rackmoe.report.log_axes import BAND_FRAC, draw_diagonal
from rackmoe.report.page import TIP_MARK, Section, html_page, markdown_page
from rackmoe.report.tables import text_table
from rackmoe.report.text import ReportFormat, TextTable
from rackmoe.report.theme import Drawing, figure_style

__all__ = ["draw_law", "law_sections", "render_law"]

# Figures of a table that are fractions, and those of them that have a sign.
_SHARES = {
    **dict.fromkeys(("error_median", "error_mean", "error_p90"), ""),
    **dict.fromkeys(("median_error_frac", "p90_error_frac"), ""),
    "bias": "+",
    "error": "+",
}
_COLUMNS, _MOST_PANELS = 3, 12
_TITLE_CHARACTERS = 44
# more points than this are drawn as a picture, without tooltips, so that the file stays small
_MOST_TIPS = 600
_MOST_WORST = 15
_COLOR = "#2171b5"


def render_law(sections: Sequence[Section], *, title: str, lead: str, form: ReportFormat) -> str:
    """Return a validation as Markdown or as a page.

    Parameters
    ----------
    sections : sequence of Section
        From `law_sections`.
    title, lead : str
        Heading, and a sentence below it.
    form : ReportFormat
        ``html``, or Markdown otherwise.

    Returns
    -------
    str
        The text, with a newline at its end.
    """
    render = html_page if form is ReportFormat.HTML else markdown_page
    return render(title, lead=lead, sections=sections)


def law_sections(
    strata: Sequence[Mapping[str, Any]],
    *,
    points: Sequence[LawPoint],
    extra: Sequence[TextTable] = (),
    has_figure: bool = False,
) -> list[Section]:
    """Return the parts of a report: strata, a figure, worst points, and what has no answer.

    Parameters
    ----------
    strata : sequence of mapping
        Scores as plain values.
    points : sequence of LawPoint
        All points.
    extra : sequence of TextTable, optional
        Further tables.
    has_figure : bool, optional
        Whether to draw the points.

    Returns
    -------
    list of Section
        Ready to be written.
    """
    sections = [Section(title="Strata", tables=(_table(pd.DataFrame(list(strata))),))]
    figure = draw_law(points) if has_figure else None
    if figure is not None:
        sections.append(Section(title="Measured and predicted", figures=(figure,)))
    worst = _worst_frame(points)
    if len(worst):
        sections.append(Section(title="Worst points", tables=(_table(worst),)))
    sections += [Section(title=table.title, tables=(table,)) for table in extra]
    return [*sections, _unanswered(points)]


def _table(frame: pd.DataFrame) -> TextTable:
    shares = {name: sign for name, sign in _SHARES.items() if name in frame}
    headers = {name: name.removesuffix("_frac").replace("_", " ") for name in shares}
    return text_table(frame, percents=shares, headers=headers)


def _worst_frame(points: Sequence[LawPoint]) -> pd.DataFrame:
    known = [one for one in points if one.error is not None and not one.is_left_out]
    known.sort(key=lambda one: -abs(one.error or 0.0))
    return pd.DataFrame(
        [
            {
                "point": one.name,
                "group": one.group,
                "measured": one.measured,
                "predicted": one.predicted,
                "unit": one.unit,
                "error": one.error,
            }
            for one in known[:_MOST_WORST]
        ]
    )


def _unanswered(points: Sequence[LawPoint]) -> Section:
    rows = [
        {"point": one.name, "group": one.group, "reason": one.reason}
        for one in points
        if one.predicted is None
    ]
    title = "Rows without an answer"
    if not rows:
        return Section(title=title, words=("Every row was answered.",))
    return Section(title=title, tables=(text_table(pd.DataFrame(rows)),))


def draw_law(points: Sequence[LawPoint]) -> Figure | None:
    """Draw what was predicted over what was measured, a panel for each group.

    Parameters
    ----------
    points : sequence of LawPoint
        All points; those that strata leave out are not drawn.

    Returns
    -------
    Figure or None
        Both axes logarithmic, the groups with the most points; None without points.
    """
    groups: dict[tuple[str, str], list[LawPoint]] = {}
    for one in points:
        if one.measured and one.predicted and not one.is_left_out:
            groups.setdefault((one.group, one.unit), []).append(one)
    chosen = sorted(groups.items(), key=lambda item: -len(item[1]))[:_MOST_PANELS]
    if not chosen:
        return None
    has_tips = sum(len(some) for _, some in chosen) <= _MOST_TIPS
    n_columns = min(_COLUMNS, len(chosen))
    n_rows = -(-len(chosen) // n_columns)
    with figure_style():
        size = (0.6 + 3.5 * n_columns, 0.6 + 3.6 * n_rows)
        figure = Drawing(figsize=size, layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
        for spare in axes[len(chosen) :]:
            spare.set_visible(False)
        for axis, ((group, unit), some) in zip(axes, chosen, strict=False):
            _panel(axis, some, has_tips=has_tips)
            median = np.median([abs(one.error or 0.0) for one in some])
            name = textwrap.fill(group, _TITLE_CHARACTERS)
            axis.set_title(f"{name}\n{len(some)} points, median error {median:.1%}", fontsize=8.5)
            axis.set_xlabel(f"measured [{unit}]")
            axis.set_ylabel(f"predicted [{unit}]")
        figure.suptitle(f"Shaded: within {BAND_FRAC:.0%} of the measured value", fontsize=9)
    return figure


def _panel(axis: Axes, points: Sequence[LawPoint], *, has_tips: bool) -> None:
    x = np.array([one.measured for one in points], dtype=np.float64)
    y = np.array([one.predicted for one in points], dtype=np.float64)
    draw_diagonal(axis, values=np.concatenate([x, y]))
    tips = [f"{TIP_MARK}{one.name}: {one.measured:.4g}, {one.predicted:.4g}" for one in points]
    axis.scatter(
        x,
        y,
        s=14,
        color=_COLOR,
        alpha=0.6,
        urls=tips if has_tips else None,
        rasterized=not has_tips,
    )
