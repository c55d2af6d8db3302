"""The machine at work: pools of replicas, the router and the way of the KV cache between them."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import now_ps
from rackmoe.engine.kv_links import KvLinks
from rackmoe.engine.ledger import NEVER, Ledger
from rackmoe.engine.replica import Replica
from rackmoe.engine.router import LeastLoadedRouter, Router
from rackmoe.engine.swap import HostSwap
from rackmoe.records import Pool
from rackmoe.serving.batching import Preempted, PrefillChunk

__all__ = ["Rack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """A cache on its way."""

    source: Replica
    chunk: PrefillChunk
    target: Replica
    group: int
    arrived: simpy.Event


class Rack:
    """Route requests to replicas and follow them from pool to pool.

    Parameters
    ----------
    ledger : Ledger
        The requests of the run.
    links : KvLinks or None
        Moves KV caches; None if the pools are aggregated.
    ended : callable
        Takes the ids of requests that ended.
    frontend_ps : int
        Time of a request before its queue, in picoseconds.
    is_prefilled : bool
        Whether requests bring the KV cache of their prompt: prefill takes no time and no GPU.
    router : Router, optional
        Chooses replicas; by load if absent.

    Attributes
    ----------
    swap : HostSwap or None
        Keeps the caches of preempted sequences; None to compute them again.
    priorities : ndarray of shape (n_requests,) or None
        Caches of a higher one are placed first; None where all are alike.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        ledger: Ledger,
        links: KvLinks | None,
        ended: Callable[[NDArray[np.int64]], None],
        frontend_ps: int = 0,
        is_prefilled: bool = False,
        router: Router | None = None,
    ) -> None:
        self._env = env
        self._router = router or LeastLoadedRouter()
        self.swap: HostSwap | None = None
        self.priorities: NDArray[np.int64] | None = None
        self._ledger = ledger
        self._links = links
        self._ended = ended
        self._frontend_ps = frontend_ps
        self._is_prefilled = is_prefilled
        self._entrances: tuple[Replica, ...] = ()
        self._decoders: tuple[Replica, ...] = ()
        self._handed_over: deque[tuple[Replica | None, PrefillChunk]] = deque()
        self._flights: dict[int, _Flight] = {}
        self._stranded: deque[int] = deque()

    def install(self, replicas: Sequence[Replica]) -> None:
        """Take the replicas into service.

        Parameters
        ----------
        replicas : sequence of Replica
            All replicas of the run.
        """
        self._entrances = tuple(r for r in replicas if r.pool is not Pool.DECODE)
        self._decoders = tuple(r for r in replicas if r.pool is Pool.DECODE or self._is_prefilled)

    def submit(self, request: int) -> None:
        """Send a request to a replica that computes prompts.

        Parameters
        ----------
        request : int
            Request id.
        """
        if self._frontend_ps:
            arrived = self._env.timeout(self._frontend_ps)
            arrived.callbacks.append(lambda _: self._enter(request))
        else:
            self._enter(request)

    def _enter(self, request: int) -> None:
        """Queue a request that came through the frontend."""
        n_tokens = self._ledger.context(request)
        if not self._can_hold(n_tokens + 1):
            self._reject(request)
            return
        if self._is_prefilled:
            self._take_prefilled(request, n_tokens)
            return
        self._enqueue(request)

    # ------------------------------------------------------------------ hooks of the replicas
    def prompt_done(self, replica: Replica, *, chunk: PrefillChunk) -> None:
        """Decode on in the same replica, or hand the request over to the decode pool."""
        ledger, request = self._ledger, chunk.request
        self._router.prompt_done(request)
        if replica.pool is Pool.AGGREGATED:
            self._emit_first(request)
            if ledger.remaining[request]:
                replica.join(request, group=chunk.group)
            else:
                self._leave(replica, chunk)
                self._end(request)
            return
        if not ledger.remaining[request]:
            self._leave(replica, chunk)
            self._emit_first(request)
            self._end(request)
            return
        self._hand_over(replica, chunk)
        self._place()

    def sequences_left(self, replica: Replica, *, requests: NDArray[np.int64]) -> None:
        """Use the freed memory for requests that wait for it."""
        self._ended(requests)
        if self.swap is not None:
            self.swap.resume(replica)
        if replica.pool is Pool.DECODE or self._is_prefilled:
            self._place()

    def sequence_preempted(self, replica: Replica, *, victim: Preempted) -> simpy.Event | None:
        """Save the cache of a request whose KV memory is taken, or queue it to compute it anew."""
        ledger, request = self._ledger, victim.request
        ledger.remaining[request] = victim.remaining
        ledger.n_preemptions[request] += 1
        if victim.is_stuck or not self._can_hold(ledger.context(request)):
            ledger.cut_short(request, now=now_ps(self._env))
            self._tell_later(request, replica)
            return None
        saved = None if self.swap is None else self.swap.save(replica, victim=victim)
        if saved is None and replica.pool is Pool.DECODE:
            self._enqueue(request, is_urgent=True)
        elif saved is None:
            replica.enqueue(request, n_tokens=ledger.context(request), is_urgent=True)
        return saved

    # ------------------------------------------------------------------ faults
    def take_out(self, replica: Replica) -> None:
        """Take a failed replica out of service; the others do its requests again.

        Parameters
        ----------
        replica : Replica
            One that is in service.
        """
        lost = replica.fail()
        if self.swap is not None:
            lost += self.swap.drop(replica)
        waiting, self._handed_over = self._handed_over, deque()
        caches = [chunk.request for source, chunk in waiting if source is replica]
        for flight in tuple(self._flights.values()):
            if replica in {flight.source, flight.target}:
                caches.extend(self._break_off(flight, replica))
        self._handed_over.extend(one for one in waiting if one[0] is not replica)
        for request in caches:
            # the token that came with the cache never got out
            self._ledger.remaining[request] += 1
        for request in (*lost, *caches):
            self._do_again(request)
        self._place()

    def put_back(self, replica: Replica) -> None:
        """Take a repaired replica into service again.

        Parameters
        ----------
        replica : Replica
            One that was taken out.
        """
        replica.repair()
        self.refill()

    def refill(self) -> None:
        """Give the requests that wait for a replica to those that are there now."""
        stranded, self._stranded = self._stranded, deque()
        for request in stranded:
            self._enqueue(request)
        self._place()

    def _break_off(self, flight: _Flight, failed: Replica) -> list[int]:
        """Stop a transfer one end of which failed; return the request if its cache is lost."""
        request = flight.chunk.request
        del self._flights[request]
        if self._links is not None:
            self._links.cancel(flight.arrived)
        if flight.target is failed:
            self._handed_over.append((flight.source, flight.chunk))
            return []
        n_tokens = flight.chunk.past_tokens + flight.chunk.n_tokens
        flight.target.batcher.release(flight.group, n_tokens=n_tokens)
        return [request]

    def _do_again(self, request: int) -> None:
        """Queue a request whose replica failed."""
        ledger = self._ledger
        self._router.prompt_done(request)
        if ledger.scheduled[request] != NEVER:
            ledger.n_preemptions[request] += 1
        if self._can_hold(ledger.context(request)):
            self._enqueue(request)
        else:
            ledger.cut_short(request, now=now_ps(self._env))
            self._tell_later(request)

    def _enqueue(self, request: int, *, is_urgent: bool = False) -> None:
        """Give a prompt to the replica that the router chooses, or keep it until there is one."""
        up = tuple(replica for replica in self._entrances if replica.is_up)
        if not up:
            self._stranded.append(request)
            return
        n_tokens = self._ledger.context(request)
        target, group = self._router.choose(up, request=request, n_tokens=n_tokens)
        target.enqueue(request, n_tokens=n_tokens, is_urgent=is_urgent, group=group)

    def n_outside(self, pool: Pool) -> int:
        """Return the requests that wait for a pool, but in none of its replicas.

        Parameters
        ----------
        pool : Pool
            The pool.
        """
        if pool is Pool.DECODE:
            return len(self._handed_over)
        return len(self._stranded) + (len(self._handed_over) if self._is_prefilled else 0)

    # ------------------------------------------------------------------ internals
    @property
    def _stages(self) -> tuple[tuple[Replica, ...], ...]:
        return tuple(stage for stage in (self._entrances, self._decoders) if stage)

    def _can_hold(self, n_tokens: int) -> bool:
        """Return whether every pool on the way could hold a context."""
        return all(stage[0].batcher.limits.fits(n_tokens) for stage in self._stages)

    def _take_prefilled(self, request: int, n_tokens: int) -> None:
        """Put a request whose prompt costs nothing into the line for KV memory."""
        ledger, now = self._ledger, now_ps(self._env)
        ledger.start(request, now=now, replica=NEVER)
        ledger.prefill_end[request] = now
        ledger.remaining[request] -= 1
        chunk = PrefillChunk(
            request=request,
            group=0,
            n_tokens=n_tokens,
            past_tokens=0,
            is_first=True,
            is_last=True,
        )
        self._hand_over(None, chunk)
        self._place()

    def _hand_over(self, source: Replica | None, chunk: PrefillChunk) -> None:
        """Let a cache wait for memory behind those of its own and of higher priority."""
        line, ranks = self._handed_over, self.priorities
        position = len(line)
        while ranks is not None and position:
            if ranks[line[position - 1][1].request] >= ranks[chunk.request]:
                break
            position -= 1
        line.insert(position, (source, chunk))

    def _place(self) -> None:
        """Give waiting KV caches to decode replicas, first come first served.

        Where a cache waits for a certain replica, those behind it may go to others.
        """
        up = [one for one in self._decoders if one.is_up and not one.batcher.holds_prompts]
        full: set[int] = set()
        kept: list[tuple[Replica | None, PrefillChunk]] = []
        while self._handed_over and len(full) < len(up):
            source, chunk = self._handed_over.popleft()
            ranked = self._router.ranked(up, request=chunk.request)
            spot = None
            if not full.issuperset(one.index for one in ranked):
                spot = self._reserve(ranked, chunk.past_tokens + chunk.n_tokens)
            if spot is not None:
                self._send(source, chunk, *spot)
                continue
            kept.append((source, chunk))
            if not self._router.is_binding:
                break
            full.update(one.index for one in ranked)
        self._handed_over.extendleft(reversed(kept))

    def _reserve(self, ranked: Sequence[Replica], n_tokens: int) -> tuple[Replica, int] | None:
        for replica in ranked:
            group = replica.batcher.reserve(n_tokens)
            if group is not None:
                self._router.placed(replica)
                return replica, group
        return None

    def _send(
        self, source: Replica | None, chunk: PrefillChunk, target: Replica, group: int
    ) -> None:
        if self._links is None or source is None:
            self._arrive(source, chunk, target, group)
            return
        event = self._links.send(
            source,
            target=target,
            groups=(chunk.group, group),
            n_tokens=chunk.past_tokens + chunk.n_tokens,
        )
        self._flights[chunk.request] = _Flight(
            source=source, chunk=chunk, target=target, group=group, arrived=event
        )
        event.callbacks.append(lambda _: self._arrive(source, chunk, target, group))

    def _arrive(
        self, source: Replica | None, chunk: PrefillChunk, target: Replica, group: int
    ) -> None:
        ledger, request = self._ledger, chunk.request
        self._flights.pop(request, None)
        ledger.transfer_end[request] = now_ps(self._env)
        if source is not None:
            self._leave(source, chunk)
        self._emit_first(request)
        if ledger.remaining[request]:
            target.join(request, group=group)
            return
        target.batcher.release(group, n_tokens=chunk.n_tokens)
        ledger.finish(np.array([request]), now=now_ps(self._env))
        # the next request of a loop may end as fast: no call inside a call
        self._tell_later(request)

    def _leave(self, source: Replica, chunk: PrefillChunk) -> None:
        """Free the memory of a prompt at the replica that computed it."""
        n_tokens = chunk.past_tokens + chunk.n_tokens
        source.batcher.release(chunk.group, n_tokens=n_tokens, request=chunk.request)
        if self.swap is not None:
            self.swap.resume(source)
        source.wake()

    def _reject(self, request: int) -> None:
        self._ledger.reject(request)
        self._tell_later(request)

    def _tell_later(self, request: int, replica: Replica | None = None) -> None:
        """Tell that a request ended, but not inside the call that ended it."""

        def tell(_: simpy.Event) -> None:
            ended = np.array([request])
            if replica is None:
                self._ended(ended)
            else:
                self.sequences_left(replica, requests=ended)

        self._env.timeout(0).callbacks.append(tell)

    def _emit_first(self, request: int) -> None:
        if self._ledger.first_token[request] == NEVER:
            self._ledger.first_token[request] = now_ps(self._env)

    def _end(self, request: int) -> None:
        ended = np.array([request])
        self._ledger.finish(ended, now=now_ps(self._env))
        self._ended(ended)
