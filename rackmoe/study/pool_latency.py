"""What first and further tokens take in pools of some sizes: predicted, not simulated."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.serving.prompts import Prompt
from rackmoe.serving.running import RunningSequences
from rackmoe.serving.step_batch import BatchLimits, StepBatch
from rackmoe.streams import Streams
from rackmoe.study.waiting_time import mean_wait_s, sampled_waits_s

__all__ = [
    "DecodePace",
    "PromptTraffic",
    "decode_step_s",
    "decode_tpot_s",
    "lone_prompt_s",
    "ttft_p99_s",
]

_N_LENGTHS = 9
"""Prompt lengths that are planned; others are interpolated (kind: assumed)."""
_N_SAMPLES = 20_000
"""Requests drawn for a percentile (kind: assumed; 200 of them lie beyond it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTraffic:
    """What a prefill pool is given.

    Attributes
    ----------
    rate_requests_per_s : float
        Mean arrival rate. [1/s]
    arrival_cv : float
        Coefficient of variation of the gaps between arrivals.
    input_tokens : ndarray of shape (n_requests,)
        Prompt lengths.
    alone_s : ndarray of shape (n_requests,)
        What each takes in an empty replica, queues left out. [s]
    request_s : float
        What a request takes beside its queue and its prompt: the frontend, and the handshake
        of the transfer. [s]
    """

    rate_requests_per_s: float
    arrival_cv: float
    input_tokens: NDArray[np.int64]
    alone_s: NDArray[np.float64]
    request_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodePace:
    """What a decode pool is given.

    Attributes
    ----------
    rate_tokens_per_s : float
        Output tokens that all users together wait for in a second. [1/s]
    tokens_per_step : float
        Tokens that a sequence gets from a step on average.
    context : int
        Mean context. [tokens]
    """

    rate_tokens_per_s: float
    tokens_per_step: float
    context: int


def lone_prompt_s(plan: PoolPlan, *, input_tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how long prompts take in a replica that computes nothing else.

    Parameters
    ----------
    plan : PoolPlan
        The prefill pool.
    input_tokens : ndarray of shape (n_requests,)
        Prompt lengths.

    Returns
    -------
    ndarray of shape (n_requests,)
        From planned steps of a few lengths, linear between them. [s]
    """
    low, high = int(input_tokens.min()), int(input_tokens.max())
    lengths = np.unique(np.geomspace(low, high, _N_LENGTHS).astype(np.int64))
    lengths[-1] = high
    times_s = [_prompt_s(plan, n_tokens=int(n)) for n in lengths]
    return np.interp(input_tokens, lengths, times_s)


def _prompt_s(plan: PoolPlan, *, n_tokens: int) -> float:
    limits = plan.limits
    running = RunningSequences(n_groups=limits.n_groups, block_tokens=limits.block_tokens)
    prompt = Prompt(request=0, n_tokens=n_tokens)
    total_s = 0.0
    while prompt.done_tokens < n_tokens:
        chunk = prompt.cut(limits.max_tokens_per_step, group=0)
        none = np.zeros(limits.n_groups, dtype=np.int64)
        tokens = none.copy()
        tokens[0] = chunk.n_tokens
        batch = StepBatch(
            decode_sequences=none,
            decode_kv_tokens=none,
            decode_window_tokens=none,
            prefill_tokens=tokens,
            chunks=(chunk,),
            preempted=(),
        )
        total_s += plan.law.plan(batch, running=running).duration_s
    return total_s


def ttft_p99_s(
    traffic: PromptTraffic,
    *,
    limits: BatchLimits,
    n_servers: int,
    n_replicas: int,
    service_s: float,
) -> float:
    """Return the 99th percentile of the time to the first token, all but the bytes of its cache.

    Parameters
    ----------
    traffic : PromptTraffic
        What comes.
    limits : BatchLimits
        Of the prefill pool.
    n_servers : int
        Attention groups of all replicas: each is a server of a GI/G/k queue, whose service
        takes as long as its share of full steps.
    n_replicas : int
        Replicas, whose groups step together: a prompt waits until the running step ends.
    service_s : float
        Mean service of a prompt in full steps. [s]

    Returns
    -------
    float
        Of requests drawn from the traffic, with waits of their own; infinite where the pool
        cannot keep up. [s]
    """
    rate = traffic.rate_requests_per_s
    lengths = traffic.input_tokens
    service_cv = float(lengths.std() / lengths.mean())
    mean_s = mean_wait_s(
        n_servers,
        rate_requests_per_s=rate,
        service_s=service_s,
        arrival_cv=traffic.arrival_cv,
        service_cv=service_cv,
    )
    if not np.isfinite(mean_s):
        return float("inf")
    # one seed for all sizes, so that they differ by nothing else
    rng = Streams(0).rng("predicted first tokens")
    waits_s = sampled_waits_s(
        n_servers, load=rate * service_s, mean_s=mean_s, n_samples=_N_SAMPLES, rng=rng
    )
    own = rng.integers(0, lengths.size, _N_SAMPLES)
    before = rng.integers(0, lengths.size, _N_SAMPLES)
    busy_frac = min(1.0, rate / n_replicas * float(traffic.alone_s.mean()))
    step_s = np.minimum(traffic.alone_s[before], _longest_step_s(traffic, limits))
    rest_s = (rng.random(_N_SAMPLES) < busy_frac) * rng.random(_N_SAMPLES) * step_s
    total_s = traffic.request_s + waits_s + rest_s + traffic.alone_s[own]
    return float(np.percentile(total_s, 99))


def _longest_step_s(traffic: PromptTraffic, limits: BatchLimits) -> float:
    """Return what the longest prompt that takes one step takes; any step where none does."""
    fits = traffic.input_tokens <= limits.max_tokens_per_step
    times_s = traffic.alone_s[fits] if fits.any() else traffic.alone_s
    return float(times_s.max())


def decode_tpot_s(plan: PoolPlan, *, pace: DecodePace, n_replicas: int) -> float:
    r"""Return the mean time per output token of a decode pool in the steady state.

    Parameters
    ----------
    plan : PoolPlan
        The decode pool.
    pace : DecodePace
        What it is given.
    n_replicas : int
        Its replicas.

    Returns
    -------
    float
        Infinite where not even the largest batch keeps up. [s]

    Notes
    -----
    Little's law: with b sequences in each of g groups, a step of t(b) emits :math:`g b` times
    the tokens of a step; the smallest b that keeps up is that of the steady state.
    """
    limits = plan.limits
    n_groups = n_replicas * plan.pool.pp * limits.n_groups
    low, high = 1, limits.max_sequences + 1
    while low < high:
        middle = (low + high) // 2
        step_s = decode_step_s(plan, n_sequences=middle, context=pace.context)
        if n_groups * middle * pace.tokens_per_step / step_s >= pace.rate_tokens_per_s:
            high = middle
        else:
            low = middle + 1
    if low > limits.max_sequences:
        return float("inf")
    return decode_step_s(plan, n_sequences=low, context=pace.context) / pace.tokens_per_step


def decode_step_s(plan: PoolPlan, *, n_sequences: int, context: int) -> float:
    """Return how long a step of equal sequences takes.

    Parameters
    ----------
    plan : PoolPlan
        The decode pool.
    n_sequences : int
        Sequences of each attention group.
    context : int
        Tokens in the cache of each.

    Returns
    -------
    float
        Duration. [s]
    """
    limits = plan.limits
    running = RunningSequences(
        n_groups=limits.n_groups, block_tokens=limits.block_tokens, window=limits.window
    )
    for group in range(limits.n_groups):
        for _ in range(n_sequences):
            running.add(0, group=group, context=context, remaining=1, row=0)
    none = np.zeros(limits.n_groups, dtype=np.int64)
    batch = StepBatch(
        decode_sequences=running.n_sequences.copy(),
        decode_kv_tokens=running.kv_tokens.copy(),
        decode_window_tokens=running.window_kv_tokens.copy(),
        prefill_tokens=none,
        chunks=(),
        preempted=(),
        tokens_per_sequence=1 + limits.draft_tokens,
    )
    return plan.law.plan(batch, running=running).duration_s
