"""At which arrival rate a machine still gives its users the speed that they ask for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rackmoe.engine.run import Progress
from rackmoe.errors import ConfigError
from rackmoe.scenario.arrivals import Arrivals
from rackmoe.scenario.resolved import Scenario
from rackmoe.simulation import Result, simulate

__all__ = ["OperatingPoint", "Probe", "find_operating_point"]

ProbeProgress = Callable[["Probe"], None]
"""Takes every run of the search when it is done."""

# The first steps of the search change the rate by this factor.
_STRIDE = 2.0
# Nearest to an end of the bracket that the next rate may be, as a share of it.
_CLOSEST = 0.2
# Shares of unfinished requests beyond which a median, and a 99th percentile, are unknown.
_MEDIAN, _TAIL = 0.5, 0.01
# Headroom of a machine that serves nobody.
_LEAST = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One run of a search.

    Attributes
    ----------
    rate_scale : float
        Factor on the arrival rate of the workload.
    interactivity_tokens_per_s : float
        What the median user got; 0 if nobody was served. [1/s]
    ttft_p99_s : float
        Slowest first tokens. [s]
    output_tokens_per_s_per_gpu : float
        What the machine delivered. [1/s]
    headroom : float
        How much faster than asked the tightest limit was; below 1 it was missed.
    limit : str
        The tightest limit.
    """

    rate_scale: float
    interactivity_tokens_per_s: float
    ttft_p99_s: float
    output_tokens_per_s_per_gpu: float
    headroom: float
    limit: str


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
    scenario: Scenario,
    *,
    seed: int = 0,
    progress: ProbeProgress | None = None,
    run_progress: Progress | None = None,
) -> OperatingPoint:
    """Scale the arrival rate until the median user gets just the wanted tokens per second.

    A machine whose queue of prompts grows has no operating point, however fast it
    decodes: where the scenario has an SLO for the first token, its 99th percentile
    is a limit too. More traffic brings the machine nearer to its limits, so the
    rate is bracketed and then found by the secant of log rate against the log of
    the headroom to the tightest limit, kept inside the bracket.

    Parameters
    ----------
    scenario : Scenario
        A scenario whose workload has a `search`.
    seed : int
        Seed of every run: all probes see the same traffic, faster or slower.
    progress : callable, optional
        Told about every run when it is done.
    run_progress : callable, optional
        Told how far each run is, as by `simulate`.

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
    bracket = _Bracket()
    tolerance = math.log1p(search.tolerance_frac)
    runs: list[tuple[Probe, Result]] = []
    scale = _arrivals(scenario).rate_scale
    is_met = False
    while len(runs) < search.max_runs and not is_met:
        try:
            result = simulate(_at_rate(scenario, scale), seed=seed, progress=run_progress)
        except ConfigError as error:
            if not runs:
                raise
            raise _unreachable(scenario, probes=[one for one, _ in runs]) from error
        probe = _probe(result, scale, goal_tokens_per_s=search.interactivity_tokens_per_s)
        runs.append((probe, result))
        if progress is not None:
            progress(probe)
        bracket.add(scale, headroom=probe.headroom)
        is_met = abs(math.log(probe.headroom)) <= tolerance or bracket.width <= tolerance
        scale = bracket.next_scale()
    return OperatingPoint(
        result=min(runs, key=lambda run: _distance(run[0], tolerance=tolerance))[1],
        probes=tuple(probe for probe, _ in runs),
        is_met=is_met,
    )


def _unreachable(scenario: Scenario, *, probes: Sequence[Probe]) -> ConfigError:
    """Return what to say where so little traffic is left that it cannot be run."""
    best = max(probes, key=lambda one: one.headroom)
    return ConfigError(
        f"{scenario.name}: workload.search: no rate reaches the goal; at"
        f" {best.rate_scale:.3g} times the traffic the median user still got"
        f" {best.interactivity_tokens_per_s:.3g} tokens/s, and 99 % of the first tokens came"
        f" within {best.ttft_p99_s:.3g} s; lower the goal or change the deployment"
    )


def _distance(probe: Probe, *, tolerance: float) -> tuple[bool, float]:
    """Order runs: those that keep the limits first, the busiest of them before the others."""
    log_headroom = math.log(probe.headroom)
    if log_headroom < -tolerance:
        return True, -log_headroom
    return False, -probe.rate_scale


def _probe(result: Result, scale: float, *, goal_tokens_per_s: float) -> Probe:
    """Return what a run says about its rate; unfinished requests are slower than any other."""
    summary = result.summary
    got = summary["interactivity_p50_tokens_per_s"]
    ttft_s = summary["ttft_p99_s"]
    unfinished_frac = 1 - summary["n_done"] / max(summary["n_requests"], 1)
    if unfinished_frac > _MEDIAN or math.isnan(got):
        got = 0.0
    if unfinished_frac > _TAIL or math.isnan(ttft_s):
        ttft_s = math.inf
    headrooms = {"interactivity": got / goal_tokens_per_s}
    allowed_s = result.scenario.document.slo.ttft_s
    if allowed_s is not None:
        headrooms["ttft"] = allowed_s / ttft_s
    limit = min(headrooms, key=lambda name: headrooms[name])
    return Probe(
        rate_scale=scale,
        interactivity_tokens_per_s=got,
        ttft_p99_s=ttft_s,
        output_tokens_per_s_per_gpu=summary["output_tokens_per_s_per_gpu"],
        headroom=max(headrooms[limit], _LEAST),
        limit=limit,
    )


class _Bracket:
    """Where the headroom is 1, between a rate that leaves some and one that leaves none."""

    def __init__(self) -> None:
        self._fast: tuple[float, float] | None = None
        self._slow: tuple[float, float] | None = None

    @property
    def width(self) -> float:
        """Logarithm of the ratio of both rates; infinite while one is unknown."""
        if self._fast is None or self._slow is None:
            return math.inf
        return self._slow[0] - self._fast[0]

    def add(self, scale: float, *, headroom: float) -> None:
        """Narrow the bracket by a run."""
        point = (math.log(scale), math.log(headroom))
        if point[1] > 0:
            self._fast = point if self._fast is None else max(self._fast, point)
        else:
            self._slow = point if self._slow is None else min(self._slow, point)
        if self.width < 0:
            # noise of bursts near the limit: the lower rate decides
            self._fast = None

    def next_scale(self) -> float:
        """Return where to look next."""
        if self._slow is None:
            return math.exp(self._fast[0]) * _STRIDE if self._fast else 1.0
        if self._fast is None:
            return math.exp(self._slow[0]) / _STRIDE
        (x_fast, y_fast), (x_slow, y_slow) = self._fast, self._slow
        share = y_fast / (y_fast - y_slow)
        # a knee makes the secant creep along one end: stay off the ends
        share = min(max(share, _CLOSEST), 1 - _CLOSEST)
        return math.exp(x_fast + share * (x_slow - x_fast))


def _arrivals(scenario: Scenario) -> Arrivals:
    """Return the arrivals whose rate a search scales."""
    arrivals = scenario.document.workload.arrivals
    if arrivals is None:
        raise ConfigError(
            f"{scenario.name}: workload.arrivals: missing; a search scales common arrivals; "
            "write them and each application's share"
        )
    return arrivals


def _at_rate(scenario: Scenario, rate_scale: float) -> Scenario:
    document = scenario.document
    arrivals = _arrivals(scenario).model_copy(update={"rate_scale": rate_scale})
    workload = document.workload.model_copy(update={"arrivals": arrivals})
    return replace(scenario, document=document.model_copy(update={"workload": workload}))
