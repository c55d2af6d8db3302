"""The requests of a scenario, and which of them are measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.workload import Arrivals, Lengths, Workload
from rackmoe.schema.shipped import shipped_folder
from rackmoe.schema.tree import did_you_mean
from rackmoe.serving.arrivals import (
    batch_arrivals_s,
    closed_loop_arrivals_s,
    gamma_arrivals_s,
    poisson_arrivals_s,
)
from rackmoe.serving.lengths import UniformLengths
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.staggered import staggered_requests
from rackmoe.serving.workload import RequestTable, build_requests, replay_requests
from rackmoe.streams import Streams

__all__ = ["Traffic", "build_traffic", "find_request_trace"]

# Requests keep coming while the measured ones finish, for this many windows at most.
_DRAIN_WINDOWS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What the clients send.

    Attributes
    ----------
    requests : RequestTable
        All requests in the order of arrival.
    is_measured : ndarray of shape (n_requests,), bool
        Those that the figures describe.
    window_s : tuple of float or None
        Start and end of the measured window; None where it follows from the requests. [s]
    until_s : float or None
        When the run ends at the latest. [s]
    origin : str
        Where the traffic comes from, in one sentence.
    """

    requests: RequestTable
    is_measured: NDArray[np.bool_]
    window_s: tuple[float, float] | None
    until_s: float | None
    origin: str


def build_traffic(document: ScenarioDocument, *, streams: Streams) -> Traffic:
    """Return the traffic of a scenario.

    Parameters
    ----------
    document : ScenarioDocument
        The scenario.
    streams : Streams
        Random streams of the run.

    Returns
    -------
    Traffic
        Requests and what is measured of them.
    """
    workload = document.workload
    measurement = workload.measurement
    warm_up_s = measurement.warm_up_s or 0.0
    until_s = None
    if measurement.window_s is not None:
        until_s = warm_up_s + measurement.window_s * (1 + _DRAIN_WINDOWS)
    requests, origin = _requests(workload, duration_s=until_s, streams=streams)
    if measurement.window_s is None:
        first = int(measurement.warm_up_requests_frac * len(requests))
        is_measured = np.arange(len(requests)) >= first
        if not requests.is_closed_loop:
            is_measured &= requests.arrival_s >= warm_up_s
        window_s = None
    else:
        end_s = warm_up_s + measurement.window_s
        is_measured = (requests.arrival_s >= warm_up_s) & (requests.arrival_s < end_s)
        window_s = (warm_up_s, end_s)
    if not is_measured.any():
        raise ConfigError(
            f"workload.measurement: none of {len(requests)} requests falls into the measured "
            "part; lower the warm-up or raise the number of requests"
        )
    return Traffic(
        requests=requests,
        is_measured=is_measured,
        window_s=window_s,
        until_s=until_s,
        origin=origin,
    )


def find_request_trace(name: str) -> Path:
    """Return the file of a request trace.

    Parameters
    ----------
    name : str
        Name of a shipped trace, or path of a file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        If there is no such trace.
    """
    given = Path(name)
    if given.is_file():
        return given
    shipped = {
        path.name.split(".")[0]: path
        for path in sorted(shipped_folder("scenarios/traces/requests").iterdir())
        if path.suffix in {".csv", ".jsonl", ".gz"}
    }
    if name in shipped:
        return shipped[name]
    raise ConfigError(
        f"workload.arrivals.trace: no file or shipped trace '{name}'; "
        f"{did_you_mean(name, known=shipped)}"
    )


def _requests(
    workload: Workload, *, duration_s: float | None, streams: Streams
) -> tuple[RequestTable, str]:
    arrivals = workload.arrivals
    if arrivals.trace is not None:
        path = find_request_trace(arrivals.trace)
        table = replay_requests(
            load_request_trace(path),
            rate_scale=arrivals.rate_scale,
            n_requests=workload.requests,
            duration_s=None if workload.requests else duration_s,
        )
        return table, f"arrivals and lengths recorded in {path.name}, {_scaled(arrivals)}"
    if workload.lengths is None:
        raise ConfigError("workload.lengths: missing; generated arrivals need lengths")
    times_s, origin = _arrival_times_s(
        arrivals, n_requests=workload.requests, duration_s=duration_s, streams=streams
    )
    lengths = _length_model(workload.lengths)
    table = build_requests(times_s, lengths=lengths, rng=streams.rng("lengths"))
    if workload.lengths.is_staggered and arrivals.closed_loop is not None:
        table = staggered_requests(
            table, n_first=arrivals.closed_loop, rng=streams.rng("staggered starts")
        )
    return table, origin


def _arrival_times_s(
    arrivals: Arrivals, *, n_requests: int | None, duration_s: float | None, streams: Streams
) -> tuple[NDArray[np.float64], str]:
    if arrivals.poisson_requests_per_s is not None:
        rate = arrivals.poisson_requests_per_s * arrivals.rate_scale
        rng = streams.rng("arrivals")
        limit = {"n_requests": n_requests} if n_requests else {"duration_s": duration_s}
        if arrivals.burst_cv is None:
            times_s = poisson_arrivals_s(rng, rate_requests_per_s=rate, **limit)
            return times_s, f"Poisson arrivals at {rate:g} requests/s, generated"
        times_s = gamma_arrivals_s(rng, rate_requests_per_s=rate, cv=arrivals.burst_cv, **limit)
        return times_s, f"gamma arrivals at {rate:g} requests/s, generated"
    if n_requests is None:
        raise ConfigError("workload.requests: missing; a closed loop or a batch needs a number")
    if arrivals.closed_loop is not None:
        origin = f"closed loop of {arrivals.closed_loop} requests"
        return closed_loop_arrivals_s(n_requests), origin
    return batch_arrivals_s(n_requests), "all requests at time zero"


def _length_model(lengths: Lengths) -> UniformLengths:
    low, high = lengths.spread
    return UniformLengths(
        input_tokens=lengths.input, output_tokens=lengths.output, low_frac=low, high_frac=high
    )


def _scaled(arrivals: Arrivals) -> str:
    if arrivals.rate_scale == 1.0:
        return "at their own rate"
    return f"time compressed by {arrivals.rate_scale:.4g}"
