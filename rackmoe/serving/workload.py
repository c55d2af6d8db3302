"""What is asked of the machine: requests as arrays, sampled or re-played."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.serving.lengths import LengthModel

__all__ = ["RequestTable", "build_requests", "replay_requests"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


def _no_ids() -> IntArray:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestTable:
    """Requests in the order of their arrival, a row each.

    Parameters
    ----------
    arrival_s : ndarray of shape (n_requests,)
        Arrival times, ascending from 0; all NaN in a closed loop. [s]
    input_tokens, output_tokens : ndarray of shape (n_requests,)
        Prompt length and number of tokens that will be generated, at least 1.
        Policies never see the latter (LAW-12).
    trace_row : ndarray of shape (n_requests,), optional
        Row of the trace that the request repeats; -1 (default) where there is none.
    domain : ndarray of shape (n_requests,), optional
        Index into `domain_names`; -1 (default) where unknown.
    domain_names : tuple of str, optional
        Names of the domains, for example ``("chat", "code")``.
    prefix_offsets : ndarray of shape (n_requests + 1,), optional
        Where the prefix blocks of each request start in `prefix_ids`; empty
        without prefix blocks.
    prefix_ids : ndarray of shape (n_blocks,), optional
        Block identities; equal ones stand for equal prompts up to that block.
    prefix_block_tokens : int, optional
        Tokens of one prefix block, 0 without prefix blocks.

    Raises
    ------
    ShapeError
        If the columns do not fit each other.
    """

    arrival_s: FloatArray
    input_tokens: IntArray
    output_tokens: IntArray
    trace_row: IntArray = field(default_factory=_no_ids)
    domain: IntArray = field(default_factory=_no_ids)
    domain_names: tuple[str, ...] = ()
    prefix_offsets: IntArray = field(default_factory=_no_ids)
    prefix_ids: IntArray = field(default_factory=_no_ids)
    prefix_block_tokens: int = 0

    def __post_init__(self) -> None:
        n_requests = self.arrival_s.size
        for name in ("trace_row", "domain"):
            if not getattr(self, name).size:
                # the dataclass is frozen, and a default cannot know the number of requests
                object.__setattr__(self, name, np.full(n_requests, -1, np.int64))
        for name in ("input_tokens", "output_tokens", "trace_row", "domain"):
            shape = getattr(self, name).shape
            if shape != (n_requests,):
                raise ShapeError(
                    f"{name}: shape {shape}; expected ({n_requests},), one value for each arrival"
                )
        if self.prefix_offsets.size and (
            self.prefix_offsets.size != n_requests + 1
            or self.prefix_offsets[-1] != self.prefix_ids.size
        ):
            raise ShapeError(
                f"prefix_offsets: {self.prefix_offsets.size} values up to"
                f" {self.prefix_offsets[-1]}; expected {n_requests + 1} values up to"
                f" {self.prefix_ids.size}"
            )

    def __len__(self) -> int:
        return int(self.arrival_s.size)

    @property
    def is_closed_loop(self) -> bool:
        """Whether the run itself decides when each request is sent."""
        return bool(len(self) and np.isnan(self.arrival_s).all())

    @property
    def has_prefixes(self) -> bool:
        """Whether the requests carry prefix blocks."""
        return self.prefix_offsets.size > 0

    @property
    def rate_requests_per_s(self) -> float:
        """Mean arrival rate over the gaps between arrivals; NaN where undefined. [1/s]."""
        if len(self) < 2:  # noqa: PLR2004  # one gap needs two arrivals
            return math.nan
        span_s = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self) - 1) / span_s if span_s > 0 else math.nan

    def prefix_blocks(self, request: int) -> IntArray:
        """Return the prefix block identities of one request.

        Parameters
        ----------
        request : int
            Row of the table.

        Returns
        -------
        ndarray of shape (n_blocks,)
            Empty without prefix blocks.
        """
        if not self.has_prefixes:
            return self.prefix_ids
        return self.prefix_ids[self.prefix_offsets[request] : self.prefix_offsets[request + 1]]


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
    copy, row = np.divmod(np.arange(n_wanted), len(trace))
    arrival_s = (trace.arrival_s[row] + copy * _period_s(trace)) / rate_scale
    if duration_s is not None:
        n_wanted = int(np.searchsorted(arrival_s, duration_s))
        copy, row, arrival_s = copy[:n_wanted], row[:n_wanted], arrival_s[:n_wanted]
    offsets, ids = _replayed_prefixes(trace, copy=copy, row=row)
    return RequestTable(
        arrival_s=arrival_s,
        input_tokens=trace.input_tokens[row],
        output_tokens=trace.output_tokens[row],
        trace_row=row.astype(np.int64),
        domain=trace.domain[row],
        domain_names=trace.domain_names,
        prefix_offsets=offsets,
        prefix_ids=ids,
        prefix_block_tokens=trace.prefix_block_tokens,
    )


def _period_s(trace: RequestTable) -> float:
    if len(trace) == 1:
        return 0.0
    span_s = float(trace.arrival_s[-1] - trace.arrival_s[0])
    return span_s * len(trace) / (len(trace) - 1)


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


def _replayed_prefixes(
    trace: RequestTable, *, copy: NDArray[np.integer], row: NDArray[np.integer]
) -> tuple[IntArray, IntArray]:
    if not trace.has_prefixes:
        return _no_ids(), _no_ids()
    n_blocks = np.diff(trace.prefix_offsets)[row]
    offsets = np.concatenate(([0], np.cumsum(n_blocks))).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], n_blocks)
    ids = trace.prefix_ids[np.repeat(trace.prefix_offsets[row], n_blocks) + within]
    ids_of_one_copy = 1 + (int(trace.prefix_ids.max()) if trace.prefix_ids.size else 0)
    return offsets, ids + np.repeat(copy, n_blocks) * ids_of_one_copy
