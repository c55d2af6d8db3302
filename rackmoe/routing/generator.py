"""How popular experts are, and how a step's counts scatter around that."""

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from rackmoe.routing.families import RoutingStatistics
from rackmoe.routing.shape import MoeShape

__all__ = [
    "CountNoise",
    "inclusion",
    "popularity",
    "scatter_counts",
    "scatter_counts_plain",
]


# The spread per layer is clipped to what was measured on DeepSeek-V3 layers (moe-balance).
_SIGMA_RANGE = (0.45, 1.25)
# Correlation of successive steps' deviations; measured 0.26 to 0.31 on gpt-oss-20b (replayed).
_STEP_MEMORY = 0.3
# Range of the loads of aiconfigurator's collector: 1 to 0.8 x tokens, at this many tokens.
_POWER_LAW_TOP_FRAC = 0.8
_POWER_LAW_TOKENS = 4096
# Steps whose random numbers are drawn at once: a call costs more than the few numbers of one.
_STEPS_PER_DRAW = 64


def popularity(
    statistics: RoutingStatistics, *, shape: MoeShape, rng: np.random.Generator
) -> NDArray[np.float64]:
    r"""Return the part of a layer's assignments that each expert gets in the long run.

    Parameters
    ----------
    statistics : RoutingStatistics
        Parameters.
    shape : MoeShape
        Layers, experts and top-k of the model.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray of shape (L, E)
        Positive; each row adds up to 1.

    Notes
    -----
    The popularity of a layer is log-normal. Its values are the means of the
    distribution over E equally likely strata, in random order, so that a layer
    has the skew of its sigma and not that of a lucky draw: with
    :math:`z_i = \Phi^{-1}(i / E)`,

    .. math:: p_i = \Phi(z_{i+1} - \sigma_l) - \Phi(z_i - \sigma_l)
    """
    size = (shape.n_layers, shape.n_experts)
    order = np.argsort(rng.random(size), axis=1, kind="stable")
    if statistics.power_law is not None:
        quantile = (np.arange(shape.n_experts) + rng.random(size)) / shape.n_experts
        weight = _power_law(quantile, exponent=statistics.power_law)
    else:
        spread = rng.standard_normal(shape.n_layers)
        sigma = statistics.sigma_mean + statistics.sigma_sd * spread
        if statistics.sigma_sd > 0.0:
            low, high = _SIGMA_RANGE
            low, high = min(low, statistics.sigma_mean), max(high, statistics.sigma_mean)
            sigma = np.clip(sigma, low, high)
        edges = ndtri(np.arange(shape.n_experts + 1) / shape.n_experts)
        weight = np.diff(ndtr(edges - sigma[:, None]), axis=1)
    weight = np.take_along_axis(weight, order, axis=1)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def inclusion(share: NDArray[np.float64], *, top_k: int) -> NDArray[np.float64]:
    """Return how likely a token chooses each expert, if shares add up to 1 in a layer.

    Parameters
    ----------
    share : ndarray of shape (L, E)
        Part of the assignments of each expert.
    top_k : int
        Experts per token.

    Returns
    -------
    ndarray of shape (L, E)
        At most 1; each row adds up to `top_k`. What exceeds 1 goes to the
        other experts in proportion.
    """
    chance = share * top_k
    for _ in range(share.shape[1]):
        full = chance >= 1.0
        excess = np.where(full, chance - 1.0, 0.0).sum(axis=1, keepdims=True)
        if not (excess > 0.0).any():
            break
        rest = np.where(full, 0.0, chance)
        room = rest.sum(axis=1, keepdims=True)
        chance = np.where(
            full, 1.0, chance + excess * rest / np.maximum(room, np.finfo(float).tiny)
        )
    return np.minimum(chance, 1.0)


class CountNoise:
    """Draw the counts of successive steps without following tokens.

    Parameters
    ----------
    chance : ndarray of shape (L, E)
        Probability that a token chooses an expert; rows add up to top_k.
    top_k : int
        Experts per token.
    step_jitter : float
        Spread of log popularity between steps, beyond that of independent tokens.
    rng : numpy.random.Generator
        Source of randomness.
    bank_size : int
        Noise fields that are drawn once and then re-used in random order.
    """

    def __init__(
        self,
        chance: NDArray[np.float64],
        *,
        top_k: int,
        step_jitter: float,
        rng: np.random.Generator,
        bank_size: int = 64,
    ) -> None:
        self.set_chance(chance)
        self._top_k = top_k
        self._jitter = step_jitter
        self._rng = rng
        n_layers, n_experts = chance.shape
        self._bank = rng.standard_normal((bank_size, 2, n_layers, n_experts)).astype(np.float32)
        self._state = self._bank[0].copy()
        self._picks = np.empty((0, n_layers), np.int64)
        self._tosses = np.empty((0, 2, n_layers))
        self._n_used = 0

    def set_chance(self, chance: NDArray[np.float64]) -> None:
        """Draw around other probabilities from now on.

        Parameters
        ----------
        chance : ndarray of shape (L, E)
            Probability that a token chooses an expert; rows add up to top_k.
        """
        self._root_chance = np.sqrt(chance).astype(np.float32)
        self._half_scatter = (0.5 * np.sqrt(1.0 - chance)).astype(np.float32)

    def draw(self, n_tokens: int, *, out: NDArray[np.int32]) -> NDArray[np.int32]:
        """Draw the assignments per expert of one step.

        Parameters
        ----------
        n_tokens : int
            Tokens of the step.
        out : ndarray of shape (L, E), int32
            Where to write them.

        Returns
        -------
        ndarray of shape (L, E), int32
            `out`; each row adds up to ``n_tokens * top_k``.
        """
        if self._n_used == len(self._picks):
            self._draw_ahead()
        scatter_counts(
            self._root_chance,
            self._half_scatter,
            n_tokens,
            n_tokens * self._top_k,
            self._jitter,
            self._bank,
            self._picks[self._n_used],
            self._tosses[self._n_used],
            self._state,
            out,
        )
        self._n_used += 1
        return out

    def _draw_ahead(self) -> None:
        """Draw the noise fields, their signs and where rounding starts for the next steps."""
        n_layers = len(self._root_chance)
        self._picks = self._rng.integers(0, len(self._bank), (_STEPS_PER_DRAW, n_layers))
        self._tosses = self._rng.random((_STEPS_PER_DRAW, 2, n_layers))
        self._n_used = 0


@numba.njit(cache=True)
def scatter_counts(
    root_chance: NDArray[np.float32],
    half_scatter: NDArray[np.float32],
    n_tokens: int,
    n_assignments: int,
    jitter: float,
    bank: NDArray[np.float32],
    pick: NDArray[np.integer],
    chance: NDArray[np.float64],
    state: NDArray[np.float32],
    out: NDArray[np.int32],
) -> None:
    r"""Write counts of a step: jittered popularity, binomial noise, exact sums.

    The noise follows a first-order autoregression from step to step. A count
    with mean m is :math:`(\sqrt m + a z / 2)^2 - a^2 / 4`, which has the mean m
    and about the variance :math:`m (1 - q)` of independent tokens, with
    :math:`a = \min(1, m) \sqrt{1 - q}`: below one token, systematic rounding of
    the running sum, which also keeps the sum exact, is all the noise there is.
    Of each layer's `chance`, the first tosses the sign of its noise field, and
    rounding starts at the second.
    """
    n_layers, n_experts = root_chance.shape
    keep = np.float32(_STEP_MEMORY)
    fresh = np.float32(np.sqrt(1.0 - _STEP_MEMORY * _STEP_MEMORY))
    # noise needs no double precision, which halves the numbers in a register
    none, one = np.float32(0.0), np.float32(1.0)
    second, sixth = np.float32(1 / 2), np.float32(1 / 6)
    half_jitter = np.float32(0.5 * jitter)
    root_tokens, most = np.float32(np.sqrt(float(n_tokens))), np.float32(n_tokens)
    value = np.empty(n_experts, np.float32)
    for layer in range(n_layers):
        wander, noise, counts = state[0, layer], state[1, layer], out[layer]
        new_wander, new_noise = bank[pick[layer], 0, layer], bank[pick[layer], 1, layer]
        root_mean, half_width = root_chance[layer], half_scatter[layer]
        turn = -fresh if chance[0, layer] < 0.5 else fresh  # noqa: PLR2004 - a coin
        for expert in range(n_experts):
            wander[expert] = keep * wander[expert] + turn * new_wander[expert]
            noise[expert] = keep * noise[expert] + turn * new_noise[expert]
            # the root of exp(jitter * wander), to third order: its argument is small
            x = half_jitter * wander[expert]
            growth = max(none, one + x * (one + x * (second + x * sixth)))
            root = root_tokens * root_mean[expert] * growth
            half = min(one, root * root) * half_width[expert]
            root = max(none, root + half * noise[expert])
            value[expert] = min(max(none, root * root - half * half), most)
        total = _sum(value)
        scale = n_assignments / total if total > 0.0 else 0.0
        running = chance[1, layer]
        before = 0
        for expert in range(n_experts - 1):
            running += value[expert] * scale
            after = min(int(running), n_assignments)
            counts[expert] = after - before
            before = after
        counts[n_experts - 1] = n_assignments - before


@numba.njit(cache=True, fastmath={"reassoc"})
def _sum(values: NDArray[np.float32]) -> float:
    # Free to add in any order, which is several times as fast.
    total = 0.0
    for index in range(values.size):
        total += values[index]
    return total


def scatter_counts_plain(
    chance: NDArray[np.float64],
    *,
    n_tokens: int,
    n_assignments: int,
    jitter: float,
    fields: NDArray[np.float64],
    start: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return what `scatter_counts` writes for given noise fields, in plain NumPy.

    Parameters
    ----------
    chance : ndarray of shape (L, E)
        Probability that a token chooses an expert.
    n_tokens, n_assignments : int
        Tokens and assignments of the step.
    jitter : float
        Spread of log popularity between steps.
    fields : ndarray of shape (2, L, E)
        The state after this step: wandering popularity and noise of tokens.
    start : ndarray of shape (L,)
        Where rounding starts, 0 to 1.

    Returns
    -------
    ndarray of shape (L, E)
        Assignments; each row adds up to `n_assignments`.
    """
    x = 0.5 * jitter * fields[0]
    growth = np.maximum(0.0, 1.0 + x * (1.0 + x * (0.5 + x / 6.0)))
    mean = n_tokens * chance * growth * growth
    half = 0.5 * np.minimum(1.0, mean) * np.sqrt(1.0 - chance)
    root = np.maximum(0.0, np.sqrt(mean) + half * fields[1])
    value = np.clip(root * root - half * half, 0.0, n_tokens)
    total = value.sum(axis=1, keepdims=True)
    running = start[:, None] + np.cumsum(value * n_assignments / total, axis=1)
    edges = np.floor(running)
    edges[:, -1] = n_assignments
    return np.asarray(np.diff(edges, axis=1, prepend=0.0).astype(np.int64))


def _power_law(probability: NDArray[np.float64], *, exponent: float) -> NDArray[np.float64]:
    """Return quantiles of the density x**-exponent between 1 and 0.8 x tokens."""
    power = 1.0 - exponent
    top = _POWER_LAW_TOP_FRAC * _POWER_LAW_TOKENS
    return np.asarray((1.0 + probability * (top**power - 1.0)) ** (1.0 / power))
