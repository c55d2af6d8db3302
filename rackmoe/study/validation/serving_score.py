"""Errors of serving points, summed up so that each curve weighs the same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rackmoe.study.validation.serving_rows import ServingRow

__all__ = [
    "METRICS",
    "STRATA",
    "THROUGHPUTS",
    "Score",
    "ServingStratum",
    "measured_throughput",
    "row_errors",
    "score_strata",
    "stratum_names",
    "weighted_median",
]

METRICS: Final = ("tpot", "throughput", "ttft")

THROUGHPUTS: Final = (
    "output_tokens_per_s_per_decode_gpu",
    "input_tokens_per_s_per_prefill_gpu",
    "total_tokens_per_s_per_gpu",
    "output_tokens_per_s_per_gpu",
)
"""The first of these that a row has is its throughput: its own denominator comes first."""

# A row without an answer counts as this error; it is as wrong as predicting nothing.
_FAILURE: Final = 1.0
# Rows read off a chart are shown and never scored.
_SCORED_TRUST: Final = ("A", "B")

STRATA: Final = {
    "GB200 NVL72 DeepSeek-R1 disaggregated": ("gb200_nvl72", "deepseek-r1", "disagg"),
    "HGX H200 DeepSeek-R1": ("hgx_h200", "deepseek-r1", "agg disagg"),
    "HGX B200 and GB300 DeepSeek-R1": ("hgx_b200 gb300_nvl72", "deepseek-r1", "agg disagg"),
    "Kimi K2": ("gb200_nvl72 hgx_h200 hgx_b200", "kimi-k2", "agg disagg"),
    "gpt-oss-120b": ("hgx_h200 gb200_nvl72", "gpt-oss-120b", "agg disagg"),
    "saturated phases": ("", "", "prefill_only decode_only"),
}
"""The headline strata: hardware, models and modes, separated by blanks; empty takes all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The absolute relative errors of one figure.

    Attributes
    ----------
    n, n_failed : int
        Scored rows, and those of them without an answer.
    median, mean : float or None
        Each curve weighs the same, a failure counts as 100 %; None without rows.
    bias : float or None
        Median of the signed errors of answered rows, likewise weighted.
    """

    n: int
    n_failed: int
    median: float | None
    mean: float | None
    bias: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingStratum:
    """The scores of a group of rows.

    Attributes
    ----------
    name : str
        What the rows share.
    n_points, n_curves, n_answered : int
        Scored rows, their curves, and rows with an answer.
    tpot, throughput, ttft : Score
        By figure.
    """

    name: str
    n_points: int
    n_curves: int
    n_answered: int
    tpot: Score
    throughput: Score
    ttft: Score


def measured_throughput(row: ServingRow) -> str | None:
    """Return the column of a row's throughput; None if it has none.

    Parameters
    ----------
    row : ServingRow
        The row.

    Returns
    -------
    str or None
        One of the four throughput columns of the file.
    """
    return next((name for name in THROUGHPUTS if row.number(name)), None)


def row_errors(row: ServingRow, *, figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the signed relative errors of the figures that a row is scored on.

    Parameters
    ----------
    row : ServingRow
        The row.
    figures : mapping of str to float or None
        What was predicted; empty if nothing was.

    Returns
    -------
    dict of str to float or None
        By `METRICS`, only those that are scored; None where there is no prediction.
    """
    if row.text("trust") not in _SCORED_TRUST:
        return {}
    columns: dict[str, str] = {}
    if row.number("tpot_ms") and row.text("tpot_stat") != "implied":
        columns["tpot"] = "tpot_ms"
    throughput = measured_throughput(row)
    if throughput is not None:
        columns["throughput"] = throughput
    if row.number("ttft_ms") and row.text("score_ttft") == "yes":
        columns["ttft"] = "ttft_ms"
    errors: dict[str, float | None] = {}
    for metric, column in columns.items():
        predicted, measured = figures.get(column), row.number(column)
        errors[metric] = predicted / measured - 1 if predicted and measured else None
    return errors


def stratum_names(row: ServingRow) -> tuple[str, ...]:
    """Return the strata of a row: all, the headline ones, and its own.

    Parameters
    ----------
    row : ServingRow
        The row.

    Returns
    -------
    tuple of str
        From wide to narrow.
    """
    names = ["all"]
    cells = (row.text("hardware"), row.text("model"), row.text("mode"))
    for name, wanted in STRATA.items():
        if all(not w or cell in w.split() for w, cell in zip(wanted, cells, strict=True)):
            names.append(name)
    names.append(" ".join((*cells, row.text("engine"))))
    return tuple(names)


def score_strata(
    rows: Sequence[ServingRow], *, errors: Mapping[str, Mapping[str, float | None]]
) -> tuple[ServingStratum, ...]:
    """Return the scores of every stratum.

    Parameters
    ----------
    rows : sequence of ServingRow
        The rows.
    errors : mapping of str to mapping
        Errors of each row by id, as of `row_errors`.

    Returns
    -------
    tuple of ServingStratum
        All rows, then the headline strata, then the others by name.
    """
    groups: dict[str, list[ServingRow]] = {}
    for row in rows:
        if errors[row.id]:
            for name in stratum_names(row):
                groups.setdefault(name, []).append(row)
    first = ("all", *STRATA)
    order = sorted(
        groups, key=lambda name: (first.index(name) if name in first else len(first), name)
    )
    return tuple(_stratum(name, groups[name], errors) for name in order)


def _stratum(
    name: str, rows: Sequence[ServingRow], errors: Mapping[str, Mapping[str, float | None]]
) -> ServingStratum:
    scores = {
        metric: _score(
            (row.curve, errors[row.id][metric]) for row in rows if metric in errors[row.id]
        )
        for metric in METRICS
    }
    return ServingStratum(
        name=name,
        n_points=len(rows),
        n_curves=len({row.curve for row in rows}),
        n_answered=sum(any(e is not None for e in errors[row.id].values()) for row in rows),
        **scores,
    )


def _score(pairs: Iterable[tuple[str, float | None]]) -> Score:
    """Return the score of pairs of curve and signed error."""
    known = list(pairs)
    if not known:
        return Score(n=0, n_failed=0, median=None, mean=None, bias=None)
    curves = [curve for curve, _ in known]
    weights = np.array([1.0 / curves.count(curve) for curve in curves])
    sizes = np.array([_FAILURE if error is None else abs(error) for _, error in known])
    answered = [
        (error, weight)
        for (_, error), weight in zip(known, weights, strict=True)
        if error is not None
    ]
    bias = None
    if answered:
        signed, shares = (np.array(column) for column in zip(*answered, strict=True))
        bias = weighted_median(signed, weights=shares)
    return Score(
        n=len(known),
        n_failed=len(known) - len(answered),
        median=weighted_median(sizes, weights=weights),
        mean=float(np.average(sizes, weights=weights)),
        bias=bias,
    )


def weighted_median(values: np.ndarray, *, weights: np.ndarray) -> float:
    """Return the value up to which half of the weight lies.

    Parameters
    ----------
    values, weights : ndarray of shape (n,)
        Values, in any unit, and positive weights.

    Returns
    -------
    float
        One of the values, or the mean of two where the halves meet between them.
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    half = below[-1] / 2
    at = int(np.searchsorted(below, half))
    if np.isclose(below[at], half) and at + 1 < len(values):
        return float((values[order][at] + values[order][at + 1]) / 2)
    return float(values[order][at])
