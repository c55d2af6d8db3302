"""Compiled choice of experts: exponential clocks race, the first top_k arrivals win."""

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_layer"]

_BLOCK = 16  # experts whose weights are summed, so that two short walks find a choice


@numba.njit(cache=True)
def draw_layer(
    routed: NDArray[np.unsignedinteger],
    layer: int,
    offsets: NDArray[np.int64],
    base: NDArray[np.float64],
    domain: NDArray[np.int64],
    early_tokens: int,
    early_boost: float,
    followers: NDArray[np.int64],
    lift: NDArray[np.float64],
    request_sd: float,
    token_sd: float,
    refresh: float,
    reuse: float,
    affinity: float,
    n_groups: int,
    top_groups: int,
    rng: np.random.Generator,
) -> None:
    """Draw the choices of one layer; see `rackmoe.routing.tokens.generate_token_trace`."""
    n_experts = base.shape[1]
    top_k = routed.shape[2]
    lasting = np.empty(n_experts)
    weight = np.empty(n_experts)
    pull = np.empty(n_experts) if lift.size else weight
    is_taken = np.zeros(n_experts, np.bool_)
    is_used = np.zeros(n_groups, np.bool_)
    chosen = np.empty(top_k, np.int64)
    wanted = np.empty(top_k, routed.dtype)
    for request in range(offsets.size - 1):
        first = offsets[request]
        likes = base[domain[request]]
        boost = early_boost if early_tokens > 0 else 1.0
        for expert in range(n_experts):
            lasting[expert] = np.exp(boost * likes[expert] + request_sd * rng.standard_normal())
            weight[expert] = lasting[expert] * np.exp(token_sd * rng.standard_normal())
        for token in range(first, offsets[request + 1]):
            n_chosen = 0
            is_used[:] = False
            if token - first == early_tokens:
                _settle(weight, lasting, likes, 1.0 - boost)
            if token > first:
                _redraw(weight, lasting, token_sd, refresh, rng)
                before = routed[token - 1, layer]
                n_chosen = _force(before, reuse, top_groups, is_taken, is_used, chosen, 0, rng)
            if affinity > 0.0:
                for k in range(top_k):
                    liked = followers[routed[token, layer - 1, k]]
                    wanted[k] = liked[int(rng.random() * liked.size)]
                n_chosen = _force(
                    wanted, affinity, top_groups, is_taken, is_used, chosen, n_chosen, rng
                )
            _lift(weight, lift, routed[token, max(layer - 1, 0)], pull)
            if n_groups > 1:
                _race_groups(pull, is_taken, is_used, chosen, n_chosen, top_groups, rng)
            else:
                _race(pull, is_taken, chosen, n_chosen, rng)
            for k in range(top_k):
                routed[token, layer, k] = chosen[k]
                is_taken[chosen[k]] = False


@numba.njit(cache=True)
def _settle(
    weight: NDArray[np.float64],
    lasting: NDArray[np.float64],
    likes: NDArray[np.float64],
    change: float,
) -> None:
    """Let the popularity of the first tokens give way to that of the rest."""
    if change == 0.0:
        return
    for expert in range(likes.size):
        factor = np.exp(change * likes[expert])
        lasting[expert] *= factor
        weight[expert] *= factor


@numba.njit(cache=True)
def _lift(
    weight: NDArray[np.float64],
    lift: NDArray[np.float64],
    before: NDArray[np.unsignedinteger],
    pull: NDArray[np.float64],
) -> None:
    """Write the weights after the choices of the layer before; nothing without lifts."""
    if lift.size == 0:
        return
    pull[:] = weight
    for chosen in before:
        pull *= lift[chosen]


@numba.njit(cache=True)
def _redraw(
    weight: NDArray[np.float64],
    lasting: NDArray[np.float64],
    token_sd: float,
    chance: float,
    rng: np.random.Generator,
) -> None:
    """Redraw the passing part of each weight with a given chance, skipping by geometric gaps."""
    if token_sd == 0.0:
        return
    per_gap = 1.0 / np.log1p(-chance)
    expert = int(np.log(1.0 - rng.random()) * per_gap)
    while expert < weight.size:
        weight[expert] = lasting[expert] * np.exp(token_sd * rng.standard_normal())
        expert += 1 + int(np.log(1.0 - rng.random()) * per_gap)


@numba.njit(cache=True)
def _force(
    wanted: NDArray[np.unsignedinteger],
    chance: float,
    top_groups: int,
    is_taken: NDArray[np.bool_],
    is_used: NDArray[np.bool_],
    chosen: NDArray[np.int64],
    n_chosen: int,
    rng: np.random.Generator,
) -> int:
    """Take each wanted expert with a chance, if allowed; return how many are chosen."""
    group_size = is_taken.size // is_used.size
    for expert in wanted:
        group = expert // group_size
        if rng.random() >= chance or n_chosen == chosen.size or is_taken[expert]:
            continue
        if is_used[group] or is_used.sum() < top_groups:
            is_used[group] = True
            is_taken[expert] = True
            chosen[n_chosen] = expert
            n_chosen += 1
    return n_chosen


@numba.njit(cache=True)
def _sum_free(
    weight: NDArray[np.float64], is_taken: NDArray[np.bool_], first: int, last: int
) -> float:
    total = 0.0
    for expert in range(first, last):
        if not is_taken[expert]:
            total += weight[expert]
    return total


@numba.njit(cache=True)
def _walk(
    weight: NDArray[np.float64],
    is_taken: NDArray[np.bool_],
    first: int,
    last: int,
    target: float,
) -> int:
    """Return the free expert at which the running sum of weights passes the target."""
    found = -1
    for expert in range(first, last):
        if is_taken[expert]:
            continue
        found = expert
        target -= weight[expert]
        if target < 0.0:
            break
    return found


@numba.njit(cache=True)
def _race(
    weight: NDArray[np.float64],
    is_taken: NDArray[np.bool_],
    chosen: NDArray[np.int64],
    n_chosen: int,
    rng: np.random.Generator,
) -> None:
    """Fill `chosen` by successive draws in proportion to weight, without replacement."""
    n_experts = weight.size
    n_blocks = (n_experts + _BLOCK - 1) // _BLOCK
    sums = np.empty(n_blocks)
    for block in range(n_blocks):
        sums[block] = _sum_free(
            weight, is_taken, block * _BLOCK, min(n_experts, (block + 1) * _BLOCK)
        )
    for k in range(n_chosen, chosen.size):
        target = rng.random() * sums.sum()
        at = -1
        for block in range(n_blocks):
            if sums[block] > 0.0:
                at = block
                if target < sums[block]:
                    break
                target -= sums[block]
        first, last = at * _BLOCK, min(n_experts, (at + 1) * _BLOCK)
        expert = _walk(weight, is_taken, first, last, target)
        is_taken[expert] = True
        chosen[k] = expert
        sums[at] = _sum_free(weight, is_taken, first, last)


@numba.njit(cache=True)
def _arrive(
    weight: NDArray[np.float64],
    is_taken: NDArray[np.bool_],
    first: int,
    last: int,
    rng: np.random.Generator,
) -> tuple[float, int]:
    """Return how long a group takes to its next arrival, and who arrives; take it."""
    total = _sum_free(weight, is_taken, first, last)
    if total <= 0.0:
        return np.inf, -1
    gap = rng.standard_exponential() / total
    expert = _walk(weight, is_taken, first, last, rng.random() * total)
    is_taken[expert] = True
    return gap, expert


@numba.njit(cache=True)
def _race_groups(
    weight: NDArray[np.float64],
    is_taken: NDArray[np.bool_],
    is_used: NDArray[np.bool_],
    chosen: NDArray[np.int64],
    n_chosen: int,
    top_groups: int,
    rng: np.random.Generator,
) -> None:
    """Fill `chosen` from the groups in use and those with the two best scores in sum.

    The score of an expert is minus the logarithm of its arrival time, so the
    first two arrivals of a group decide whether a token uses it.
    """
    n_groups = is_used.size
    size = weight.size // n_groups
    arrival = np.empty((2, n_groups))
    who = np.empty((2, n_groups), np.int64)
    for group in range(n_groups):
        first, last = group * size, (group + 1) * size
        arrival[0, group], who[0, group] = _arrive(weight, is_taken, first, last, rng)
        gap, who[1, group] = _arrive(weight, is_taken, first, last, rng)
        arrival[1, group] = arrival[0, group] + gap
    _choose_groups(arrival, is_used, top_groups)
    for k in range(n_chosen, chosen.size):
        lead = -1
        for group in range(n_groups):
            if is_used[group] and (lead < 0 or arrival[0, group] < arrival[0, lead]):
                lead = group
        chosen[k] = who[0, lead]
        arrival[0, lead], who[0, lead] = arrival[1, lead], who[1, lead]
        gap, who[1, lead] = _arrive(weight, is_taken, lead * size, (lead + 1) * size, rng)
        arrival[1, lead] = arrival[0, lead] + gap
    for expert in who.ravel():
        if expert >= 0:
            is_taken[expert] = False


@numba.njit(cache=True)
def _choose_groups(
    arrival: NDArray[np.float64], is_used: NDArray[np.bool_], top_groups: int
) -> None:
    """Use the groups with the largest sum of their two best scores, up to the limit."""
    for _ in range(top_groups - is_used.sum()):
        best = -1
        best_score = -np.inf
        for group in range(is_used.size):
            score = -np.log(arrival[0, group])
            if np.isfinite(arrival[1, group]):
                score -= np.log(arrival[1, group])
            if not is_used[group] and (best < 0 or score > best_score):
                best, best_score = group, score
        is_used[best] = True
