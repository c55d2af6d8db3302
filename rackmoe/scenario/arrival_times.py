"""The arrival times that a scenario asks for."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.scenario.arrivals import Arrivals, OnOff, RampPoint
from rackmoe.serving.arrivals import (
    batch_arrivals_s,
    closed_loop_arrivals_s,
    gamma_arrivals_s,
    poisson_arrivals_s,
    weibull_arrivals_s,
)
from rackmoe.serving.modulated import OnOffRate, modulated_arrivals_s, ramp_profile
from rackmoe.streams import Streams

__all__ = ["arrival_times_s"]

FloatArray = NDArray[np.float64]

# phases are drawn for this many times the expected duration, and some periods more
_SPARE_FACTOR = 2.0
_SPARE_PERIODS = 50.0


def arrival_times_s(
    arrivals: Arrivals,
    *,
    n_requests: int | None,
    duration_s: float | None,
    streams: Streams,
    suffix: str = "",
) -> tuple[FloatArray, str]:
    """Return generated arrival times.

    Parameters
    ----------
    arrivals : Arrivals
        What the scenario says; neither a trace nor clients.
    n_requests : int or None
        Number of arrivals.
    duration_s : float or None
        Without a number: time before which they arrive. [s]
    streams : Streams
        Random streams of the run.
    suffix : str
        Ending of the names of the streams.

    Returns
    -------
    times_s : ndarray of shape (n_arrivals,)
        Ascending; NaN in a closed loop. [s]
    origin : str
        Where they come from, in a few words.

    Raises
    ------
    ConfigError
        If a closed loop or a batch has no number.
    """
    rng = streams.rng(f"arrivals{suffix}")
    limit = _Limit(n_requests=n_requests, duration_s=None if n_requests else duration_s)
    if arrivals.on_off is not None:
        phases = streams.rng(f"phases{suffix}")
        return _on_off(arrivals.on_off, arrivals.rate_scale, limit, rng=rng, phases=phases)
    if arrivals.ramp:
        return _ramp(arrivals.ramp, arrivals.rate_scale, limit, rng=rng)
    if arrivals.has_rate:
        return _renewal(arrivals, limit, rng=rng)
    if n_requests is None:
        raise ConfigError("workload.requests: missing; a closed loop or a batch needs a number")
    if arrivals.closed_loop is not None:
        origin = f"closed loop of {arrivals.closed_loop} requests"
        return closed_loop_arrivals_s(n_requests), origin
    return batch_arrivals_s(n_requests), "all requests at time zero"


class _Limit(TypedDict):
    """Where arrivals end."""

    n_requests: int | None
    duration_s: float | None


def _renewal(
    arrivals: Arrivals, limit: _Limit, *, rng: np.random.Generator
) -> tuple[FloatArray, str]:
    """Return arrivals with independent gaps."""
    bursts, name = arrivals.gamma, "gamma"
    if arrivals.weibull is not None:
        bursts, name = arrivals.weibull, "Weibull"
    rate = arrivals.poisson_requests_per_s or 0.0
    cv = arrivals.burst_cv
    if bursts is not None:
        rate, cv = bursts.rate_requests_per_s, bursts.cv
    rate *= arrivals.rate_scale
    if cv is None:
        times_s = poisson_arrivals_s(rng, rate_requests_per_s=rate, **limit)
        return times_s, f"Poisson arrivals at {rate:g} requests/s, generated"
    draw = weibull_arrivals_s if name == "Weibull" else gamma_arrivals_s
    times_s = draw(rng, rate_requests_per_s=rate, cv=cv, **limit)
    return times_s, f"{name} arrivals at {rate:g} requests/s, generated"


def _ramp(
    points: tuple[RampPoint, ...], rate_scale: float, limit: _Limit, *, rng: np.random.Generator
) -> tuple[FloatArray, str]:
    at_s = np.array([point.at_s for point in points])
    rates = np.array([point.rate_requests_per_s for point in points]) * rate_scale
    profile = ramp_profile(at_s, rate_requests_per_s=rates)
    origin = f"Poisson arrivals at {rates[0]:g} to {rates[-1]:g} requests/s, generated"
    return modulated_arrivals_s(profile, rng=rng, **limit), origin


def _on_off(
    on_off: OnOff,
    rate_scale: float,
    limit: _Limit,
    *,
    rng: np.random.Generator,
    phases: np.random.Generator,
) -> tuple[FloatArray, str]:
    rate = OnOffRate(
        on_rate_requests_per_s=on_off.on_rate_requests_per_s * rate_scale,
        off_rate_requests_per_s=on_off.off_rate_requests_per_s * rate_scale,
        on_s=on_off.on_s,
        off_s=on_off.off_s,
        is_periodic=on_off.phases == "fixed",
    )
    until_s = limit["duration_s"]
    if until_s is None:
        n_requests = limit["n_requests"] or 0
        until_s = _SPARE_FACTOR * (
            n_requests / rate.mean_rate_requests_per_s
            + _SPARE_PERIODS * (on_off.on_s + on_off.off_s)
        )
    times_s = modulated_arrivals_s(rate.profile(phases, until_s=until_s), rng=rng, **limit)
    origin = (
        f"Poisson arrivals at {rate.on_rate_requests_per_s:g} and"
        f" {rate.off_rate_requests_per_s:g} requests/s by turns, generated"
    )
    return times_s, origin
