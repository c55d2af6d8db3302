"""Replicas are switched on and off as the queue or the KV memory asks for it."""

from collections.abc import Callable, Generator
from typing import Any

import simpy

from rackmoe.engine.clock import now_ps, to_ps, to_s
from rackmoe.engine.fleet import Fleet
from rackmoe.engine.replica import Replica
from rackmoe.errors import InvariantError
from rackmoe.records import ServiceState
from rackmoe.scenario.autoscaling import Autoscaling
from rackmoe.serving.autoscaling import ReplicaCount, wanted_replicas

__all__ = ["Autoscaler"]

_MOST_STUCK_LOOKS = 1000
"""Looks in a row at a queue that nobody serves before the run is given up as broken."""

_COUNTED = (ServiceState.SERVING, ServiceState.LOADING)


class Autoscaler:
    """Looks at the load of one pool at regular times.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    fleet : Fleet
        Switches replicas.
    replicas : sequence of Replica
        Those of the pool.
    choice : Autoscaling
        What the scenario says.
    n_outside : callable
        Returns the requests that wait for the pool outside of its replicas.

    Attributes
    ----------
    n_started, n_stopped : int
        Replicas switched on and off.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        fleet: Fleet,
        replicas: list[Replica],
        choice: Autoscaling,
        n_outside: Callable[[], int],
    ) -> None:
        self._env = env
        self._fleet = fleet
        self._replicas = replicas
        self._choice = choice
        self._n_outside = n_outside
        self._count = ReplicaCount(
            least=choice.min_replicas,
            most=len(replicas),
            stabilization_ps=to_ps(choice.stabilization_s),
        )
        self._n_stuck = 0
        self.n_started = self.n_stopped = 0
        for number, replica in enumerate(replicas):
            if number < (choice.start_replicas or choice.min_replicas):
                fleet.watch(replica)
            else:
                fleet.switch_off_at_start(replica)
        env.process(self._look())

    # ------------------------------------------------------------------ the process
    def _look(self) -> Generator[simpy.Event, Any, None]:
        while True:
            yield self._env.timeout(to_ps(self._choice.interval_s))
            self._adjust()
            # where nothing else is left to happen, a look would keep an empty clock running
            if self._env.peek() == float("inf"):
                return

    def _adjust(self) -> None:
        n_now = len(self._in(*_COUNTED))
        n_waiting = self._n_waiting()
        self._check_progress(n_waiting)
        choice = self._choice
        wishes = []
        for load, target in (
            (float(n_waiting), choice.waiting_per_replica),
            (self._used_frac(), choice.kv_memory_frac),
        ):
            if target:
                tolerance_frac = choice.tolerance_frac
                wishes.append(
                    wanted_replicas(n_now, load=load, target=target, tolerance_frac=tolerance_frac)
                )
        wanted = self._count.settle(max(wishes), n_now=n_now, now_ps=now_ps(self._env))
        if wanted > n_now:
            self._start(wanted - n_now)
        elif wanted < n_now:
            self._stop(n_now - wanted)

    def _start(self, n_more: int) -> None:
        there = [one for one in self._replicas if self._fleet.can_start(one)]
        there.sort(key=lambda one: self._fleet.states[one.index] is ServiceState.OFF)
        for replica in there[:n_more]:
            self._fleet.start(replica)
            self.n_started += 1

    def _stop(self, n_less: int) -> None:
        """Give up replicas that do not serve yet, then those with the least to do."""
        there = self._in(ServiceState.LOADING)[::-1]
        serving = self._in(ServiceState.SERVING)
        there += sorted(serving, key=lambda one: (one.batcher.load_tokens, -one.index))
        for replica in there[:n_less]:
            self._fleet.stop(replica)
            self.n_stopped += 1

    # ------------------------------------------------------------------ what it sees
    def _in(self, *states: ServiceState) -> list[Replica]:
        return [one for one in self._replicas if self._fleet.states[one.index] in states]

    def _n_waiting(self) -> int:
        inside = sum(one.batcher.n_waiting for one in self._in(ServiceState.SERVING))
        return inside + self._n_outside()

    def _used_frac(self) -> float:
        """Return the share of KV memory in use, summed over the replicas that serve."""
        used = 0.0
        for one in self._in(ServiceState.SERVING):
            limits = one.batcher.limits
            used += 1.0 - float(one.batcher.free_blocks.sum()) / (
                limits.kv_blocks * limits.n_groups
            )
        return used

    def _check_progress(self, n_waiting: int) -> None:
        is_coming = bool(self._in(ServiceState.LOADING, ServiceState.FAILED))
        is_busy = any(one.batcher.load_tokens for one in self._replicas)
        is_stuck = n_waiting > 0 and not is_coming and not is_busy
        self._n_stuck = self._n_stuck + 1 if is_stuck else 0
        if self._n_stuck > _MOST_STUCK_LOOKS:
            raise InvariantError(
                f"LAW-08 at t={to_s(now_ps(self._env)):.6f} s: {n_waiting} requests wait, but no "
                "replica serves or starts"
            )
