"""One replica of the model: form a step, plan it, sleep once, commit it."""

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import now_ps, to_ps, to_s
from rackmoe.engine.ledger import NEVER, Ledger
from rackmoe.engine.pipeline import Stages
from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.step_detail import StepDetail
from rackmoe.engine.step_gate import StepGate
from rackmoe.network.slowdown import Slowdown
from rackmoe.records import Table
from rackmoe.serving.batching import Batcher, Preempted, PrefillChunk, StepBatch
from rackmoe.serving.prefix_cache import PrefixCache

__all__ = ["Replica", "ReplicaHooks", "StepWatch"]


class StepWatch(Protocol):
    """What the fabric wants to know about the steps of a replica."""

    def started(self, plan: PlannedStep) -> None:
        """Take note of a step that starts."""

    def ended(self, plan: PlannedStep, *, start_ps: int, end_ps: int, n_steps: int) -> None:
        """Take note of equal steps in a row that ended. [ps]."""

    def idle(self) -> None:
        """Take note that there is nothing to compute."""


class ReplicaHooks(Protocol):
    """What a replica tells the rest of the rack."""

    def prompt_done(self, replica: "Replica", *, chunk: PrefillChunk) -> None:
        """Take over a request whose prompt is computed."""

    def sequences_left(self, replica: "Replica", *, requests: NDArray[np.int64]) -> None:
        """Take note of requests that finished and freed their memory."""

    def sequence_preempted(self, replica: "Replica", *, victim: Preempted) -> simpy.Event | None:
        """Take back a request that lost its KV memory; return until when the memory is read."""


class Replica:
    """A process that turns queued requests into steps.

    Parameters
    ----------
    env : simpy.Environment
        The clock, in integer picoseconds.
    index : int
        Number of the replica in its rack.
    plan : PoolPlan
        What it shares with the other replicas of its pool.
    first_gpu : int
        Number of its first GPU in the machine.
    ledger : Ledger
        The requests of the run.
    steps : Table
        Where its steps are written.
    hooks : ReplicaHooks
        What it tells the rest of the rack.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        index: int,
        plan: PoolPlan,
        first_gpu: int,
        ledger: Ledger,
        steps: Table,
        hooks: ReplicaHooks,
    ) -> None:
        self.index, self.first_gpu = index, first_gpu
        self.pool = plan.role
        self.tp, self.cp = plan.pool.tp, plan.pool.cp
        self.batcher = Batcher(plan.limits)
        self.is_up = True
        self.watches: list[StepWatch] = []
        self.gate = StepGate(env)
        self.detail = StepDetail()
        self._law = plan.law
        self._env, self._ledger, self._steps = env, ledger, steps
        self._hooks = hooks
        self._idle: simpy.Event | None = None
        self.lasting: Slowdown | None = None
        self._slowdown: Slowdown | None = None
        self._is_asleep = self._is_repeating = False
        self._last_end = NEVER
        self._joining: list[tuple[int, int]] = []
        self._plan_of_pool = plan
        self.memory = plan.new_memory()
        self._prompts: dict[int, None] = {}
        self._repaired = env.event()
        self._speculation = plan.speculation
        self._new_cache: Callable[[], PrefixCache] | None = None
        self.stages: Stages | None = None
        self.process = env.process(self._serve())

    # ------------------------------------------------------------------ what others do to it
    def wake(self) -> None:
        """Look for work again, if idle."""
        if self._idle is not None:
            self._idle.succeed()
            self._idle = None

    def remember_prompts(self, new_cache: Callable[[], PrefixCache]) -> None:
        """Keep the prompts that it computes in a prefix cache, an empty one after a failure.

        Parameters
        ----------
        new_cache : callable
            Returns an empty cache.
        """
        self._new_cache = new_cache
        self.batcher.cache = new_cache()

    def enqueue(
        self, request: int, *, n_tokens: int, is_urgent: bool = False, group: int | None = None
    ) -> None:
        """Queue a request whose prompt has to be computed here.

        Parameters
        ----------
        request : int
            Request id.
        n_tokens : int
            Tokens to compute.
        is_urgent : bool
            Put it in front of its queue.
        group : int, optional
            Attention group that the router chose.
        """
        self._prompts[request] = None
        self.batcher.enqueue(request, n_tokens=n_tokens, is_urgent=is_urgent, group=group)
        self._hurry()
        self.wake()

    def join(self, request: int, *, group: int) -> None:
        """Decode a request whose KV cache is here, from the next step on.

        Parameters
        ----------
        request : int
            Request id.
        group : int
            Attention group that holds its memory.
        """
        ledger = self._ledger
        ledger.decode_replica[request] = self.index
        ledger.decode_rank[request] = group
        # a step that is under way does not know it
        self._joining.append((request, group))
        self._hurry()
        self.wake()

    def settle(self) -> None:
        """Bring the ledger up to date with the sequences that still decode when a run ends."""
        running, ledger = self.batcher.running, self._ledger
        requests = running.requests
        ledger.remaining[requests] = running.remaining
        ledger.last_token[requests] = np.maximum(self._last_end, ledger.first_token[requests])
        joining = [request for request, _ in self._joining]
        ledger.last_token[joining] = ledger.first_token[joining]

    def slow_down(self, slowdown: Slowdown | None) -> None:
        """Run at other capacities from now on; the running step keeps what is finished.

        Parameters
        ----------
        slowdown : Slowdown or None
            Steady factors of compute and ports; None for those that last.
        """
        self._slowdown = self.lasting if slowdown is None else slowdown
        self._hurry()
        if self._is_asleep:
            self.process.interrupt("capacity changed")

    def fail(self) -> list[int]:
        """Stop in the middle of the step, and lose all requests with their caches.

        Returns
        -------
        list of int
            The requests that decoded or waited here, in that order.
        """
        running, ledger = self.batcher.running, self._ledger
        ledger.remaining[running.requests] = running.remaining
        joining = [request for request, _ in self._joining]
        lost = [*running.requests.tolist(), *joining, *self._prompts]
        self._joining.clear()
        self._prompts.clear()
        priorities = self.batcher.priorities
        cache = None if self._new_cache is None else self._new_cache()
        self.batcher = Batcher(self._plan_of_pool.limits, cache=cache)
        self.batcher.priorities = priorities
        self.memory = self._plan_of_pool.new_memory()
        self.is_up = False
        self.process.interrupt("failed")
        return lost

    def repair(self) -> None:
        """Start again, empty."""
        self.is_up = True
        self._repaired.succeed()
        self._repaired = self._env.event()

    def _hurry(self) -> None:
        """End a row of equal steps with the one that runs now."""
        if self._is_repeating:
            self._is_repeating = False
            self.process.interrupt("something changed")

    # ------------------------------------------------------------------ the process
    def _serve(self) -> Generator[simpy.Event, Any, None]:
        while True:
            try:
                yield from self._run_steps()
            except simpy.Interrupt:
                if self.is_up:
                    raise
                self._is_asleep = self._is_repeating = False
                self._idle = None
                for watch in self.watches:
                    watch.idle()
            while not self.is_up:
                with suppress(simpy.Interrupt):  # capacities change while it is out
                    yield self._repaired

    def _run_steps(self) -> Generator[simpy.Event, Any, None]:
        while True:
            yield from self.gate.passed()
            self._admit_joining()
            batch = self.batcher.next_step()
            if batch is None:
                self._idle = self._env.event()
                for watch in self.watches:
                    watch.idle()
                yield self._idle
                continue
            told = [self._hooks.sequence_preempted(self, victim=one) for one in batch.preempted]
            if any(told):
                yield self._env.all_of([one for one in told if one is not None])
            if batch.is_empty:
                continue
            start = now_ps(self._env)
            plan = self._plan(batch)
            for chunk in batch.chunks:
                self._ledger.start(
                    chunk.request,
                    now=start,
                    replica=self.index,
                    n_cached_tokens=chunk.past_tokens if chunk.is_first else 0,
                )
            for watch in self.watches:
                watch.started(plan)
            n_steps = 1
            if self._slowdown is self.lasting and self.stages is None:
                n_steps = self.memory.n_repeats(batch, batcher=self.batcher)
            if n_steps > 1:
                n_steps = yield from self._repeat(plan, n_steps)
            else:
                plan = yield from self._sleep(plan)
            self._commit(batch, plan, start=start, n_steps=n_steps)

    def _plan(self, batch: StepBatch) -> PlannedStep:
        """Plan a step, or take the last plan where it is alike and nothing is slowed down."""
        tier = self.detail.next_tier()
        if self._slowdown is self.lasting and not self.detail.is_audited:
            known = self.memory.recall(batch)
            if known is not None:
                return replace(known, batch=batch)
        law, running = self._law, self.batcher.running
        self.memory.begin()
        plan = law.plan(batch, running=running, slowdown=self._slowdown, tier=tier)
        if self._slowdown is self.lasting:
            self.memory.keep(plan)
        return plan

    def _admit_joining(self) -> None:
        ledger = self._ledger
        for request, group in self._joining:
            self.batcher.join(
                request,
                group=group,
                context=ledger.context(request) - 1,
                remaining=int(ledger.remaining[request]),
                row=int(ledger.trace_row[request]),
            )
        self._joining.clear()

    def _sleep(self, plan: PlannedStep) -> Generator[simpy.Event, Any, PlannedStep]:
        """Wait for the planned step; when a capacity changes, keep what is done, plan the rest."""
        env = self._env
        started, history = now_ps(env), self._slowdown
        if self.stages is not None:
            plan = self.stages.enter(plan, now_ps=started)
        self._is_asleep = True
        is_resumed = False
        while True:
            left = to_ps(plan.duration_s) - (now_ps(env) - started)
            try:
                yield env.timeout(max(left, 0))
            except simpy.Interrupt:
                if not self.is_up:
                    raise
                now_s = to_s(now_ps(env) - started)
                history = self._changed(history, now_s)
                plan = plan.resume(slowdown=history, now_s=now_s)
                is_resumed = True
            else:
                break
        self._is_asleep = False
        return plan.settled(history) if is_resumed and history is not None else plan

    def _repeat(self, plan: PlannedStep, n_steps: int) -> Generator[simpy.Event, Any, int]:
        """Run equal steps until something changes; return how many were run."""
        env = self._env
        started, one = now_ps(env), to_ps(plan.duration_s)
        self._is_repeating = True
        try:
            yield env.timeout(n_steps * one)
        except simpy.Interrupt:
            if not self.is_up:
                raise
            n_steps = max(1, -(-(now_ps(env) - started) // one))
            yield env.timeout(started + n_steps * one - now_ps(env))
        self._is_repeating = False
        self.memory.count(n_steps - 1)
        return n_steps

    def _changed(self, history: Slowdown | None, now_s: float) -> Slowdown:
        """Append the present capacities to the history of the running step."""
        n_gpus = self._law.shape.n_gpus
        before = Slowdown.none(n_gpus) if history is None else history
        after = Slowdown.none(n_gpus) if self._slowdown is None else self._slowdown
        return before.then(now_s, after=after)

    def _commit(self, batch: StepBatch, plan: PlannedStep, *, start: int, n_steps: int) -> None:
        now = self._last_end = now_ps(self._env)
        one = (now - start) // n_steps
        emitted, by_step = self._emitted(batch, n_steps)
        for index in range(n_steps):
            self._steps.append_row(
                plan.row(
                    replica=self.index,
                    pool=self.pool,
                    start_s=to_s(start + index * one),
                    duration_s=to_s(one),
                    n_emitted=by_step[index],
                )
            )
        for watch in self.watches:
            watch.ended(plan, start_ps=start, end_ps=now, n_steps=n_steps)
        self.batcher.gate.count(n_steps)
        finished = self.batcher.finish_step(batch, emitted=emitted)
        if finished is not None and len(finished.requests):
            self._ledger.finish(finished.requests, now=now)
            self._hooks.sequences_left(self, requests=finished.requests)
        for chunk in batch.chunks:
            if chunk.is_last:
                self._end_prompt(chunk, now)

    def _emitted(
        self, batch: StepBatch, n_steps: int
    ) -> tuple[NDArray[np.int64] | None, list[int | None]]:
        """Return the tokens of each sequence over steps in a row, and of all in each step."""
        running = self.batcher.running
        if self._speculation is None or not batch.has_decode:
            many = np.full(len(running), n_steps, dtype=np.int64) if n_steps > 1 else None
            return many, [None] * n_steps
        drawn = self._speculation.draw(n_steps, n_sequences=len(running))
        # only the last step of a row can end a sequence
        drawn[-1] = np.minimum(drawn[-1], running.remaining - drawn[:-1].sum(axis=0))
        by_step: list[int | None] = drawn.sum(axis=1).tolist()
        return drawn.sum(axis=0), by_step

    def _end_prompt(self, chunk: PrefillChunk, now: int) -> None:
        """Emit the token that completes a prompt, and decode on or hand the request over."""
        ledger, request = self._ledger, chunk.request
        self._prompts.pop(request, None)
        if ledger.prefill_end[request] == NEVER:
            ledger.prefill_end[request] = now
        ledger.remaining[request] -= 1
        self._hooks.prompt_done(self, chunk=chunk)
