"""What a routing trace or a request trace holds, in a few figures."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.bounds import placed_imbalance
from rackmoe.routing.eplb import eplb
from rackmoe.routing.importers.importing import import_trace
from rackmoe.routing.placement import Placement, contiguous
from rackmoe.routing.statistics import LAGS, TraceStatistics, measure_trace
from rackmoe.routing.traces import CountTrace, TokenTrace
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.workload import RequestTable
from rackmoe.study.trace_fit import TraceFit

__all__ = [
    "count_trace_summary",
    "fit_summary",
    "request_trace_summary",
    "token_trace_summary",
    "trace_summary",
]

_HEADER = "header.json"
_TOP_SHARE = 0.1
_EP_SIZES = (2, 4, 8, 16, 32, 64)
_DIGITS = 4


def trace_summary(path: Path) -> dict[str, Any]:
    """Return what a trace holds.

    Parameters
    ----------
    path : pathlib.Path
        A routing trace (``.npz`` or a folder) or a request trace.

    Returns
    -------
    dict
        As `token_trace_summary`, `count_trace_summary` or `request_trace_summary`.

    Raises
    ------
    TraceError
        If the trace is damaged.
    """
    if path.suffix == ".npz" or (path / _HEADER).is_file():
        trace = import_trace(path, format="rackmoe")
        if isinstance(trace, CountTrace):
            return count_trace_summary(trace)
        return token_trace_summary(trace)
    return request_trace_summary(load_request_trace(path))


def token_trace_summary(
    trace: TokenTrace, *, statistics: TraceStatistics | None = None
) -> dict[str, Any]:
    """Return size, origin, skew, memory and affinity of a routing trace.

    Parameters
    ----------
    trace : TokenTrace
        The trace.
    statistics : TraceStatistics, optional
        What `measure_trace` found; measured if not given.

    Returns
    -------
    dict
        ``imbalance_of_experts_mean`` is the load of the busiest expert over the mean, a
        mean over the layers; ``top_tenth_frac_mean`` the share of the assignments that
        go to the busiest tenth of the experts; ``imbalance_of_ranks`` that of the ranks
        of a group over the whole trace, with experts in order and balanced by EPLB;
        ``overlap_frac`` the part of a token's experts that the one so many tokens before
        had too; ``pair_frac`` the part of the pairs of adjacent layers in the busiest fifth.
    """
    header, found = trace.header, statistics or measure_trace(trace)
    return {
        "format": "routing",
        "model": header.model,
        "phase": header.phase,
        "n_tokens": trace.n_tokens,
        "n_requests": len(trace.req_offsets) - 1,
        "n_prompt_rows": int(trace.n_prompt_rows.sum()),
        "n_layers": trace.n_layers,
        "n_experts": header.n_experts,
        "top_k": header.top_k,
        **_skew(found.counts),
        "overlap_frac": {
            **{
                f"lag_{lag}": _rounded(float(row.mean()))
                for lag, row in zip(LAGS, found.overlap, strict=True)
            },
            "unrelated": _rounded(float(found.random_overlap.mean())),
        },
        "pair_frac": {
            "measured": _rounded(_mean(found.pair_frac)),
            "independent": _rounded(_mean(found.independent_pair_frac)),
        },
        "source": header.source,
        "licence": header.licence,
        "note": header.note,
    }


def count_trace_summary(trace: CountTrace) -> dict[str, Any]:
    """Return size, origin and skew of counts.

    Parameters
    ----------
    trace : CountTrace
        The counts.

    Returns
    -------
    dict
        As `token_trace_summary`, less what only tokens tell.
    """
    header = trace.header
    return {
        "format": "routing counts",
        "model": header.model,
        "phase": header.phase,
        "n_steps": len(trace.step_tokens),
        "n_tokens": int(trace.step_tokens.sum()),
        "n_layers": trace.counts.shape[1],
        "n_experts": header.n_experts,
        "top_k": header.top_k,
        **_skew(trace.counts.sum(axis=0, dtype=np.int64)),
        "source": header.source,
        "licence": header.licence,
        "note": header.note,
    }


def fit_summary(fit: TraceFit) -> dict[str, Any]:
    """Return the parameters of a fit, and what it misses.

    Parameters
    ----------
    fit : TraceFit
        From `fit_trace`.

    Returns
    -------
    dict
        ``parameters``; measured and regenerated overlap and pairs; ``errors``: largest
        difference of overlap, of pairs, and the assignments at wrong experts.
    """
    one = fit.statistics
    overlaps = [part.overlap.mean(axis=1) for part in (fit.measured, fit.regenerated)]
    return {
        "parameters": {
            "sigma_mean": one.sigma_mean,
            "sigma_sd": one.sigma_sd,
            "request_sd": one.request_sd,
            "token_sd": one.token_sd,
            "memory_tokens": one.memory_tokens,
            "reuse": one.reuse,
            "affinity_strength": fit.strength,
        },
        "overlap_frac": {
            f"lag_{lag}": {"measured": _rounded(float(is_)), "regenerated": _rounded(float(got))}
            for lag, is_, got in zip(LAGS, *overlaps, strict=True)
        },
        "pair_frac": {
            "measured": _rounded(_mean(fit.measured.pair_frac)),
            "regenerated": _rounded(_mean(fit.regenerated.pair_frac)),
            "independent": _rounded(_mean(fit.measured.independent_pair_frac)),
        },
        "errors": {
            "overlap": fit.overlap_error,
            "pair_frac": fit.pair_error_frac,
            "popularity_frac": fit.popularity_error_frac,
        },
        "regenerated_tokens": fit.trace.n_tokens,
    }


def request_trace_summary(table: RequestTable) -> dict[str, Any]:
    """Return size, rate and lengths of a request trace.

    Parameters
    ----------
    table : RequestTable
        The requests.

    Returns
    -------
    dict
        ``gap_cv`` is the coefficient of variation of the gaps between arrivals: 1 for
        a Poisson process, more for bursts.
    """
    arrival_s = table.arrival_s
    gaps_s = np.diff(arrival_s)
    duration_s = float(arrival_s[-1] - arrival_s[0])
    has_gaps = bool(gaps_s.size) and duration_s > 0
    return {
        "format": "requests",
        "n_requests": len(table),
        "n_failed_requests": table.n_skipped,
        "duration_s": duration_s,
        "rate_requests_per_s": gaps_s.size / duration_s if has_gaps else None,
        "gap_cv": float(gaps_s.std() / gaps_s.mean()) if has_gaps else None,
        "input_tokens": _spread(table.input_tokens),
        "output_tokens": _spread(table.output_tokens),
    }


def _skew(counts: NDArray[np.int64]) -> dict[str, Any]:
    """Return how unevenly experts, and ranks that hold them, are used."""
    loads = np.maximum(counts.astype(np.float64), 0.0)
    ordered = np.sort(loads, axis=1)[:, ::-1]
    n_experts = loads.shape[1]
    n_top = max(int(_TOP_SHARE * n_experts), 1)
    mean = np.maximum(loads.mean(axis=1), 1.0)
    total = np.maximum(loads.sum(axis=1), 1.0)
    sizes = [n for n in _EP_SIZES if n < n_experts and n_experts % n == 0]
    return {
        "imbalance_of_experts_mean": float((ordered[:, 0] / mean).mean()),
        "spread_of_experts_mean": float((loads.std(axis=1) / mean).mean()),
        "top_tenth_frac_mean": float((ordered[:, :n_top].sum(axis=1) / total).mean()),
        "imbalance_of_ranks": {
            f"ep_{n}": {
                "contiguous": _placed(
                    loads, contiguous(n_experts, n_layers=len(loads), n_ranks=n)
                ),
                "eplb": _placed(loads, eplb(loads, n_ranks=n)),
            }
            for n in sizes
        },
    }


def _placed(loads: NDArray[np.float64], placement: Placement) -> float | None:
    return _rounded(float(placed_imbalance(loads, placement=placement).mean()))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _rounded(value: float) -> float | None:
    """Return a figure without digits that nobody measured; None where there is none."""
    return None if np.isnan(value) else round(value, _DIGITS)


def _spread(lengths: NDArray[np.int64]) -> dict[str, float]:
    p50, p99 = np.percentile(lengths, [50, 99]).tolist()
    return {
        "mean": float(lengths.mean()),
        "p50": p50,
        "p99": p99,
        "largest": int(lengths.max()),
        "sum": int(lengths.sum()),
    }
