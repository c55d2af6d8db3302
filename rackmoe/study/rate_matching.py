"""How many prefill and decode replicas a workload and its goals ask for."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.errors import ConfigError
from rackmoe.scenario.resolved import Scenario
from rackmoe.scenario.traffic import build_traffic
from rackmoe.serving.prompts import Prompt
from rackmoe.serving.running import RunningSequences
from rackmoe.serving.step_batch import BatchLimits, PrefillChunk, StepBatch
from rackmoe.streams import Streams
from rackmoe.study.pool_latency import (
    DecodePace,
    PromptTraffic,
    decode_step_s,
    lone_prompt_s,
)
from rackmoe.study.pool_sizes import Candidates, PoolSizes

__all__ = ["PoolRate", "RateMatch", "decode_rate", "match_rates", "prefill_rate"]

_N_STEPS = 32
"""Prefill steps whose mean is taken (kind: assumed; a few per cent of noise)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRate:
    """What one replica of a pool can take.

    Attributes
    ----------
    requests_per_s : float
        Requests, if there are always enough. [1/s]
    step_s : float
        Mean duration of the steps for which this holds. [s]
    sequences_per_group : float
        Sequences, or pieces of prompts, of an attention group in such a step.
    """

    requests_per_s: float
    step_s: float
    sequences_per_group: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateMatch:
    """Sizes of two pools that fit a workload and each other.

    Attributes
    ----------
    arrival_requests_per_s : float
        Mean rate of the workload. [1/s]
    input_tokens_mean, output_tokens_mean : float
        Its mean lengths.
    prefill, decode : PoolRate
        What a replica of each can take.
    chosen : PoolSizes
        The fewest GPUs of those tried that met every limit; the proposal where none did.
    tried : tuple of PoolSizes
        The proposal, then its neighbors.
    """

    arrival_requests_per_s: float
    input_tokens_mean: float
    output_tokens_mean: float
    prefill: PoolRate
    decode: PoolRate
    chosen: PoolSizes
    tried: tuple[PoolSizes, ...]


def match_rates(
    scenario: Scenario, *, seed: int = 0, utilization_frac: float = 0.8, is_checked: bool = True
) -> RateMatch:
    """Propose pool sizes for the traffic and goals of a scenario, and run them.

    Replicas have the shape that the scenario gives them; their number there does not
    matter. Capacities come from planned steps: full ones with prompts of the workload, and
    the largest decode batch of mean contexts that is fast enough. Prefill replicas are added
    until the wait of a GI/G/k queue lets the 99th percentile of first tokens meet the SLO.
    The proposal runs; so do its neighbors, with a replica less of either pool where
    the proposal meets the SLO and capacity allows, and with one more where it does not.

    Parameters
    ----------
    scenario : Scenario
        A split deployment with open arrivals and an SLO for the time per output token.
    seed : int
        Seed of traffic and routing.
    utilization_frac : float
        Share of its capacity that a replica shall use; what is left absorbs bursts.
    is_checked : bool
        Whether to run the proposal and its neighbors.

    Returns
    -------
    RateMatch
        What was tried; an SLO is met if the median time per output token, and the 99th
        percentile of the time to the first one, are within the SLO.

    Raises
    ------
    ConfigError
        If the scenario has no such pools, arrivals or SLO, or no batch meets it.
    """
    document, place = scenario.document, scenario.name
    deployment, tpot_s = document.deployment, document.slo.tpot_s
    if deployment.prefill is None or deployment.decode is None:
        raise ConfigError(f"{place}: deployment: one pool; expected prefill and decode; split it")
    if tpot_s is None:
        raise ConfigError(f"{place}: slo: no tpot; it decides the decode batch; write slo.tpot")
    traffic = build_traffic(document, streams=Streams(seed)).requests
    if traffic.is_closed_loop or len(traffic) < 2 or not np.ptp(traffic.arrival_s):  # noqa: PLR2004
        raise ConfigError(
            f"{place}: workload.arrivals: no rate; expected open arrivals such as poisson"
        )
    rate = (len(traffic) - 1) / float(np.ptp(traffic.arrival_s))
    n_input, n_output = float(traffic.input_tokens.mean()), float(traffic.output_tokens.mean())
    routing = RoutingInputs(scenario, streams=Streams(seed))
    plans = {
        name: plan_pool(scenario, name=name, routing=routing) for name in ("prefill", "decode")
    }
    prefill = prefill_rate(
        plans["prefill"],
        input_tokens=traffic.input_tokens,
        rng=Streams(seed).rng("full prefill steps"),
    )
    decode = decode_rate(
        plans["decode"],
        input_tokens=n_input,
        output_tokens=n_output,
        tpot_s=tpot_s,
        tokens_per_step=_tokens_per_step(scenario, deployment.decode.draft_tokens),
    )
    n_prefill, n_decode = (
        max(1, math.ceil(rate / (utilization_frac * one.requests_per_s)))
        for one in (prefill, decode)
    )
    gaps_s = np.diff(np.sort(traffic.arrival_s[~np.isnan(traffic.arrival_s)]))
    host = scenario.backend.host_on(scenario.machine.gpu.name)
    candidates = Candidates(
        scenario=scenario,
        plans=plans,
        prefill_requests_per_s=prefill.requests_per_s,
        prompts=PromptTraffic(
            rate_requests_per_s=rate,
            arrival_cv=float(gaps_s.std() / gaps_s.mean()),
            input_tokens=traffic.input_tokens,
            alone_s=lone_prompt_s(plans["prefill"], input_tokens=traffic.input_tokens),
            request_s=host.request_s.value + scenario.backend.kv.setup_s.value,
        ),
        pace=DecodePace(
            rate_tokens_per_s=rate * n_output,
            tokens_per_step=_tokens_per_step(scenario, deployment.decode.draft_tokens),
            context=max(1, round(n_input + n_output / 2)),
        ),
    )
    proposed = candidates.propose(n_prefill=n_prefill, n_decode=n_decode)
    tried = (
        candidates.run_around(proposed, least=(n_prefill, n_decode), seed=seed)
        if is_checked
        else [proposed]
    )
    return RateMatch(
        arrival_requests_per_s=rate,
        input_tokens_mean=n_input,
        output_tokens_mean=n_output,
        prefill=prefill,
        decode=decode,
        chosen=min((one for one in tried if one.is_met), key=_gpus, default=tried[0]),
        tried=tuple(tried),
    )


def _gpus(sizes: PoolSizes) -> int:
    return sizes.n_gpus


def prefill_rate(
    plan: PoolPlan, *, input_tokens: NDArray[np.int64], rng: np.random.Generator
) -> PoolRate:
    """Return what a prefill replica can take when its queue never ends.

    Parameters
    ----------
    plan : PoolPlan
        The pool.
    input_tokens : ndarray of shape (n_requests,)
        Prompts of the workload.
    rng : numpy.random.Generator
        Draws from them.

    Returns
    -------
    PoolRate
        From a few dozen full steps: each group fills its tokens with prompts drawn at random,
        long ones piece by piece, and all wait for the group with the longest attention.
    """
    limits = plan.limits
    groups = [_begun(input_tokens, rng) for _ in range(limits.n_groups)]
    running = RunningSequences(n_groups=limits.n_groups, block_tokens=limits.block_tokens)
    n_tokens = n_pieces = 0
    all_s = 0.0
    for _ in range(_N_STEPS):
        chunks = [
            chunk
            for group in range(limits.n_groups)
            for chunk in _full_group(groups, group, limits, rng.permutation(input_tokens))
        ]
        tokens = np.zeros(limits.n_groups, dtype=np.int64)
        for chunk in chunks:
            tokens[chunk.group] += chunk.n_tokens
        none = np.zeros(limits.n_groups, dtype=np.int64)
        batch = StepBatch(
            decode_sequences=none.copy(),
            decode_kv_tokens=none,
            decode_window_tokens=none,
            prefill_tokens=tokens,
            chunks=tuple(chunks),
            preempted=(),
        )
        all_s += plan.law.plan(batch, running=running).duration_s
        n_tokens += int(tokens.sum())
        n_pieces += len(chunks)
    # the schedulers of a pipeline take turns in its stages
    tokens_per_s = plan.pool.pp * n_tokens / all_s
    return PoolRate(
        requests_per_s=tokens_per_s / float(input_tokens.mean()),
        step_s=all_s / _N_STEPS,
        sequences_per_group=n_pieces / _N_STEPS / limits.n_groups,
    )


def _begun(input_tokens: NDArray[np.int64], rng: np.random.Generator) -> Prompt:
    """Return the prompt of a token that is drawn from all of them, computed up to there."""
    ends = np.cumsum(input_tokens)
    at = int(rng.integers(ends[-1]))
    index = int(np.searchsorted(ends, at, side="right"))
    n_tokens = int(input_tokens[index])
    done_tokens = at - (int(ends[index]) - n_tokens)
    return Prompt(request=0, n_tokens=n_tokens, done_tokens=done_tokens)


def _full_group(
    groups: list[Prompt], group: int, limits: BatchLimits, drawn: NDArray[np.int64]
) -> list[PrefillChunk]:
    """Return pieces that fill the tokens of a group, and keep the prompt that is left."""
    chunks: list[PrefillChunk] = []
    budget = limits.max_tokens_per_step
    lengths = iter(drawn.tolist())
    while budget and len(chunks) < limits.max_sequences:
        prompt = groups[group]
        if prompt.done_tokens == prompt.n_tokens:
            length = next(lengths, None)
            if length is None:
                break
            prompt = groups[group] = Prompt(request=0, n_tokens=length)
        chunks.append(prompt.cut(budget, group=group))
        budget -= chunks[-1].n_tokens
    return chunks


def decode_rate(
    plan: PoolPlan,
    *,
    input_tokens: float,
    output_tokens: float,
    tpot_s: float,
    tokens_per_step: float = 1.0,
) -> PoolRate:
    """Return what a decode replica can take while its tokens come fast enough.

    Parameters
    ----------
    plan : PoolPlan
        The pool.
    input_tokens, output_tokens : float
        Mean prompt and output; a sequence is half through on average.
    tpot_s : float
        Slowest time per output token. [s]
    tokens_per_step : float
        Tokens that a sequence gets from a step on average.

    Returns
    -------
    PoolRate
        At the largest batch that slots, KV memory and the limit allow.

    Raises
    ------
    ConfigError
        If not even a single sequence of each group is fast enough.
    """
    limits = plan.limits
    kv_tokens = limits.kv_blocks * limits.block_tokens
    most = min(limits.max_sequences, max(1, int(kv_tokens // (input_tokens + output_tokens))))
    context = max(1, round(input_tokens + output_tokens / 2))
    longest_s = tpot_s * tokens_per_step
    low, low_s = 0, 0.0
    high = most
    while low < high:
        middle = (low + high + 1) // 2
        step_s = decode_step_s(plan, n_sequences=middle, context=context)
        if step_s <= longest_s:
            low, low_s = middle, step_s
        else:
            high = middle - 1
    if not low:
        one_s = decode_step_s(plan, n_sequences=1, context=context)
        raise ConfigError(
            f"slo.tpot: {tpot_s:g} s; a step of one sequence in each group takes {one_s:.4g} s; "
            "raise it, or give decode replicas more GPUs"
        )
    per_s = plan.pool.pp * limits.n_groups * low * tokens_per_step / low_s
    return PoolRate(requests_per_s=per_s / output_tokens, step_s=low_s, sequences_per_group=low)


def _tokens_per_step(scenario: Scenario, n_drafts: int) -> float:
    """Return the tokens of a step with drafts: its own, and each that all before it allow."""
    accepted = scenario.backend.speculation.acceptance_frac.value if n_drafts else ()
    return 1.0 + float(np.cumprod(np.array(accepted[:n_drafts])).sum())
