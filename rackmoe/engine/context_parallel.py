"""Prompts whose tokens are divided over several ranks of an attention group."""

from dataclasses import dataclass, replace

import numpy as np

from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.step import StepLaw
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.slowdown import Slowdown
from rackmoe.serving.batching import PrefillChunk, StepBatch
from rackmoe.serving.running import RunningSequences

__all__ = ["ContextStepLaw", "Ring", "divided_batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """How the ranks of a divided context pass their keys and values on.

    Attributes
    ----------
    n_ranks : int
        Ranks that share a context.
    token_bytes : float
        Cache of one token over all layers, on one GPU. [B]
    n_layers : int
        Layers, each with a round of its own.
    bandwidth_bytes_per_s : float
        From a rank to the next one. [B/s]
    latency_s : float
        Of one of the `n_ranks` - 1 turns of a round. [s]
    """

    n_ranks: int
    token_bytes: float
    n_layers: int
    bandwidth_bytes_per_s: float
    latency_s: float

    def time_s(self, context_tokens: float) -> float:
        r"""Return the time in which all ranks have seen all of a context, over all layers.

        Parameters
        ----------
        context_tokens : float
            Tokens of the context.

        Returns
        -------
        float
            Duration. [s]

        Notes
        -----
        .. math:: t = (c - 1) (L \, \lambda + n b / (c \beta))

        for c ranks: each passes its c-th part of the n tokens of b bytes on c - 1 times [1]_.

        References
        ----------
        .. [1] H. Liu, M. Zaharia, P. Abbeel, "Ring attention with blockwise transformers for
           near-infinite context," ICLR 2024.
        """
        turns = self.n_ranks - 1
        part_bytes = context_tokens * self.token_bytes / self.n_ranks
        return turns * (self.n_layers * self.latency_s + part_bytes / self.bandwidth_bytes_per_s)


class ContextStepLaw(StepLaw):
    """The step law of a pool whose attention groups divide their prompts.

    Every rank computes its share of the tokens in each layer, and the experts see the
    ranks as they see attention data parallel ones. Keys and values go around beside the
    attention kernels; what takes longer than these is added to the step.

    Attributes
    ----------
    ring : Ring or None
        How keys and values go around; set before the first step.
    """

    ring: Ring | None = None

    def plan(
        self,
        batch: StepBatch,
        *,
        running: RunningSequences,
        slowdown: Slowdown | None = None,
        tier: ExchangeTier | None = None,
    ) -> PlannedStep:
        """Return the plan of a step of prompts.

        Parameters
        ----------
        batch : StepBatch
            What it computes.
        running : RunningSequences
            Not looked at.
        slowdown : Slowdown, optional
            Steady factors of compute and ports; nominal by default.
        tier : ExchangeTier, optional
            How closely its exchanges are looked at.

        Returns
        -------
        PlannedStep
            The clocks of all ranks and the work.
        """
        ring = self.ring
        if ring is None:
            return super().plan(batch, running=running, slowdown=slowdown, tier=tier)
        divided = divided_batch(batch, n_ranks=ring.n_ranks)
        plan = super().plan(divided, running=running, slowdown=slowdown, tier=tier)
        context = np.zeros(len(batch.prefill_tokens))
        for chunk in batch.chunks:
            context[chunk.group] += chunk.past_tokens + chunk.n_tokens
        longer_s = ring.time_s(float(context.max())) - plan.totals.attention_s
        turns = ring.n_ranks - 1
        moved = turns * float(context.sum()) * ring.token_bytes * self.shape.tp
        totals = replace(plan.totals, scale_up_bytes=plan.totals.scale_up_bytes + moved)
        return replace(plan, batch=batch, totals=totals, extra_s=max(longer_s, 0.0))


def divided_batch(batch: StepBatch, *, n_ranks: int) -> StepBatch:
    r"""Return a step of prompts as the ranks of each attention group see it.

    Parameters
    ----------
    batch : StepBatch
        Prompt pieces by attention group.
    n_ranks : int
        Ranks of each group.

    Returns
    -------
    StepBatch
        With `n_ranks` times as many groups.

    Notes
    -----
    Each rank gets an early and a late part of a piece, so that all have the same number
    of causal scores. A piece of n tokens after P others is n / c tokens on each of c ranks
    after P + n (c - 1) / (2 c) others.
    """
    n_groups = len(batch.prefill_tokens) * n_ranks
    chunks: list[PrefillChunk] = []
    tokens = np.zeros(n_groups, dtype=np.int64)
    for chunk in batch.chunks:
        least, rest = divmod(chunk.n_tokens, n_ranks)
        for rank in range(min(n_ranks, chunk.n_tokens)):
            mine = least + (rank < rest)
            group = chunk.group * n_ranks + rank
            tokens[group] += mine
            chunks.append(
                PrefillChunk(
                    request=chunk.request,
                    group=group,
                    n_tokens=mine,
                    past_tokens=chunk.past_tokens + (chunk.n_tokens - mine) // 2,
                    is_first=chunk.is_first,
                    is_last=chunk.is_last and rank == 0,
                )
            )
    none = np.zeros(n_groups, dtype=np.int64)
    return StepBatch(
        decode_sequences=none,
        decode_kv_tokens=none,
        decode_window_tokens=none,
        prefill_tokens=tokens,
        chunks=tuple(chunks),
        preempted=batch.preempted,
    )
