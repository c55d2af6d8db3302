"""Which figures of several runs stand side by side, and how many times they differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from rackmoe.errors import ConfigError
from rackmoe.metrics.catalog import METRICS
from rackmoe.report.outcome import Outcome, outcome_of
from rackmoe.report.plain import json_text
from rackmoe.report.tables import render_frame, text_table
from rackmoe.report.text import TableFormat, TextTable
from rackmoe.simulation import Result

__all__ = [
    "HEADLINES",
    "MS_PER_S",
    "Headline",
    "breakdown_frame",
    "compare_table",
    "comparison_data",
    "comparison_frame",
    "comparison_tables",
    "full_comparison_frame",
    "labels_of",
    "render_comparison",
    "validity_lines",
]

_RATIO = "{base} / {other}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A figure as people read it.

    Attributes
    ----------
    metric : str
        Key of `METRICS`.
    label : str
        What people call it.
    unit : str
        Unit in which it is shown.
    scale : float
        How many of these units the unit of the metric is.
    """

    metric: str
    label: str
    unit: str
    scale: float = 1.0


MS_PER_S = 1e3
_KW_PER_W = 1e-3
# what is left when parts of a step are subtracted from each other
_NEGLIGIBLE_MS = 1e-6
_PERCENT = 1e2


def _headlines() -> tuple[Headline, ...]:
    rows = (
        ("output_tokens_per_s_per_gpu", "output per GPU", "tokens/s", 1.0),
        ("interactivity_p50_tokens_per_s", "output per user, median", "tokens/s", 1.0),
        ("ttft_p50_s", "TTFT p50", "ms", MS_PER_S),
        ("ttft_p99_s", "TTFT p99", "ms", MS_PER_S),
        ("tpot_p50_s", "TPOT p50", "ms", MS_PER_S),
        ("tpot_p99_s", "TPOT p99", "ms", MS_PER_S),
        ("e2e_p50_s", "end to end p50", "s", 1.0),
        ("it_power_w", "rack power (IT)", "kW", _KW_PER_W),
        ("output_tokens_per_j", "output per joule (IT)", "tokens/J", 1.0),
        ("output_tokens_per_s_per_mw", "output per MW (IT)", "tokens/s/MW", 1.0),
        ("usd_per_million_output_tokens", "cost of output", "USD/Mtoken", 1.0),
        ("completed_requests_per_s", "requests done", "1/s", 1.0),
        ("goodput_requests_per_s", "requests that meet the SLO", "1/s", 1.0),
        ("slo_met_frac", "share that meets the SLO", "%", _PERCENT),
        ("decode_batch_mean", "decode batch of a replica", "sequences", 1.0),
        ("imbalance_mean", "expert imbalance (max / mean)", "1", 1.0),
        ("gpu_busy_frac", "GPUs busy", "%", _PERCENT),
        ("n_preemptions", "preemptions", "1", 1.0),
        ("n_requests", "requests measured", "1", 1.0),
    )
    return tuple(Headline(metric=m, label=label, unit=unit, scale=s) for m, label, unit, s in rows)


HEADLINES = _headlines()
"""The rows of a comparison, in order; a row that no run has is left out."""


def comparison_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return the headline figures of several runs side by side, in units for people.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs; the first is the base.

    Returns
    -------
    DataFrame
        Columns ``metric`` (a label), ``unit``, one for each run, and one for each run
        but the first with the base over it.

    Raises
    ------
    ConfigError
        If there is no run, or two have one name.
    """
    columns = _columns([one.name for one in outcomes])
    rows: list[list[object]] = []
    for line in HEADLINES:
        values = [one.summary.get(line.metric) for one in outcomes]
        if all(value is None for value in values):
            continue
        scaled = [None if value is None else value * line.scale for value in values]
        rows.append([line.label, line.unit, *_with_ratios(scaled)])
    return pd.DataFrame(rows, columns=columns, dtype=object)


def full_comparison_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return every figure of several runs side by side, in the units of `METRICS`.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs; the first is the base.

    Returns
    -------
    DataFrame
        Columns ``metric`` (a key of `METRICS`), ``unit``, one for each run, and one for
        each run but the first with the base over it.

    Raises
    ------
    ConfigError
        If there is no run, or two have one name.
    """
    columns = _columns([one.name for one in outcomes])
    rows = []
    for metric in dict.fromkeys(name for one in outcomes for name in one.summary):
        unit = METRICS[metric].unit if metric in METRICS else ""
        values = [one.summary.get(metric) for one in outcomes]
        rows.append([metric, unit, *_with_ratios(values)])
    return pd.DataFrame(rows, columns=columns, dtype=object)


def comparison_data(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return several runs as plain data.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs; the first is the base.

    Returns
    -------
    dict of str to object
        ``base`` (a name), ``results`` by name (title, machine, GPUs, seed, figures,
        warnings, provenance), and ``ratios`` of the base over each other run by name.

    Raises
    ------
    ConfigError
        If there is no run, or two have one name.
    """
    _columns([one.name for one in outcomes])
    base = outcomes[0]
    return {
        "schema": "rackmoe/comparison/1",
        "base": base.name,
        "results": {one.name: _data(one) for one in outcomes},
        "ratios": {
            other.name: {
                metric: _ratio(value, other.summary.get(metric))
                for metric, value in base.summary.items()
            }
            for other in outcomes[1:]
        },
    }


def render_comparison(
    outcomes: Sequence[Outcome], *, form: TableFormat = TableFormat.TABLE
) -> str:
    """Return several runs as text: one result, or a side-by-side table.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs; the first is the base.
    form : TableFormat, optional
        ``table`` and ``md`` hold the headline figures in units for people, ``csv`` all
        figures in the units of `METRICS`, ``json`` also the warnings and provenance.

    Returns
    -------
    str
        The text, with a newline at the end.
    """
    if form is TableFormat.JSON:
        return json_text(comparison_data(outcomes), is_sorted=False)
    if form is TableFormat.CSV:
        return render_frame(full_comparison_frame(outcomes), form=form)
    gap = "\n"
    tables = [
        table.markdown() if form is TableFormat.MD else table.aligned()
        for table in comparison_tables(outcomes)
    ]
    return gap.join([*tables, *validity_lines(outcomes)])


def validity_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """Return how far the figures of each run can be trusted.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs.

    Returns
    -------
    list of str
        A line for each run that says it, with a newline at its end.
    """
    return [
        f"Validity of {one.name}: {one.provenance['validity']}.\n"
        for one in outcomes
        if "validity" in one.provenance
    ]


def comparison_tables(outcomes: Sequence[Outcome]) -> tuple[TextTable, TextTable]:
    """Return what people read: the headline figures, and where the time of a step goes.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs; the first is the base.

    Returns
    -------
    tuple of two TextTable
        Both with a column for each run.
    """
    figures, parts = comparison_frame(outcomes), breakdown_frame(outcomes)
    labels = labels_of(outcomes)
    headers = dict(zip(figures.columns, _columns(labels), strict=True))
    parts_headers = {str(name): str(name) for name in parts.columns}
    parts_headers |= {one.name: label for one, label in zip(outcomes, labels, strict=True)}
    return (
        text_table(figures, title=_title(outcomes, labels), headers=headers),
        text_table(parts, title="Where the time of a step goes", headers=parts_headers),
    )


def labels_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what people read above a run: its machine if no other has it, else its name.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs.

    Returns
    -------
    list of str
        One for each run, all different.
    """
    machines = [one.machine for one in outcomes]
    labels = [
        one.machine if len(outcomes) > 1 and machines.count(one.machine) == 1 else one.name
        for one in outcomes
    ]
    return labels if len(set(labels)) == len(labels) else [one.name for one in outcomes]


def breakdown_frame(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """Return the mean time of each part of a step, for each pool and run.

    Parameters
    ----------
    outcomes : sequence of Outcome
        The runs.

    Returns
    -------
    DataFrame
        Columns ``pool``, ``part``, ``unit`` and one for each run; parts that take no
        time in any run are left out.

    Raises
    ------
    ConfigError
        If there is no run, or two have one name.
    """
    _columns([one.name for one in outcomes])
    series = [
        one.breakdown.set_index(["pool", "part"])["time_per_step_s"] * MS_PER_S for one in outcomes
    ]
    order = list(dict.fromkeys(key for one in series for key in one.index))
    rows: list[list[object]] = []
    for pool in dict.fromkeys(pool for pool, _ in order):
        parts = [part for name, part in order if name == pool]
        times_ms = {part: [one.get((pool, part)) for one in series] for part in parts}
        times_ms["all"] = [float(one[pool].sum()) if pool in one else None for one in series]
        rows += [
            [pool, part.replace("_", " "), "ms", *times]
            for part, times in times_ms.items()
            if any(abs(time or 0.0) > _NEGLIGIBLE_MS for time in times)
        ]
    names = [one.name for one in outcomes]
    return pd.DataFrame(rows, columns=["pool", "part", "unit", *names], dtype=object)


def compare_table(*results: Result) -> pd.DataFrame:
    """Return the headline figures of results side by side.

    Parameters
    ----------
    *results : Result
        From `simulate`; the first is the base of the ratios.

    Returns
    -------
    DataFrame
        As `comparison_frame`, indexed by metric and unit.

    Raises
    ------
    ConfigError
        If there is no result, or two have one name.
    """
    frame = comparison_frame([outcome_of(result) for result in results])
    return frame.set_index(["metric", "unit"])


def _title(outcomes: Sequence[Outcome], labels: Sequence[str]) -> str:
    lines = [
        f"{label}: {one.machine_title}, {one.n_gpus} GPUs, seed {one.seed}"
        for one, label in zip(outcomes, labels, strict=True)
    ]
    return "\n".join([outcomes[0].title, *lines])


def _columns(names: Sequence[str]) -> list[str]:
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"comparison: {', '.join(names) or 'no results'}; expected results with names of"
            " their own; rename a scenario"
        )
    ratios = [_RATIO.format(base=names[0], other=name) for name in names[1:]]
    return ["metric", "unit", *names, *ratios]


def _with_ratios(values: Sequence[float | None]) -> list[float | None]:
    return [*values, *(_ratio(values[0], value) for value in values[1:])]


def _ratio(base: float | None, other: float | None) -> float | None:
    """Return the base over another value, or nothing where that says nothing."""
    if base is None or other is None or not other:
        return None
    ratio = base / other
    return ratio if math.isfinite(ratio) else None


def _data(one: Outcome) -> Mapping[str, object]:
    return {
        "title": one.title,
        "machine": one.machine,
        "n_gpus": one.n_gpus,
        "seed": one.seed,
        "metrics": one.summary,
        "warnings": one.warnings,
        "provenance": one.provenance,
    }
