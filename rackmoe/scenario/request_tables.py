"""The requests that a workload asks for, application by application."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from rackmoe.errors import ConfigError
from rackmoe.scenario.applications import Application, Sessions
from rackmoe.scenario.arrival_times import arrival_times_s
from rackmoe.scenario.arrivals import Arrivals
from rackmoe.scenario.lengths import Lengths
from rackmoe.scenario.shipped_traces import find_client_pool, find_request_trace
from rackmoe.scenario.workload import Workload
from rackmoe.serving.client_pool import sample_clients
from rackmoe.serving.client_pool_files import load_client_pool
from rackmoe.serving.histograms import Histograms, build_histograms
from rackmoe.serving.lengths import (
    HistogramLengths,
    LengthModel,
    LognormalLengths,
    TraceLengths,
    UniformLengths,
)
from rackmoe.serving.merging import merge_applications
from rackmoe.serving.request_traces import load_request_trace
from rackmoe.serving.sessions import SessionModel, draw_sessions, start_sessions
from rackmoe.serving.staggered import staggered_requests
from rackmoe.serving.workload import RequestTable, build_requests, replay_requests
from rackmoe.streams import Streams

__all__ = ["build_table"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extent:
    """How much of the traffic of one application is wanted, and its random streams."""

    n_requests: int | None
    duration_s: float | None
    streams: Streams
    suffix: str = ""

    def rng(self, name: str) -> np.random.Generator:
        return self.streams.rng(f"{name}{self.suffix}")


def build_table(
    workload: Workload, *, duration_s: float | None, streams: Streams
) -> tuple[RequestTable, str]:
    """Return the requests of a workload.

    Parameters
    ----------
    workload : Workload
        What the scenario says.
    duration_s : float or None
        Requests arrive before this time, where no number is given. [s]
    streams : Streams
        Random streams of the run; every application has its own.

    Returns
    -------
    requests : RequestTable
        In the order of arrival.
    origin : str
        Where they come from, in one sentence.
    """
    if not workload.applications:
        extent = _Extent(n_requests=workload.requests, duration_s=duration_s, streams=streams)
        return _requests(workload.parts["default"], extent)
    if workload.has_shares:
        return _shared_requests(workload, duration_s=duration_s, streams=streams)
    tables, origins = {}, []
    for name, application in workload.parts.items():
        extent = _Extent(
            n_requests=application.requests,
            duration_s=duration_s,
            streams=streams,
            suffix=f"/{name}",
        )
        table, origin = _requests(application, extent)
        tables[name] = _of_domain(table, application.domain, rng=extent.rng("domains"))
        origins.append(f"{name}: {origin}")
    return merge_applications(tables), "; ".join(origins)


def _shared_requests(
    workload: Workload, *, duration_s: float | None, streams: Streams
) -> tuple[RequestTable, str]:
    """Divide common arrivals among the applications, request by request."""
    arrivals = _given(workload.arrivals)
    times_s, origin = arrival_times_s(
        arrivals, n_requests=workload.requests, duration_s=duration_s, streams=streams
    )
    shares = [one.share_frac or 0.0 for one in workload.applications.values()]
    levels = np.cumsum(shares)[:-1]
    owner = np.searchsorted(levels, streams.rng("shares").random(times_s.size), side="right")
    tables = {}
    for number, (name, application) in enumerate(workload.applications.items()):
        table = build_requests(
            times_s[owner == number],
            lengths=_length_model(_given(application.lengths)),
            rng=streams.rng(f"lengths/{name}"),
        )
        rng = streams.rng(f"domains/{name}")
        tables[name] = _of_domain(table, application.domain, rng=rng)
    parts = ", ".join(f"{share:.0%} {name}" for share, name in zip(shares, tables, strict=True))
    return merge_applications(tables), f"{origin}; {parts}"


def _requests(application: Application, extent: _Extent) -> tuple[RequestTable, str]:
    arrivals = _given(application.arrivals)
    if arrivals.trace is not None:
        return _replayed(arrivals, arrivals.trace, extent)
    if arrivals.clients is not None:
        return _from_clients(arrivals, extent)
    if application.sessions is not None:
        return _with_sessions(arrivals, application.sessions, extent)
    lengths = _given(application.lengths)
    times_s, origin = arrival_times_s(
        arrivals,
        n_requests=extent.n_requests,
        duration_s=extent.duration_s,
        streams=extent.streams,
        suffix=extent.suffix,
    )
    table = build_requests(times_s, lengths=_length_model(lengths), rng=extent.rng("lengths"))
    if lengths.is_staggered and arrivals.closed_loop is not None:
        table = staggered_requests(
            table, n_first=arrivals.closed_loop, rng=extent.rng("staggered starts")
        )
    return table, origin


def _replayed(arrivals: Arrivals, name: str, extent: _Extent) -> tuple[RequestTable, str]:
    path = find_request_trace(name)
    table = replay_requests(
        load_request_trace(path),
        rate_scale=arrivals.rate_scale,
        n_requests=extent.n_requests,
        duration_s=None if extent.n_requests else extent.duration_s,
    )
    scaled = (
        "at their own rate"
        if arrivals.rate_scale == 1.0
        else f"time compressed by {arrivals.rate_scale:.4g}"
    )
    return table, f"arrivals and lengths recorded in {path.name}, {scaled}"


def _from_clients(arrivals: Arrivals, extent: _Extent) -> tuple[RequestTable, str]:
    clients = _given(arrivals.clients)
    path = find_client_pool(clients.pool)
    pool = load_client_pool(path)
    duration_s = extent.duration_s
    if duration_s is None:
        duration_s = pool.duration_s - clients.start_s
    table = sample_clients(
        pool,
        start_s=clients.start_s,
        duration_s=duration_s,
        rng=extent.rng("clients"),
        rate_scale=arrivals.rate_scale,
        n_requests=extent.n_requests,
    )
    origin = (
        f"{pool.n_clients} clients of {path.name} from {clients.start_s:g} s on,"
        f" {arrivals.rate_scale:.4g} times their rate"
    )
    return table, origin


def _with_sessions(
    arrivals: Arrivals, sessions: Sessions, extent: _Extent
) -> tuple[RequestTable, str]:
    """Return sessions, their starts spaced like arrivals, their turns by themselves."""
    if extent.n_requests is not None:
        table, what = _sessions(sessions, n_requests=extent.n_requests, extent=extent)
        n_sessions = int((table.previous < 0).sum())
        times_s, origin = arrival_times_s(
            arrivals,
            n_requests=n_sessions,
            duration_s=None,
            streams=extent.streams,
            suffix=extent.suffix,
        )
    else:
        times_s, origin = arrival_times_s(
            arrivals,
            n_requests=None,
            duration_s=extent.duration_s,
            streams=extent.streams,
            suffix=extent.suffix,
        )
        n_turns = 1 + times_s.size
        table, what = _sessions(sessions, n_requests=n_turns, extent=extent)
        # one session more than starts, so that the last one is not cut
        while int((table.previous < 0).sum()) <= times_s.size:
            n_turns *= 2
            table, what = _sessions(sessions, n_requests=n_turns, extent=extent)
    if arrivals.closed_loop is None:
        table = start_sessions(table, start_s=times_s)
    return table, f"{what}, started by {origin}"


def _sessions(sessions: Sessions, *, n_requests: int, extent: _Extent) -> tuple[RequestTable, str]:
    rng = extent.rng("sessions")
    if sessions.trace is not None:
        path = find_request_trace(sessions.trace, key="sessions.trace")
        table = draw_sessions(
            load_request_trace(path),
            n_requests=n_requests,
            rng=rng,
            max_delay_s=math.inf if sessions.max_delay_s is None else sessions.max_delay_s,
        )
        return table, f"sessions drawn from {path.name}"
    generated = _given(sessions.generated)
    model = SessionModel(
        system_tokens=generated.system,
        turns=generated.turns,
        lengths=_length_model(generated.lengths),
        delay_s=generated.delay_s,
        max_context_tokens=generated.max_context,
    )
    return model.sample(n_requests, rng=rng), "generated sessions"


def _length_model(lengths: Lengths) -> LengthModel:
    if lengths.lognormal is not None:
        pair = lengths.lognormal
        return LognormalLengths(
            input_tokens=pair.input,
            output_tokens=pair.output,
            input_cv=pair.input_cv,
            output_cv=pair.output_cv,
            correlation=pair.correlation,
        )
    if lengths.histogram is not None:
        return HistogramLengths(
            input_tokens=_histogram(lengths.histogram.input),
            output_tokens=_histogram(lengths.histogram.output),
        )
    if lengths.trace is not None:
        trace = load_request_trace(find_request_trace(lengths.trace, key="lengths.trace"))
        return TraceLengths(input_tokens=trace.input_tokens, output_tokens=trace.output_tokens)
    low, high = lengths.spread
    return UniformLengths(
        input_tokens=_given(lengths.input),
        output_tokens=_given(lengths.output),
        low_frac=low,
        high_frac=high,
    )


def _histogram(bins: tuple[tuple[int, float], ...]) -> Histograms:
    values = np.array([value for value, _ in bins], np.int64)
    return build_histograms([values], weights=[np.array([weight for _, weight in bins])])


def _of_domain(
    table: RequestTable, domain: str | dict[str, float] | None, *, rng: np.random.Generator
) -> RequestTable:
    """Return requests that are about something; all turns of a session about the same."""
    if domain is None:
        return table
    if isinstance(domain, str):
        return replace(table, domain=np.zeros(len(table), np.int64), domain_names=(domain,))
    levels = np.cumsum(list(domain.values()))[:-1]
    drawn = np.searchsorted(levels, rng.random(len(table)), side="right")
    return replace(table, domain=drawn[table.session], domain_names=tuple(domain))


def _given(value: T | None) -> T:
    """Return a value that the scenario's own checks make sure of."""
    if value is None:
        raise ConfigError("workload: arrivals or lengths are missing; expected both; add them")
    return value
