"""Which tokens the next forward pass of a replica holds: continuous batching without a clock."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import InvariantError
from rackmoe.serving.group_choice import NO_GROUP, choose_roomy_group, least_sum_group
from rackmoe.serving.preemption import evict_latest
from rackmoe.serving.prefix_cache import PrefixCache
from rackmoe.serving.prefix_steps import store_step
from rackmoe.serving.promises import Promises
from rackmoe.serving.prompt_gate import PromptGate
from rackmoe.serving.prompts import Prompt, PromptQueue
from rackmoe.serving.running import Finished, RunningSequences
from rackmoe.serving.step_batch import (
    BatchLimits,
    BatchPolicy,
    GroupChoice,
    Preempted,
    PrefillChunk,
    StepBatch,
)

__all__ = [
    "BatchLimits",
    "BatchPolicy",
    "Batcher",
    "GroupChoice",
    "Preempted",
    "PrefillChunk",
    "StepBatch",
]


class Batcher:
    """The scheduler of one replica: admission, chunked prefill, decode and KV blocks.

    Parameters
    ----------
    limits : BatchLimits
        What bounds a step.
    cache : PrefixCache, optional
        Prompt blocks of earlier requests, which need no computing.

    Attributes
    ----------
    priorities : ndarray of shape (n_requests,) or None
        Requests of a higher one start first and are evicted last; None where all are alike.
    holds_prompts : bool
        Whether no prompt may start, because sequences in host memory come first.
    """

    def __init__(self, limits: BatchLimits, *, cache: PrefixCache | None = None) -> None:
        self.limits = limits
        self.cache = cache
        self.priorities: NDArray[np.int64] | None = None
        self.holds_prompts = False
        self.running = RunningSequences(
            n_groups=limits.n_groups,
            block_tokens=limits.block_tokens,
            window=limits.window,
        )
        self.held_blocks = np.zeros(limits.n_groups, dtype=np.int64)
        self._queues = [PromptQueue() for _ in range(limits.n_groups)]
        self._queued_tokens = np.zeros(limits.n_groups, dtype=np.int64)
        self._n_queued_tokens = 0
        self._queued_requests = np.zeros(limits.n_groups, dtype=np.int64)
        self._reserved_sequences = np.zeros(limits.n_groups, dtype=np.int64)
        self._with_prompts: dict[int, None] = {}
        self._next_group = 0
        self._zeros = np.zeros(limits.n_groups, dtype=np.int64)
        pace = limits.pace
        self.gate = PromptGate(poll_steps=pace.poll_steps, balance_steps=pace.balance_steps)
        self._promises = Promises(
            n_groups=limits.n_groups,
            kv_blocks=limits.kv_blocks,
            block_tokens=limits.block_tokens,
            output_tokens=limits.declared_output_tokens,
        )

    # ------------------------------------------------------------------ state that policies see
    @property
    def n_waiting(self) -> int:
        """Requests whose prompt is not complete."""
        return sum(self._queued_requests.tolist())

    @property
    def free_blocks(self) -> NDArray[np.int64]:
        """KV blocks that nobody holds, by group."""
        return self.limits.kv_blocks - self.held_blocks - self.running.kv_blocks

    @property
    def load_tokens(self) -> int:
        """Tokens waiting or in the KV cache: what a router balances."""
        return self._n_queued_tokens + self.running.total_kv_tokens

    def choose_group(self) -> int:
        """Return the attention group for the next request, by the profile's policy.

        Returns
        -------
        int
            Group index.
        """
        choice = self.limits.group_choice
        if choice is GroupChoice.SHORTEST_QUEUE:
            return least_sum_group(
                self.running.n_sequences, self._reserved_sequences, self._queued_requests
            )
        if choice is GroupChoice.LEAST_KV:
            return least_sum_group(self.running.kv_tokens, self._queued_tokens, self._zeros)
        group, self._next_group = self._next_group, (self._next_group + 1) % self.limits.n_groups
        return group

    # ------------------------------------------------------------------ arrivals
    def enqueue(
        self, request: int, *, n_tokens: int, is_urgent: bool = False, group: int | None = None
    ) -> int:
        """Queue a request whose prompt has to be computed here.

        Parameters
        ----------
        request : int
            Request id.
        n_tokens : int
            Tokens to compute: the prompt, and after a preemption the output so far.
        is_urgent : bool
            Put it in front of its queue (a preempted request).
        group : int, optional
            Its attention group, where the router chose it; else by the profile's policy.

        Returns
        -------
        int
            Its attention group.
        """
        group = self.choose_group() if group is None else group
        prompt = Prompt(request=request, n_tokens=n_tokens)
        self._queues[group].put(prompt, priorities=self.priorities, is_urgent=is_urgent)
        self._queued_tokens[group] += n_tokens
        self._n_queued_tokens += n_tokens
        self._queued_requests[group] += 1
        self._with_prompts[group] = None
        return group

    def reserve(self, n_tokens: int) -> int | None:
        """Hold KV for a context that another pool computes.

        Parameters
        ----------
        n_tokens : int
            Context length.

        Returns
        -------
        int or None
            The attention group that holds the memory; None if no group has room now.
        """
        limits = self.limits
        wanted = limits.blocks(n_tokens)
        running = self.running
        # an idle group keeps no blocks for others: a context that fits must not wait forever
        group = choose_roomy_group(
            (running.n_sequences, self._reserved_sequences),
            (running.kv_blocks, self.held_blocks),
            limits.max_sequences,
            limits.kv_blocks - wanted,
            self._watermark_blocks,
            limits.group_choice is GroupChoice.LEAST_KV,
        )
        if group == NO_GROUP:
            return None
        self.held_blocks[group] += wanted
        self._reserved_sequences[group] += 1
        return group

    def reserve_in(self, group: int, *, n_tokens: int) -> bool:
        """Hold KV in one group for a context that comes back to it.

        Parameters
        ----------
        group, n_tokens : int
            Attention group and context length.

        Returns
        -------
        bool
            False, and nothing changes, where it has no room to keep it for a step.
        """
        wanted, left = self.limits.blocks(n_tokens), int(self.free_blocks[group])
        sequences = int(self.running.n_sequences[group] + self._reserved_sequences[group])
        growth = self._growth_blocks(group) + 1 if sequences else 0
        if sequences >= self.limits.max_sequences or left < wanted + growth:
            return False
        self.held_blocks[group] += wanted
        self._reserved_sequences[group] += 1
        return True

    def join(self, request: int, *, group: int, context: int, remaining: int, row: int) -> None:
        """Start decoding a sequence whose KV was reserved.

        Parameters
        ----------
        request : int
            Request id.
        group : int
            Group returned by `reserve`.
        context : int
            Tokens in its KV cache, as reserved.
        remaining : int
            Output tokens that the model will still emit.
        row : int
            First row of the routing trace that it reads.
        """
        self.release(group, n_tokens=context)
        self.running.add(request, group=group, context=context, remaining=remaining, row=row)

    def release(self, group: int, *, n_tokens: int, request: int | None = None) -> None:
        """Give back the slot and the blocks held for a context.

        Parameters
        ----------
        group : int
            Attention group.
        n_tokens : int
            Context length for which they were held.
        request : int, optional
            The request, where it leaves the replica and its prefix cache.

        Raises
        ------
        InvariantError
            If more blocks come back than were held (LAW-03).
        """
        self._reserved_sequences[group] -= 1
        self.held_blocks[group] -= self.limits.blocks(n_tokens)
        if self.held_blocks[group] < 0:
            raise InvariantError(f"LAW-03: group {group} got back more KV blocks than it held")
        if request is not None:
            self._promises.drop(request)
            if self.cache is not None:
                self.cache.leave(request, n_tokens=n_tokens)

    # ------------------------------------------------------------------ steps
    def next_step(self) -> StepBatch | None:
        """Form the next forward pass.

        Returns
        -------
        StepBatch or None
            None if there is nothing to compute.
        """
        is_mixed = self.limits.policy is BatchPolicy.MIXED
        if self.cache is not None:
            self.cache.shrink(self.free_blocks * self.limits.block_tokens)
        preempted = self._preempt() if is_mixed else ()
        chunks = self._take_chunks(preempted)
        decodes = len(self.running) > 0 and (is_mixed or not chunks)
        if decodes and not is_mixed:
            preempted = self._preempt()
        if not chunks and not (decodes and len(self.running)) and not preempted:
            return None
        tokens = self._zeros.copy()
        for chunk in chunks:
            tokens[chunk.group] += chunk.n_tokens
        running = self.running
        return StepBatch(
            decode_sequences=running.n_sequences.copy() if decodes else self._zeros,
            decode_kv_tokens=running.kv_tokens.copy() if decodes else self._zeros,
            decode_window_tokens=running.window_kv_tokens.copy() if decodes else self._zeros,
            prefill_tokens=tokens,
            chunks=chunks,
            preempted=preempted,
            tokens_per_sequence=1 + self.limits.draft_tokens,
        )

    def finish_step(
        self, batch: StepBatch, *, emitted: NDArray[np.int64] | None = None
    ) -> Finished | None:
        """Advance the sequences that decoded.

        Parameters
        ----------
        batch : StepBatch
            The step that ended.
        emitted : ndarray of shape (n,), optional
            Tokens that each running sequence got; one by default.

        Returns
        -------
        Finished or None
            Sequences that emitted their last token; None if nothing decoded.
        """
        finished = self.running.advance(emitted) if batch.has_decode else None
        if finished is not None and self._promises.is_used:
            self._promises.drop_all(finished.requests.tolist())
        if self.cache is not None:
            store_step(self.cache, chunks=batch.chunks, finished=finished)
        return finished

    @property
    def _watermark_blocks(self) -> int:
        return int(self.limits.kv_watermark_frac * self.limits.kv_blocks)

    def _take_chunks(self, preempted: tuple[Preempted, ...]) -> tuple[PrefillChunk, ...]:
        """Admit prompts and cut chunks until every group's token budget is used."""
        chunks: list[PrefillChunk] = []
        is_full = {victim.group for victim in preempted}
        is_full = is_full if self._may_start() else set(range(self.limits.n_groups))
        for group in list(self._with_prompts):
            queue = self._queues[group]
            budget = self.limits.max_tokens_per_step
            if self.limits.policy is BatchPolicy.MIXED:
                budget -= int(self.running.n_sequences[group]) * (1 + self.limits.draft_tokens)
            while budget > 0:
                prompt = queue.prefilling or (None if group in is_full else self._admit(group))
                if prompt is None:
                    break
                chunk = prompt.cut(budget, group=group)
                chunks.append(chunk)
                budget -= chunk.n_tokens
                self._queued_tokens[group] -= chunk.n_tokens
                self._n_queued_tokens -= chunk.n_tokens
                if chunk.is_last:
                    queue.prefilling = None
                    self._queued_requests[group] -= 1
                    self._reserved_sequences[group] += 1
            if not queue.waiting and queue.prefilling is None:
                del self._with_prompts[group]
        return tuple(chunks)

    def _may_start(self) -> bool:
        """Ask the gate whether waiting prompts may start."""
        if self.gate.is_open or self.holds_prompts:
            return not self.holds_prompts
        waiting = [len(queue.waiting) for queue in self._queues]
        return self.gate.allows(waiting, is_idle=len(self.running) == 0)

    def _admit(self, group: int) -> Prompt | None:
        """Start the first waiting prompt of a group if memory and slots allow."""
        queue = self._queues[group]
        if not queue.waiting:
            return None
        sequences = int(self.running.n_sequences[group] + self._reserved_sequences[group])
        prompt = queue.waiting[0]
        need = self.limits.blocks(prompt.n_tokens)
        left = int(self.free_blocks[group]) - need
        idle = sequences == 0 and int(self.held_blocks[group]) == 0
        kept = 0 if idle else self._kept(group, left)
        has_room = idle or bool(self._promises.has_room(prompt.n_tokens)[group])
        if sequences >= self.limits.max_sequences or left < kept or not has_room:
            return None
        self._promises.make(prompt.request, group=group, n_tokens=prompt.n_tokens)
        queue.prefilling = queue.waiting.popleft()
        self.held_blocks[group] += need
        if self.cache is not None:
            self._skip_cached(queue.prefilling, group, self.cache)
        return queue.prefilling

    def _skip_cached(self, prompt: Prompt, group: int, cache: PrefixCache) -> None:
        """Start a prompt after the tokens that the prefix cache has."""
        n_cached = cache.enter(prompt.request, group=group, n_tokens=prompt.n_tokens)
        prompt.done_tokens = prompt.cached_tokens = n_cached
        self._queued_tokens[group] -= n_cached
        self._n_queued_tokens -= n_cached

    @property
    def _growth_tokens(self) -> int:
        """Tokens by which a step may lengthen a sequence."""
        return 1 + self.limits.draft_tokens

    def _growth_blocks(self, group: int | None = None) -> int:
        """Return an upper bound of the blocks that the next step takes in one group, or any."""
        n_sequences = self.running.n_sequences
        most = max(n_sequences.tolist()) if group is None else int(n_sequences[group])
        return most * self.limits.blocks(self._growth_tokens)

    def _kept(self, group: int, left: int) -> int:
        """Return the blocks that admission leaves: the watermark, and what decode takes now."""
        if self.limits.policy is not BatchPolicy.MIXED or left >= self._growth_blocks(group):
            return self._watermark_blocks
        wanted = int(self.running.blocks_wanted(self._growth_tokens)[group])
        return max(self._watermark_blocks, wanted)

    def _preempt(self) -> tuple[Preempted, ...]:
        """Evict the latest sequences of the groups that cannot grow by one token."""
        if min(self.free_blocks.tolist()) >= self._growth_blocks():
            return ()
        evicted = evict_latest(
            self.running,
            growth_tokens=self._growth_tokens,
            held_blocks=self.held_blocks,
            kv_blocks=self.limits.kv_blocks,
            priorities=self.priorities,
        )
        for victim in evicted:
            self._promises.drop(victim.request)
            if self.cache is not None:
                self.cache.leave(victim.request)
        return evicted
