"""The requests of a scenario, and which of them are measured."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.request_tables import build_table
from rackmoe.scenario.shipped_traces import find_request_trace
from rackmoe.scenario.workload import Workload
from rackmoe.serving.workload import RequestTable
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

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the figures has to know about the traffic."""
        n_skipped = self.requests.n_skipped
        if not n_skipped:
            return ()
        warning = (
            f"workload: {n_skipped:,} requests of the trace have no output; they failed where "
            "it was recorded, and are left out"
        )
        return (warning,)


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
    limit_s = workload.duration_s if until_s is None else until_s
    requests, origin = build_table(workload, duration_s=limit_s, streams=streams)
    # sessions are measured as a whole, by their first turn
    start_s = requests.arrival_s[requests.session]
    if measurement.window_s is None:
        is_measured = _is_after_warm_up(requests, warm_up_frac=measurement.warm_up_requests_frac)
        is_measured &= np.isnan(start_s) | (start_s >= warm_up_s)
        window_s = _while_arriving(workload, warm_up_s=warm_up_s)
    else:
        end_s = warm_up_s + measurement.window_s
        is_measured = (start_s >= warm_up_s) & (start_s < end_s)
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


def _while_arriving(workload: Workload, *, warm_up_s: float) -> tuple[float, float] | None:
    """Return the window in which requests keep coming, where the scenario says how long."""
    if workload.duration_s is None or workload.measurement.warm_up_requests_frac > 0:
        return None
    return (warm_up_s, workload.duration_s) if warm_up_s < workload.duration_s else None


def _is_after_warm_up(requests: RequestTable, *, warm_up_frac: float) -> NDArray[np.bool_]:
    """Return the requests of each application but the first ones."""
    is_after = np.zeros(len(requests), np.bool_)
    for application in range(len(requests.application_names)):
        rows = np.flatnonzero(requests.application == application)
        is_after[rows[int(warm_up_frac * rows.size) :]] = True
    return is_after
