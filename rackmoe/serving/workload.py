"""What is asked of the machine: requests as arrays, sampled or re-played."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.serving.lengths import LengthModel
from rackmoe.serving.prefixes import PrefixBlocks

__all__ = ["RequestTable", "build_requests", "replay_requests"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


_DEFAULTS: dict[str, float] = {
    "trace_row": -1,
    "domain": -1,
    "application": 0,
    "previous": -1,
    "delay_s": 0.0,
}


def _nothing() -> IntArray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestTable:
    """Requests in the order of their arrival, a row each.

    Parameters
    ----------
    arrival_s : ndarray of shape (n_requests,)
        Arrival times from 0 on, ascending; NaN where the run itself decides: in a
        closed loop, and for later turns of a session. [s]
    input_tokens, output_tokens : ndarray of shape (n_requests,)
        Prompt length and number of tokens that will be generated, at least 1.
        Policies never see the latter (LAW-12).
    trace_row : ndarray of shape (n_requests,), optional
        Row of the trace that the request repeats; -1 (default) where there is none.
    domain : ndarray of shape (n_requests,), optional
        Index into `domain_names`; -1 (default) where unknown.
    domain_names : tuple of str, optional
        Names of the domains, for example ``("chat", "code")``.
    application : ndarray of shape (n_requests,), optional
        Index into `application_names`; all 0 by default.
    application_names : tuple of str, optional
        Names of the applications that share the machine.
    prefixes : PrefixBlocks, optional
        Which prompts begin alike; None where unknown.
    previous : ndarray of shape (n_requests,), optional
        Row of the turn before in the same session, an earlier row; -1 (default)
        for the first turn.
    delay_s : ndarray of shape (n_requests,), optional
        From the end of the turn before to the arrival of this one: tools that run,
        people who think; 0 by default. [s]
    n_skipped : int, optional
        Failed requests of the trace that are not among these.

    Raises
    ------
    ShapeError
        If the columns do not fit each other.
    """

    arrival_s: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray
    trace_row: IntArray = field(default_factory=_nothing)
    domain: IntArray = field(default_factory=_nothing)
    domain_names: tuple[str, ...] = ()
    application: IntArray = field(default_factory=_nothing)
    application_names: tuple[str, ...] = ("default",)
    prefixes: PrefixBlocks | None = None
    previous: IntArray = field(default_factory=_nothing)
    delay_s: FloatArray = field(default_factory=lambda: np.zeros(0))
    n_skipped: int = 0

    def __post_init__(self) -> None:
        n_requests = self.arrival_s.size
        for name, value in _DEFAULTS.items():
            if not getattr(self, name).size:
                # the dataclass is frozen, and a default cannot know the number of requests
                object.__setattr__(self, name, np.full(n_requests, value))
        for name in ("input_tokens", "output_tokens", *_DEFAULTS):
            shape = getattr(self, name).shape
            if shape != (n_requests,):
                raise ShapeError(
                    f"{name}: shape {shape}; expected ({n_requests},), one value for each arrival"
                )
        if self.prefixes is not None and len(self.prefixes) != n_requests:
            raise ShapeError(
                f"prefixes: {len(self.prefixes)} requests; expected {n_requests},"
                " one for each arrival"
            )
        if (self.previous >= np.arange(n_requests)).any():
            row = int(np.argmax(self.previous >= np.arange(n_requests)))
            raise ShapeError(
                f"previous: row {row} follows row {self.previous[row]}; expected an earlier row"
            )

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    @property
    def is_closed_loop(self) -> bool:
        """Whether the run itself decides when each request is sent."""
        return bool(len(self) and np.isnan(self.arrival_s).all())

    @property
    def has_sessions(self) -> bool:
        """Whether some requests arrive when an earlier turn of their session has ended."""
        return bool(((self.previous >= 0) & np.isnan(self.arrival_s)).any())

    @property
    def session(self) -> IntArray:
        """First turn of the session of each request, shape (n_requests,)."""
        first = np.where(self.previous < 0, np.arange(len(self)), self.previous)
        # every pass doubles the turns that are jumped over
        while (first[first] != first).any():
            first = first[first]
        return first

    @property
    def rate_requests_per_s(self) -> float:
        """Mean arrival rate over the gaps between arrivals; NaN where undefined. [1/s]."""
        if len(self) < 2:  # noqa: PLR2004  # one gap needs two arrivals
            return math.nan
        span_s = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self) - 1) / span_s if span_s > 0 else math.nan

    def head(self, n_requests: int) -> "RequestTable":
        """Return the first requests.

        Parameters
        ----------
        n_requests : int
            Rows to keep.

        Returns
        -------
        RequestTable
            At most so many rows.
        """
        rows = np.arange(min(n_requests, len(self)))
        columns = ("arrival_s", "input_tokens", "output_tokens", *_DEFAULTS)
        return replace(
            self,
            prefixes=None if self.prefixes is None else self.prefixes.take(rows),
            **{name: getattr(self, name)[rows] for name in columns},
        )


def build_requests(
    arrival_s: FloatArray, *, lengths: LengthModel, rng: np.random.Generator
) -> RequestTable:
    """Return requests of sampled lengths.

    Parameters
    ----------
    arrival_s : ndarray of shape (n_requests,)
        Arrival times, for example `poisson_arrivals_s` or those of a trace. [s]
    lengths : LengthModel
        Joint distribution of the lengths.
    rng : Generator
        The stream named ``lengths``.

    Returns
    -------
    RequestTable
        A row for each arrival.
    """
    input_tokens, output_tokens = lengths.sample(arrival_s.size, rng=rng)
    return RequestTable(
        arrival_s=arrival_s, input_tokens=input_tokens, output_tokens=output_tokens
    )


def replay_requests(
    trace: RequestTable,
    *,
    rate_scale: float = 1.0,
    n_requests: int | None = None,
    duration_s: float | None = None,
) -> RequestTable:
    """Return a trace with its time compressed, cut or repeated.

    Dividing every time by one factor keeps the shape of the bursts. After its
    last request the trace starts again, one mean gap later, as new users:
    copies share no prefix blocks with each other.

    Parameters
    ----------
    trace : RequestTable
        Recorded requests.
    rate_scale : float, optional
        Factor on the arrival rate.
    n_requests : int, optional
        Stop after this many requests.
    duration_s : float, optional
        Stop before this time, counted after scaling. [s]

    Returns
    -------
    RequestTable
        Lengths, domains and prefixes stay with their requests; `trace_row` says
        which ones. Without a limit, the trace once.

    Raises
    ------
    ConfigError
        If the trace is empty, the scale is not positive, or a duration is asked
        of a trace without any.
    """
    if not 0 < rate_scale < math.inf:
        raise ConfigError(
            f"arrivals.rate_scale: {rate_scale}; expected more than 0; write for example 10"
        )
    if not len(trace) or trace.is_closed_loop:
        raise ConfigError("arrivals.trace: no arrival times; expected a trace with requests")
    n_wanted = _replayed_count(trace, rate_scale, n_requests, duration_s)
    copy, row = np.divmod(np.arange(n_wanted, dtype=np.int64), len(trace))
    arrival_s = (trace.arrival_s[row] + copy * _period_s(trace)) / rate_scale
    previous = np.where(trace.previous[row] < 0, -1, trace.previous[row] + copy * len(trace))
    if duration_s is not None:
        # later turns come with the first one of their session
        start_s = arrival_s[trace.session[row] + copy * len(trace)]
        kept = np.flatnonzero(start_s < duration_s)
        copy, row, arrival_s = copy[kept], row[kept], arrival_s[kept]
        position = np.cumsum(start_s < duration_s) - 1
        previous = np.where(previous[kept] < 0, -1, position[previous[kept]])
    return replace(
        trace,
        arrival_s=arrival_s,
        input_tokens=trace.input_tokens[row],
        output_tokens=trace.output_tokens[row],
        trace_row=row,
        domain=trace.domain[row],
        application=trace.application[row],
        prefixes=None if trace.prefixes is None else trace.prefixes.take(row, copy=copy),
        previous=previous,
        delay_s=trace.delay_s[row],
    )


def _period_s(trace: RequestTable) -> float:
    started_s = trace.arrival_s[~np.isnan(trace.arrival_s)]
    n_gaps = started_s.size - 1
    if not n_gaps:
        return 0.0
    return float(started_s[-1] - started_s[0]) * (n_gaps + 1) / n_gaps


def _replayed_count(
    trace: RequestTable, rate_scale: float, n_requests: int | None, duration_s: float | None
) -> int:
    if n_requests is not None:
        if n_requests < 1:
            raise ConfigError(f"workload.requests: {n_requests}; expected at least 1 request")
        return n_requests
    if duration_s is None:
        return len(trace)
    period_s = _period_s(trace) / rate_scale
    if not 0 < duration_s < math.inf or period_s <= 0:
        raise ConfigError(
            f"workload.duration: {duration_s} s of a trace that lasts {period_s} s; expected both"
            " above 0; give a number of requests instead"
        )
    return len(trace) * (math.ceil(duration_s / period_s) + 1)
