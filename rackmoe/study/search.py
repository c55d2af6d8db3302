"""At which arrival rate a machine still gives its users the speed that they ask for."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from rackmoe.errors import ConfigError
from rackmoe.scenario.resolved import Scenario
from rackmoe.simulation import Result, simulate

__all__ = ["OperatingPoint", "Probe", "find_operating_point"]

ProbeProgress = Callable[["Probe"], None]
"""Takes every run of the search when it is done."""

_METRIC = "interactivity_p50_tokens_per_s"
# The first steps of the search change the rate by this factor.
_STRIDE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One run of a search.

    Attributes
    ----------
    rate_scale : float
        Factor on the arrival rate of the workload.
    interactivity_tokens_per_s : float
        What the median user got; 0 if nobody was served. [1/s]
    output_tokens_per_s_per_gpu : float
        What the machine delivered. [1/s]
    """

    rate_scale: float
    interactivity_tokens_per_s: float
    output_tokens_per_s_per_gpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What a search found.

    Attributes
    ----------
    result : Result
        The run nearest to the goal.
    probes : tuple of Probe
        All runs in their order.
    is_met : bool
        Whether the goal was met within the tolerance.
    """

    result: Result
    probes: tuple[Probe, ...]
    is_met: bool


def find_operating_point(
    scenario: Scenario, *, seed: int = 0, progress: ProbeProgress | None = None
) -> OperatingPoint:
    """Scale the arrival rate until the median user gets the wanted tokens per second.

    More traffic makes larger batches and slower users, so the rate is bracketed
    and then found by the secant of log rate against log interactivity, kept
    inside the bracket.

    Parameters
    ----------
    scenario : Scenario
        A scenario whose workload has a `search`.
    seed : int
        Seed of every run: all probes see the same traffic, faster or slower.
    progress : callable, optional
        Told about every run.

    Returns
    -------
    OperatingPoint
        The nearest run.

    Raises
    ------
    ConfigError
        If the workload has no `search`, or no rate reaches the goal.
    """
    search = scenario.document.workload.search
    if search is None:
        raise ConfigError(
            f"{scenario.name}: workload.search: missing; write the goal of the search"
        )
    goal = search.interactivity_tokens_per_s
    finder = _Finder(goal=goal)
    probes: list[Probe] = []
    best: tuple[float, Result] | None = None
    scale = scenario.document.workload.arrivals.rate_scale
    for _ in range(search.max_runs):
        result = simulate(_at_rate(scenario, scale), seed=seed)
        probe = Probe(
            rate_scale=scale,
            interactivity_tokens_per_s=_interactivity(result),
            output_tokens_per_s_per_gpu=result.summary["output_tokens_per_s_per_gpu"],
        )
        probes.append(probe)
        if progress is not None:
            progress(probe)
        miss = abs(math.log(max(probe.interactivity_tokens_per_s, 1e-9) / goal))
        if best is None or miss < best[0]:
            best = (miss, result)
        if miss <= math.log1p(search.tolerance_frac):
            break
        scale = finder.next_scale(scale, probe.interactivity_tokens_per_s)
    if best is None:
        raise ConfigError(f"{scenario.name}: workload.search.max_runs: no run allowed; raise it")
    return OperatingPoint(
        result=best[1],
        probes=tuple(probes),
        is_met=best[0] <= math.log1p(search.tolerance_frac),
    )


class _Finder:
    """The bracket of a decreasing function on a log scale."""

    def __init__(self, *, goal: float) -> None:
        self._log_goal = math.log(goal)
        self._fast: tuple[float, float] | None = None
        self._slow: tuple[float, float] | None = None

    def next_scale(self, scale: float, value: float) -> float:
        """Return where to look next, after a scale gave a value."""
        point = (math.log(scale), math.log(max(value, 1e-9)))
        if point[1] > self._log_goal:
            self._fast = point
        else:
            self._slow = point
        if self._fast is None:
            return scale / _STRIDE
        if self._slow is None:
            return scale * _STRIDE
        (x_fast, y_fast), (x_slow, y_slow) = self._fast, self._slow
        share = (y_fast - self._log_goal) / (y_fast - y_slow)
        # a knee makes the secant creep along one end: stay off the ends
        share = min(max(share, 0.15), 0.85)
        return math.exp(x_fast + share * (x_slow - x_fast))


def _interactivity(result: Result) -> float:
    """Return what the median user got; unfinished requests count as slower than any other."""
    n, done = result.summary["n_requests"], result.summary["n_done"]
    if not n or done < n / 2:
        return 0.0
    value = result.summary[_METRIC]
    return 0.0 if math.isnan(value) else value


def _at_rate(scenario: Scenario, rate_scale: float) -> Scenario:
    document = scenario.document
    arrivals = document.workload.arrivals.model_copy(update={"rate_scale": rate_scale})
    workload = document.workload.model_copy(update={"arrivals": arrivals})
    return replace(scenario, document=document.model_copy(update={"workload": workload}))
