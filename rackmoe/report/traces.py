"""What a routing trace or a request trace holds, in a few figures."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.trace_files import load_token_trace
from rackmoe.routing.traces import TokenTrace
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.workload import RequestTable

__all__ = ["request_trace_summary", "token_trace_summary", "trace_summary"]

_HEADER = "header.json"
_TOP_SHARE = 0.1


def trace_summary(path: Path) -> dict[str, Any]:
    """Return what a trace holds.

    Parameters
    ----------
    path : pathlib.Path
        A routing trace (``.npz`` or a folder) or a request trace.

    Returns
    -------
    dict
        As `token_trace_summary` or `request_trace_summary`.

    Raises
    ------
    TraceError
        If the trace is damaged.
    """
    if path.suffix == ".npz" or (path / _HEADER).is_file():
        return token_trace_summary(load_token_trace(path))
    return request_trace_summary(load_request_trace(path))


def token_trace_summary(trace: TokenTrace) -> dict[str, Any]:
    """Return size, origin and skew of a routing trace.

    Parameters
    ----------
    trace : TokenTrace
        The trace.

    Returns
    -------
    dict
        ``imbalance_of_experts_mean`` is the load of the busiest expert over the mean, a
        mean over the layers; ``top_tenth_frac_mean`` the share of the assignments that
        go to the busiest tenth of the experts.
    """
    header = trace.header
    loads = _loads(trace)
    ordered = np.sort(loads, axis=1)[:, ::-1]
    n_top = max(int(_TOP_SHARE * header.n_experts), 1)
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
        "imbalance_of_experts_mean": float((ordered[:, 0] / loads.mean(axis=1)).mean()),
        "top_tenth_frac_mean": float((ordered[:, :n_top].sum(axis=1) / loads.sum(axis=1)).mean()),
        "source": header.source,
        "licence": header.licence,
        "note": header.note,
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
        "duration_s": duration_s,
        "rate_requests_per_s": gaps_s.size / duration_s if has_gaps else None,
        "gap_cv": float(gaps_s.std() / gaps_s.mean()) if has_gaps else None,
        "input_tokens": _spread(table.input_tokens),
        "output_tokens": _spread(table.output_tokens),
    }


def _loads(trace: TokenTrace) -> NDArray[np.float64]:
    """Return how often each expert (column) was chosen in each layer (row)."""
    n_experts = trace.header.n_experts
    loads = [
        np.bincount(np.asarray(trace.routed_experts[:, layer]).ravel(), minlength=n_experts)
        for layer in range(trace.n_layers)
    ]
    return np.stack(loads).astype(np.float64)


def _spread(lengths: NDArray[np.int64]) -> dict[str, float]:
    p50, p99 = np.percentile(lengths, [50, 99]).tolist()
    return {
        "mean": float(lengths.mean()),
        "p50": p50,
        "p99": p99,
        "largest": int(lengths.max()),
        "sum": int(lengths.sum()),
    }
