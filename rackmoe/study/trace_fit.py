"""Which parameters of the routing generator imitate a trace, and how well they do."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.families import RoutingStatistics
from rackmoe.routing.refinements import Refinements, log_lifts
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.statistics import LAGS, TraceStatistics, measure_trace
from rackmoe.routing.tokens import generate_token_trace
from rackmoe.routing.traces import TokenTrace
from rackmoe.streams import Streams

__all__ = ["TraceFit", "fit_parameters", "fit_trace"]

_ROUNDS = 10
_N_REQUESTS, _REQUEST_TOKENS = 192, 192  # of an imitation: many requests, all lags
_DAMPING = 0.9
_PAIR_GAIN = 2.5  # strength of the lifts per missing part of the busiest pairs
_FIRST_STRENGTH = 0.6
_LONG, _SHORT = slice(-2, None), slice(1, 5)  # lags of the request's effect, of short memory
_REQUEST_SD_MAX, _TOKEN_SD_MAX, _CHANCE_MAX = 4.0, 3.0, 0.95
_MEMORY_TOKENS = (1.5, 64.0)
_JITTER = 0.10  # as in the statistics deepseek_chat
_TINY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFit:
    """A parameter set that imitates a trace.

    Attributes
    ----------
    statistics : RoutingStatistics
        The parameters.
    share : ndarray of shape (L, E)
        Long-run weights of the experts to generate with: what the effects of
        requests and tokens flatten is made up for, so that `sharpening` is 1.
    strength : float
        Exponent of the lifts between adjacent layers (`log_lifts` of the trace).
    measured, regenerated : TraceStatistics
        The trace, and the imitation.
    trace : TokenTrace
        The imitation.
    """

    statistics: RoutingStatistics
    share: NDArray[np.float64]
    strength: float
    measured: TraceStatistics
    regenerated: TraceStatistics
    trace: TokenTrace

    @property
    def overlap_error(self) -> float:
        """Largest difference of the mean overlap over the lags."""
        return float(np.nanmax(np.abs(_overlap(self.regenerated) - _overlap(self.measured))))

    @property
    def pair_error_frac(self) -> float:
        """Busiest pairs of adjacent layers of the imitation minus those of the trace."""
        return _pairs(self.regenerated) - _pairs(self.measured)

    @property
    def popularity_error_frac(self) -> float:
        """Assignments that would have to move to other experts, mean over layers."""
        gap = np.abs(self.regenerated.share - self.measured.share)
        return float(gap.sum(axis=1).mean() / 2)


def fit_trace(trace: TokenTrace, *, seed: int = 0) -> TraceFit:
    """Fit the generator to a trace by comparing what it generates, round after round.

    Parameters
    ----------
    trace : TokenTrace
        What to imitate.
    seed : int
        Seed of the imitations.

    Returns
    -------
    TraceFit
        The best of the rounds.

    Raises
    ------
    TraceError
        If the requests are too short to see any memory.

    Notes
    -----
    A method of simulated moments [1]_ with one moment for each parameter, corrected
    in turn: the popularity of each expert by its weight; the overlap at long lags by
    `request_sd`; at short lags, beyond that, by `token_sd`; how fast it falls by
    `memory_tokens`; what the very next token has more by `reuse`; the busiest
    pairs of adjacent layers by `affinity`.

    References
    ----------
    .. [1] D. McFadden, "A method of simulated moments for estimation of discrete
       response models without numerical integration," Econometrica, vol. 57, 1989.
    """
    measured = measure_trace(trace)
    if np.isnan(_overlap(measured)[:3]).any():
        raise TraceError(
            f"{trace.header.model}: no request of {LAGS[2] + 1} tokens; expected some; "
            "fit a trace with whole requests"
        )
    shape = MoeShape(
        n_layers=trace.n_layers, n_experts=trace.header.n_experts, top_k=trace.header.top_k
    )
    lift, strength = log_lifts(measured.pairs), _FIRST_STRENGTH
    statistics, weight = _first_guess(measured, trace.header.model), _smooth(measured)
    target = np.log(weight)
    best: TraceFit | None = None
    for number in range(_ROUNDS):
        made = generate_token_trace(
            statistics,
            shape=shape,
            n_tokens=_N_REQUESTS * _REQUEST_TOKENS,
            n_requests=_N_REQUESTS,
            rng=Streams(seed).rng(f"trace fit {number}"),
            model=trace.header.model,
            share=weight,
            refinements=Refinements(log_lift=strength * lift),
        )
        regenerated = measure_trace(made)
        found = TraceFit(
            statistics=statistics,
            share=weight,
            strength=strength,
            measured=measured,
            regenerated=regenerated,
            trace=made,
        )
        best = found if best is None or _loss(found) < _loss(best) else best
        strength += _PAIR_GAIN * (_pairs(measured) - _pairs(regenerated))
        strength = max(strength, 0.0)
        statistics = _corrected(statistics, measured=measured, regenerated=regenerated)
        step = _DAMPING / (1 + number / 4)
        weight = np.exp(np.log(weight) + step * (target - np.log(_smooth(regenerated))))
        weight /= weight.sum(axis=1, keepdims=True)
    if best is None:  # for the type checker: there is at least one round
        raise TraceError(f"{trace.header.model}: no round of fitting; expected some; report it")
    return best


def fit_parameters(fit: TraceFit, *, seed: int = 0) -> RoutingStatistics:
    r"""Return parameters that imitate a trace without its own popularity and pairs of layers.

    Parameters
    ----------
    fit : TraceFit
        Of the trace.
    seed : int
        Seed of the imitations.

    Returns
    -------
    RoutingStatistics
        For popularity drawn anew, as a scenario does.

    Notes
    -----
    The spread of log popularity is that of a log-normal with the coefficient of variation
    c of a layer, which near-dead experts do not blow up; `sharpening` is corrected round
    by round until the imitation has it too, and the others as in `fit_trace`:

    .. math:: \sigma_l = \sqrt{\ln(1 + c_l^2)}
    """
    measured, header = fit.measured, fit.trace.header
    shape = MoeShape(n_layers=fit.trace.n_layers, n_experts=header.n_experts, top_k=header.top_k)
    sigma = np.sqrt(np.log1p(_variation(measured) ** 2))
    one = replace(
        fit.statistics, sigma_mean=float(sigma.mean()), sigma_sd=float(sigma.std()), sharpening=1.3
    )
    best, least = one, np.inf
    for number in range(_ROUNDS):
        made = generate_token_trace(
            one,
            shape=shape,
            n_tokens=_N_REQUESTS * _REQUEST_TOKENS,
            n_requests=_N_REQUESTS,
            rng=Streams(seed).rng(f"parameter fit {number}"),
        )
        got = measure_trace(made)
        skew = float(_variation(measured).mean() / _variation(got).mean())
        gaps = _overlap(got) - _overlap(measured)
        error = max(float(np.nanmax(np.abs(gaps))), abs(1.0 - skew))
        if error < least:
            best, least = one, error
        sharpening = one.sharpening * float(np.clip(skew**_DAMPING, 0.5, 2.0))
        one = replace(_corrected(one, measured=measured, regenerated=got), sharpening=sharpening)
    return best


def _variation(statistics: TraceStatistics) -> NDArray[np.float64]:
    """Return the coefficient of variation of the experts of each layer."""
    counts = statistics.counts
    return np.asarray(counts.std(axis=1) / counts.mean(axis=1))


def _first_guess(measured: TraceStatistics, model: str) -> RoutingStatistics:
    sigma = np.log(_smooth(measured)).std(axis=1)
    return RoutingStatistics(
        name=f"fitted to {model}",
        sigma_mean=float(sigma.mean()),
        sigma_sd=float(sigma.std()),
        sharpening=1.0,
        request_sd=1.2,
        token_sd=0.8,
        memory_tokens=5.0,
        reuse=0.1,
        affinity=0.0,
        step_jitter=_JITTER,
        power_law=None,
        source=f"fitted; a trace of {model}",
    )


def _corrected(
    statistics: RoutingStatistics, *, measured: TraceStatistics, regenerated: TraceStatistics
) -> RoutingStatistics:
    """Return parameters nearer to the trace, one moment for each."""
    aim, got = _moments(measured), _moments(regenerated)
    one = statistics
    memory = one.memory_tokens * np.clip((aim[2] / got[2]) ** _DAMPING, 0.5, 2.0)
    low, high = _MEMORY_TOKENS
    return replace(
        one,
        request_sd=min(_REQUEST_SD_MAX, one.request_sd * _growth(aim[0], got[0])),
        token_sd=min(_TOKEN_SD_MAX, one.token_sd * _growth(aim[1], got[1])),
        memory_tokens=float(np.clip(memory, low, high)),
        reuse=float(np.clip(one.reuse + _DAMPING * (aim[3] - got[3]), 0.0, _CHANCE_MAX)),
    )


def _moments(statistics: TraceStatistics) -> tuple[float, float, float, float]:
    """Return the excess at long lags, at short ones, its persistence, and that of lag 1."""
    excess = _overlap(statistics) - float(statistics.random_overlap.mean())
    known = excess[~np.isnan(excess)]
    long = max(float(known[_LONG].mean()), _TINY)
    short = np.maximum(known[_SHORT] - long, _TINY)
    persistence = float(short[-1] / short[0]) if short.size > 1 else 1.0
    return long, float(short.mean()), max(persistence, 1e-2), float(known[0] - known[1])


def _growth(aim: float, got: float) -> float:
    """Return the factor on a spread whose effect grows about with its square."""
    return float(np.clip((aim / got) ** (_DAMPING / 2), 0.5, 2.0))


def _loss(fit: TraceFit) -> float:
    """Return the worst error in units of what is asked for: 0.03, 3 points, 3 %."""
    return max(fit.overlap_error, abs(fit.pair_error_frac), fit.popularity_error_frac)


def _smooth(statistics: TraceStatistics) -> NDArray[np.float64]:
    """Return shares without zeros."""
    counts = statistics.counts + 0.5
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _overlap(statistics: TraceStatistics) -> NDArray[np.float64]:
    return np.asarray(statistics.overlap.mean(axis=1))


def _pairs(statistics: TraceStatistics) -> float:
    return float(statistics.pair_frac.mean()) if statistics.pair_frac.size else 0.0
