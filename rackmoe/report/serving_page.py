"""A validation on serving points as a report: for a terminal, for a README and as a page."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from rackmoe.report.numbers import show_percent
from rackmoe.report.page import Section, html_page, markdown_page
from rackmoe.report.serving import (
    baseline_frame,
    curve_frame,
    strata_frame,
    unanswered_frame,
    worst_frame,
)
from rackmoe.report.serving_plots import AXES, draw_frontiers, draw_scatter, point_groups
from rackmoe.report.tables import text_table
from rackmoe.report.text import ReportFormat, TextTable
from rackmoe.study.validation.serving import ServingValidation
from rackmoe.study.validation.serving_score import METRICS, STRATA, Score, ServingStratum

__all__ = ["accuracy_table", "render_serving", "serving_sections"]

_LABELS: Mapping[str, str] = MappingProxyType(
    {"tpot": "TPOT", "throughput": "throughput", "ttft": "TTFT"}
)
_BASELINES: Mapping[str, str] = MappingProxyType(
    {
        "roofline": "a roofline with one efficiency for the file",
        "nearest": "the nearest point of another curve, scaled by peak bandwidth",
    }
)
_HOW_SCORED = (
    "Absolute relative errors of points of trust A and B; every curve weighs the same, and a row "
    "without an answer counts as 100 %. Rows read off charts (trust C) are shown, not scored."
)


def render_serving(found: ServingValidation, *, form: ReportFormat) -> str:
    """Return a validation as Markdown or as a page.

    Parameters
    ----------
    found : ServingValidation
        A validation.
    form : ReportFormat
        ``html`` is one file with figures; anything else is Markdown, whose first table is
        the one of a README.

    Returns
    -------
    str
        The text, with a newline at its end.
    """
    title = f"Serving accuracy: {found.file}"
    n_answered = len(found.points) - len(found.unanswered)
    lead = f"{n_answered} of {len(found.points)} rows answered. {_HOW_SCORED}"
    if form is ReportFormat.HTML:
        return html_page(title, lead=lead, sections=serving_sections(found, has_figures=True))
    return markdown_page(title, lead=lead, sections=serving_sections(found))


def serving_sections(found: ServingValidation, *, has_figures: bool = False) -> list[Section]:
    """Return the parts of the report.

    Parameters
    ----------
    found : ServingValidation
        A validation.
    has_figures : bool, optional
        Whether to draw scatter plots and frontiers.

    Returns
    -------
    list of Section
        Headline strata first, then figures, strata, baselines, curves, worst and unanswered
        rows.
    """
    plain = found.strata
    sections = [Section(title="Headline strata", tables=(accuracy_table(found),))]
    if has_figures:
        sections += _figures(found)
    sections += [
        Section(title="All strata", tables=(_table(strata_frame(plain)),), is_folded=has_figures),
        Section(
            title="Beside two baselines",
            words=(
                "Median errors. " + "; ".join(f"{k}: {v}" for k, v in _BASELINES.items()) + ".",
            ),
            tables=(_table(baseline_frame(found)),),
        ),
        Section(title="Mean errors by curve", tables=(_table(curve_frame(found)),)),
        *_worst(found),
    ]
    unanswered = unanswered_frame(found)
    words = () if len(unanswered) else ("Every row was answered.",)
    tables = (_table(unanswered),) if len(unanswered) else ()
    return [*sections, Section(title="Rows without an answer", words=words, tables=tables)]


def accuracy_table(found: ServingValidation) -> TextTable:
    """Return the headline strata, with median and mean errors and the baselines' medians.

    Parameters
    ----------
    found : ServingValidation
        A validation.

    Returns
    -------
    TextTable
        One line for each headline stratum that the file has, and one for all rows.
    """
    others = {name: {one.name: one for one in strata} for name, strata in found.baselines.items()}
    lines = []
    for one in sorted(found.strata, key=lambda one: one.name == "all"):
        if one.name in STRATA or one.name == "all":
            simple = [_medians(others[name].get(one.name)) for name in others]
            points = f"{one.n_answered} of {one.n_points} in {one.n_curves}"
            lines.append((one.name, points, *(_both(getattr(one, m)) for m in METRICS), *simple))
    head = (
        "stratum",
        "answered points in curves",
        *(f"{_LABELS[metric]} median / mean" for metric in METRICS),
        *(f"{name}: medians of the three" for name in others),
    )
    return TextTable(
        title="", head=head, rows=tuple(lines), is_numeric=(False, *(True,) * (len(head) - 1))
    )


def _both(score: Score) -> str:
    if score.median is None:
        return "-"
    return f"{show_percent(score.median)} / {show_percent(score.mean)}"


def _medians(stratum: ServingStratum | None) -> str:
    if stratum is None:
        return "-"
    return " / ".join(show_percent(getattr(stratum, metric).median) for metric in METRICS)


def _table(frame: pd.DataFrame) -> TextTable:
    """Return a table whose errors are in percent."""
    shares = {name: "+" if _is_signed(name) else "" for name in _errors(frame.columns)}
    headers = {
        name: " ".join(_LABELS.get(word, word) for word in name.split("_")) for name in shares
    }
    return text_table(frame, percents=shares, headers=headers)


def _errors(columns: Iterable[object]) -> list[str]:
    return [str(name) for name in columns if str(name).split("_")[0] in METRICS]


def _is_signed(name: str) -> bool:
    return name.endswith(("_bias", "_error"))


def _figures(found: ServingValidation) -> list[Section]:
    sections = []
    for metric, name in AXES.items():
        if figure := draw_scatter(found, metric=metric):
            title = f"Measured and predicted {name.split(' [')[0]}"
            sections.append(Section(title=title, figures=(figure,)))
    drawn = {name: draw_frontiers(points) for name, points in point_groups(found).items()}
    frontiers = [
        Section(title=f"Curves: {name}", figures=(figure,), is_folded=True)
        for name, figure in drawn.items()
        if figure
    ]
    if frontiers:
        words = (
            "Throughput per GPU over the speed of one user, along each curve of at least two "
            "points; a tooltip names a point. Open a stratum to see its curves."
        )
        sections += [Section(title="Frontiers", words=(words,)), *frontiers]
    return sections


def _worst(found: ServingValidation) -> Sequence[Section]:
    tables = []
    for metric, name in AXES.items():
        frame = worst_frame(found, metric=metric)
        if len(frame):
            table = _table(frame)
            tables.append(
                TextTable(
                    title=f"Farthest off in {name}",
                    head=table.head,
                    rows=table.rows,
                    is_numeric=table.is_numeric,
                )
            )
    return [Section(title="Worst points", tables=tuple(tables))] if tables else []
