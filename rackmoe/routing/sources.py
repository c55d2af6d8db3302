"""The exchangeable sources of a step's expert choices."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TraceError
from rackmoe.routing.balanced import BalancedSource
from rackmoe.routing.families import RoutingStatistics
from rackmoe.routing.generator import CountNoise, inclusion, popularity
from rackmoe.routing.load import StepLoad
from rackmoe.routing.parts import BlockPart, ReplayPart, SampledPart, StepPart
from rackmoe.routing.placement import Placement
from rackmoe.routing.replicas import ReplicaChoice
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.step import Phase
from rackmoe.routing.step_source import StepSource
from rackmoe.routing.tokens import generate_token_trace
from rackmoe.routing.traces import TokenTrace, count_experts

__all__ = [
    "BalancedSource",
    "StepSource",
    "block_source",
    "replay_source",
    "routing_sample",
    "sampled_source",
    "sampled_trace_source",
]

BLOCK_TOKENS = 128
_SAMPLE_TOKENS = 2048  # on which the ratio of copies to assignments is measured
_TRACE_JITTER = 0.10  # as in the statistics deepseek_chat, fitted to TensorRT-LLM's EPLB table


def replay_source(
    trace: TokenTrace,
    *,
    placement: Placement,
    rng: np.random.Generator,
    replica_choice: ReplicaChoice = "random",
) -> StepSource:
    """Follow each decode token through the trace; route prompts by blocks of it.

    Where no prompt was recorded, prompts are drawn from the popularity of the
    recorded output, and `provenance` says so.

    Parameters
    ----------
    trace : TokenTrace
        Recorded or generated choices.
    placement : Placement
        Where the experts are.
    rng : numpy.random.Generator
        Picks blocks and noise for prompts.
    replica_choice : ReplicaChoice
        How tokens pick replicas.

    Returns
    -------
    StepSource
        It needs the rows of decode tokens; `spans` says which rows there are.

    Raises
    ------
    TraceError
        If the trace is of another model, or has no decode tokens.
    """
    load, spans = _step_load(trace, placement, replica_choice), trace.spans("decode")
    if not len(spans):
        raise TraceError(
            f"{trace.header.model}: a trace without decode tokens; expected recorded output; "
            "choose the source 'block' or 'sampled'"
        )
    n_rows = int(spans[:, 1].sum())
    prefill, words = _prefill_part(trace, placement, replica_choice, rng)
    return StepSource(
        load,
        parts={
            "decode": lambda: ReplayPart(trace.routed_experts, placement, choice=replica_choice),
            "prefill": prefill,
        },
        provenance=(
            f"decode: {n_rows} tokens of {_title(trace)} replayed token by token, re-used in "
            f"random order; prefill: {words}"
        ),
        spans=spans,
    )


def block_source(
    trace: TokenTrace,
    *,
    placement: Placement,
    rng: np.random.Generator,
    replica_choice: ReplicaChoice = "random",
    block_tokens: int = BLOCK_TOKENS,
) -> StepSource:
    """Route by blocks of a trace that are counted once.

    Decode blocks mix tokens of all requests, as a decode step does; prefill
    blocks are runs of one request after the other.

    Parameters
    ----------
    trace : TokenTrace
        Recorded or generated choices.
    placement : Placement
        Where the experts are.
    rng : numpy.random.Generator
        Shuffles decode tokens and picks blocks.
    replica_choice : ReplicaChoice
        How tokens pick replicas.
    block_tokens : int
        Tokens of a block.

    Returns
    -------
    StepSource
        The source.

    Raises
    ------
    TraceError
        If the trace is of another model.
    """
    load = _step_load(trace, placement, replica_choice)
    rows = trace.phase_rows("decode")
    rows = rows if rows.size else trace.phase_rows("prefill")
    order = rows[np.argsort(rng.random(rows.size), kind="stable")]
    prefill, words = _prefill_part(trace, placement, replica_choice, rng)

    def decode() -> BlockPart:
        return BlockPart(
            trace.routed_experts,
            placement,
            order=order,
            choice=replica_choice,
            block_tokens=block_tokens,
            rng=rng,
        )

    return StepSource(
        load,
        parts={"decode": decode, "prefill": prefill},
        provenance=(
            f"decode: random blocks of {block_tokens} of the {rows.size} tokens of "
            f"{_title(trace)}; prefill: {words}"
        ),
    )


def routing_sample(
    statistics: RoutingStatistics,
    *,
    shape: MoeShape,
    rng: np.random.Generator,
    share: NDArray[np.float64],
) -> NDArray[np.unsignedinteger]:
    """Draw the tokens on which `sampled_source` measures how many copies a token makes.

    Parameters
    ----------
    statistics : RoutingStatistics
        Parameters.
    shape : MoeShape
        Layers, experts, top-k and groups of the model.
    rng : numpy.random.Generator
        Source of randomness.
    share : ndarray of shape (L, E)
        Popularity of the experts.

    Returns
    -------
    ndarray of shape (n, L, K)
        Their experts.
    """
    trace = generate_token_trace(
        statistics,
        shape=shape,
        n_tokens=_SAMPLE_TOKENS,
        n_requests=_SAMPLE_TOKENS,
        rng=rng,
        share=share,
    )
    return trace.routed_experts


def sampled_source(
    statistics: RoutingStatistics,
    *,
    placement: Placement,
    shape: MoeShape,
    rng: np.random.Generator,
    replica_choice: ReplicaChoice = "random",
    share: NDArray[np.float64] | None = None,
    sample: NDArray[np.unsignedinteger] | None = None,
    noise: CountNoise | None = None,
) -> StepSource:
    """Draw the counts of each step from a parameter set of the generator.

    Parameters
    ----------
    statistics : RoutingStatistics
        Parameters.
    placement : Placement
        Where the experts are.
    shape : MoeShape
        Layers, experts, top-k and groups of the model.
    rng : numpy.random.Generator
        Source of randomness.
    replica_choice : ReplicaChoice
        How tokens pick replicas.
    share : ndarray of shape (L, E), optional
        Popularity to use, for example the one that a placement was made for.
    sample : ndarray of shape (n, L, K), optional
        Experts of tokens drawn with `routing_sample`; drawn here if absent.
    noise : CountNoise, optional
        Draws the counts, for example of the same tokens under another placement.

    Returns
    -------
    StepSource
        The source.
    """
    if share is None:
        share = popularity(statistics, shape=shape, rng=rng)
    load = StepLoad(placement, top_k=shape.top_k, replica_choice=replica_choice)

    def part() -> SampledPart:
        drawn = sample
        if drawn is None:
            drawn = routing_sample(statistics, shape=shape, rng=rng, share=share)
        counts = noise
        if counts is None:
            counts = CountNoise(
                inclusion(share, top_k=shape.top_k),
                top_k=shape.top_k,
                step_jitter=statistics.step_jitter,
                rng=rng,
            )
        return SampledPart(counts, sample=drawn, placement=placement, choice=replica_choice)

    shared = _Once(part)
    return StepSource(
        load,
        parts={"decode": shared, "prefill": shared},
        provenance=f"generated counts, statistics {statistics.name} ({statistics.source})",
    )


def sampled_trace_source(
    trace: TokenTrace,
    *,
    placement: Placement,
    rng: np.random.Generator,
    replica_choice: ReplicaChoice = "random",
) -> StepSource:
    """Draw the counts of each step from the popularity measured on a trace.

    Parameters
    ----------
    trace : TokenTrace
        Recorded or generated choices.
    placement : Placement
        Where the experts are.
    rng : numpy.random.Generator
        Source of randomness.
    replica_choice : ReplicaChoice
        How tokens pick replicas.

    Returns
    -------
    StepSource
        The source.

    Raises
    ------
    TraceError
        If the trace is of another model.
    """
    load = _step_load(trace, placement, replica_choice)
    phases: tuple[Phase, Phase] = ("decode", "prefill")
    parts: dict[Phase, Callable[[], StepPart]] = {}
    for phase, other in zip(phases, reversed(phases), strict=True):
        rows = trace.phase_rows(phase)
        rows = rows if rows.size else trace.phase_rows(other)
        parts[phase] = _Once(_fitted(trace, rows, placement, replica_choice, rng))
    return StepSource(
        load,
        parts=parts,
        provenance=f"generated counts with the popularity of {_title(trace)}",
    )


class _Once:
    """Build a part at the first call; return it ever after."""

    def __init__(self, build: Callable[[], StepPart]) -> None:
        self._build = build
        self._part: StepPart | None = None

    def __call__(self) -> StepPart:
        if self._part is None:
            self._part = self._build()
        return self._part


def _title(trace: TokenTrace) -> str:
    return f"{trace.header.model} ({trace.header.source})"


def _step_load(trace: TokenTrace, placement: Placement, choice: ReplicaChoice) -> StepLoad:
    has = (trace.n_layers, trace.header.n_experts)
    needs = (placement.n_layers, placement.n_experts)
    if has != needs:
        raise TraceError(
            f"{trace.header.model}: a trace of {has[0]} layers with {has[1]} experts; the "
            f"placement has {needs[0]} with {needs[1]}; use a trace of this model"
        )
    return StepLoad(placement, top_k=trace.header.top_k, replica_choice=choice)


def _fitted(
    trace: TokenTrace,
    rows: NDArray[np.int64],
    placement: Placement,
    choice: ReplicaChoice,
    rng: np.random.Generator,
) -> Callable[[], StepPart]:
    """Return a builder of counts drawn from the popularity of some rows."""

    def build() -> SampledPart:
        counts = count_experts(trace, rows=rows)
        stride = max(1, rows.size // _SAMPLE_TOKENS)
        top_k = trace.header.top_k
        noise = CountNoise(
            inclusion(counts / counts.sum(axis=1, keepdims=True), top_k=top_k),
            top_k=top_k,
            step_jitter=_TRACE_JITTER,
            rng=rng,
        )
        return SampledPart(
            noise,
            sample=np.ascontiguousarray(trace.routed_experts[rows[::stride]]),
            placement=placement,
            choice=choice,
        )

    return build


def _prefill_part(
    trace: TokenTrace, placement: Placement, choice: ReplicaChoice, rng: np.random.Generator
) -> tuple[Callable[[], StepPart], str]:
    """Return a builder of the prompts' part, and words for it."""
    rows = trace.phase_rows("prefill")
    if not rows.size:
        build = _fitted(trace, trace.phase_rows("decode"), placement, choice, rng)
        return build, (
            "no prompt was recorded; counts generated with the popularity of the recorded output"
        )

    def blocks() -> BlockPart:
        return BlockPart(
            trace.routed_experts,
            placement,
            order=rows,
            choice=choice,
            block_tokens=BLOCK_TOKENS,
            rng=rng,
        )

    return blocks, f"runs of the trace's {rows.size} prompt tokens"
