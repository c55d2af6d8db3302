"""What a pool of measured clients sends: rates, bursts and lengths that change over the day."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.serving.histograms import Histograms
from rackmoe.serving.renewal import RenewalProcesses, sample_renewals
from rackmoe.serving.workload import RequestTable

__all__ = ["ClientPool", "sample_clients"]

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClientPool:
    """Clients measured window by window, as published by ServeGen [1]_.

    Parameters
    ----------
    window_s : float
        Length of a window of constant rate. [s]
    rate_requests_per_s : ndarray of shape (n_clients, n_windows)
        Mean rates, 0 where a client is silent. [1/s]
    shape : ndarray of shape (n_clients, n_windows)
        Shape of the distribution of gaps; positive where the rate is.
    is_weibull : ndarray of shape (n_clients, n_windows), bool
        Whether gaps are Weibull instead of gamma variables.
    length_window_s : float
        Length of a window of constant token lengths. [s]
    input_tokens, output_tokens : Histograms
        Lengths, in the order client 0 window 0, client 0 window 1, ...

    Raises
    ------
    ShapeError
        If the arrays do not fit each other.

    References
    ----------
    .. [1] Y. Xiang et al., "ServeGen: Workload characterization and generation of
       large language model serving in production," arXiv:2505.09999, 2025.
    """

    window_s: float
    rate_requests_per_s: FloatArray
    shape: FloatArray
    is_weibull: NDArray[np.bool_]
    length_window_s: float
    input_tokens: Histograms
    output_tokens: Histograms

    def __post_init__(self) -> None:
        shapes = {self.rate_requests_per_s.shape, self.shape.shape, self.is_weibull.shape}
        n_inputs, n_outputs = len(self.input_tokens), len(self.output_tokens)
        if len(shapes) > 1 or n_inputs != n_outputs or n_inputs % self.n_clients or not n_inputs:
            raise ShapeError(
                f"client pool: arrays of {sorted(shapes)}, {n_inputs} and {n_outputs} histograms;"
                f" expected one shape and as many histograms of each, a multiple of"
                f" {self.n_clients}"
            )

    @property
    def n_clients(self) -> int:
        """Clients."""
        return int(self.shape.shape[0])

    @property
    def duration_s(self) -> float:
        """Time that was measured. [s]."""
        return self.window_s * int(self.shape.shape[1])

    @property
    def _n_length_windows(self) -> int:
        return len(self.input_tokens) // self.n_clients

    def length_cells(self, client: IntArray, *, time_s: FloatArray) -> IntArray:
        """Return which histogram each request draws its lengths from.

        Parameters
        ----------
        client : ndarray of shape (n,)
            Clients.
        time_s : ndarray of shape (n,)
            Times since the measurement began. [s]

        Returns
        -------
        ndarray of shape (n,)
            Histograms of the nearest window in which the client's lengths are known.
        """
        n_windows = self._n_length_windows
        is_known = ~(self.input_tokens.is_empty | self.output_tokens.is_empty)
        windows = np.arange(n_windows)
        distance = np.abs(windows[:, None] - windows).astype(np.float64)
        by_client = np.where(is_known.reshape(-1, 1, n_windows), distance, np.inf)
        nearest = by_client.argmin(axis=2)
        window = np.minimum((time_s / self.length_window_s).astype(np.int64), n_windows - 1)
        cells: IntArray = client * n_windows + nearest[client, window]
        return cells


def sample_clients(
    pool: ClientPool,
    *,
    start_s: float,
    duration_s: float,
    rng: np.random.Generator,
    rate_scale: float = 1.0,
    n_requests: int | None = None,
) -> RequestTable:
    """Draw what the clients of a pool send in a slice of the day.

    Each client is a stationary renewal process within each window; windows are
    independent of each other, as are input and output lengths.

    Parameters
    ----------
    pool : ClientPool
        The clients.
    start_s, duration_s : float
        The slice, from the beginning of the measurement. [s]
    rng : Generator
        The stream named ``clients``.
    rate_scale : float, optional
        Factor on every client's rate; lengths and the shape of bursts stay.
    n_requests : int, optional
        Stop after this many requests.

    Returns
    -------
    RequestTable
        Arrivals counted from the start of the slice; `domain` is the client.

    Raises
    ------
    ConfigError
        If the slice is not within the measurement or the scale is not positive.
    """
    end_s = start_s + duration_s
    if not (0 <= start_s < end_s <= pool.duration_s):
        raise ConfigError(
            f"arrivals.clients: {start_s:g} s to {end_s:g} s; expected a slice of the"
            f" {pool.duration_s:g} s that were measured; move its start or shorten it"
        )
    if not 0 < rate_scale < math.inf:
        raise ConfigError(
            f"arrivals.rate_scale: {rate_scale}; expected more than 0; write for example 10"
        )
    first = int(start_s // pool.window_s)
    past_last = math.ceil(end_s / pool.window_s)
    client, window = np.nonzero(pool.rate_requests_per_s[:, first:past_last])
    window = window + first
    begin_s = np.maximum(window * pool.window_s, start_s)
    processes = RenewalProcesses(
        rate_requests_per_s=pool.rate_requests_per_s[client, window] * rate_scale,
        shape=pool.shape[client, window],
        is_weibull=pool.is_weibull[client, window],
        duration_s=np.minimum((window + 1) * pool.window_s, end_s) - begin_s,
    )
    which, elapsed_s = sample_renewals(processes, rng=rng)
    time_s = begin_s[which] + elapsed_s
    order = np.argsort(time_s, kind="stable")[:n_requests]
    time_s, sender = time_s[order], client[which[order]].astype(np.int64)
    cells = pool.length_cells(sender, time_s=time_s)
    return RequestTable(
        arrival_s=time_s - start_s,
        input_tokens=pool.input_tokens.sample(cells, rng=rng),
        output_tokens=pool.output_tokens.sample(cells, rng=rng),
        domain=sender,
        domain_names=tuple(f"client-{number}" for number in range(pool.n_clients)),
    )
