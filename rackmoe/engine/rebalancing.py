"""Place the experts of a pool anew while it runs, and move them there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import now_ps, to_ps, to_s
from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.replica import Replica
from rackmoe.records import Table
from rackmoe.routing.bounds import placed_imbalance
from rackmoe.routing.placement import Placement
from rackmoe.routing.rebalance import ExpertMoves, LoadWindow, find_moves, with_layers
from rackmoe.routing.step import RoutingSource
from rackmoe.scenario.rebalance import Rebalance

__all__ = ["ExpertMover", "RebalancedRouting", "Rebalancer"]


class ExpertMover(Protocol):
    """Moves experts from GPU to GPU."""

    def send(self, pairs: dict[tuple[int, int], float]) -> simpy.Event:
        """Return an event that fires when bytes have arrived. [B]."""

    def cancel(self, arrived: simpy.Event) -> None:
        """Give up what is on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalancedRouting:
    """How a pool gets another placement.

    Attributes
    ----------
    place : callable
        Takes the load of each expert (L, E), and that of each part of the window (B, L, E);
        returns a placement.
    source : callable
        Takes a placement; returns the routing of the pool under it.
    expert_bytes : float
        Weights of one expert. [B]
    """

    place: Callable[[NDArray[np.float64], NDArray[np.float64]], Placement]
    source: Callable[[Placement], RoutingSource]
    expert_bytes: float


@dataclass(slots=True)
class _Round:
    """One rebalance from the decision to the last layer."""

    new: Placement
    moves: ExpertMoves
    started_ps: int
    imbalance: tuple[float, float]
    first_layer: int = 0
    last_layer: int = 0
    n_bytes: float = 0.0
    stalled_ps: int = 0
    # replicas that have yet to start this part of the layers, and those whose experts travel
    waiting: dict[int, Replica] = field(default_factory=dict)
    moving: dict[int, simpy.Event] = field(default_factory=dict)


class Rebalancer:
    """Watches the load of a pool, and moves its experts where it has changed.

    The replicas of the pool share what is seen and the placement; each moves its own copies.
    Experts arrive beside the old ones: a part of the layers changes over as soon as it is
    there in all replicas, with the next step that is planned.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    choice : Rebalance
        When and how.
    plan : PoolPlan
        The pool.
    routing : RebalancedRouting
        How it gets another placement.
    mover : ExpertMover
        Moves experts.
    table : Table
        Where rebalances are written.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        choice: Rebalance,
        plan: PoolPlan,
        routing: RebalancedRouting,
        mover: ExpertMover,
        table: Table,
    ) -> None:
        self._env = env
        self._choice = choice
        self._plan = plan
        self._routing = routing
        self._mover = mover
        self._table = table
        n_layers, n_experts = plan.law.experts.total.shape
        self._window = LoadWindow(
            n_layers=n_layers, n_experts=n_experts, n_steps=choice.window_steps
        )
        self._seen = plan.law.experts.total.copy()
        self._replicas: Sequence[Replica] = ()
        self._idle: dict[int, bool] = {}
        self._n_steps = 0
        self._last_ps = now_ps(env)
        self._round: _Round | None = None
        self.n_rounds = 0

    def attach(self, replicas: Sequence[Replica]) -> None:
        """Watch the replicas of the pool.

        Parameters
        ----------
        replicas : sequence of Replica
            All of them.
        """
        self._replicas = replicas
        for replica in replicas:
            self._idle[replica.index] = True
            replica.watches.append(_Watch(self, replica))

    # ------------------------------------------------------------------ what replicas tell
    def started(self, replica: Replica) -> None:
        """Take note of a step that starts.

        Parameters
        ----------
        replica : Replica
            Whose step.
        """
        self._idle[replica.index] = False

    def ended(self, replica: Replica, *, n_steps: int) -> None:
        """Take note of steps that ended, and do what is due between two steps.

        Parameters
        ----------
        replica : Replica
            Whose steps.
        n_steps : int
            Their number.
        """
        total = self._plan.law.experts.total
        self._window.add(total - self._seen, n_steps=n_steps)
        self._seen = total.copy()
        self._n_steps += n_steps
        if self._round is None and self._is_due():
            self._begin(replica)
        self._start_moves(replica)

    def idle(self, replica: Replica) -> None:
        """Take note of a replica that has nothing to compute, or that failed.

        Parameters
        ----------
        replica : Replica
            Which one.
        """
        self._idle[replica.index] = True
        if replica.is_up:
            self._start_moves(replica)
        elif self._round is not None:
            # its memory is filled anew after the repair, by the placement of the pool
            self._round.waiting.pop(replica.index, None)
            arrived = self._round.moving.pop(replica.index, None)
            replica.gate.release()
            if arrived is not None:
                self._mover.cancel(arrived)
            self._finish_part()

    def close(self) -> None:
        """Write down a rebalance that has not ended when the run does."""
        if self._round is not None:
            self._write(self._round, end_s=float("nan"))

    # ------------------------------------------------------------------ internals
    def _is_due(self) -> bool:
        choice = self._choice
        if choice.every_s is not None:
            return now_ps(self._env) - self._last_ps >= to_ps(choice.every_s)
        return self._n_steps >= (choice.every_steps or 1) * len(self._replicas)

    def _begin(self, replica: Replica) -> None:
        """Compute a placement; start to move experts if any has to."""
        self._n_steps, self._last_ps = 0, now_ps(self._env)
        old, load = self._plan.law.routing.placement, self._window.load
        before = float(placed_imbalance(load, placement=old).mean())
        if not load.any() or before < self._choice.least_imbalance:
            return
        new = self._routing.place(load, self._window.parts)
        moves = find_moves(old, new=new)
        self._round = _Round(
            new=new,
            moves=moves,
            started_ps=self._last_ps,
            imbalance=(before, float(placed_imbalance(load, placement=new).mean())),
        )
        if not self._choice.planning_s:
            self._next_part()
            self._start_moves(replica)
            return
        ready = self._env.timeout(to_ps(self._choice.planning_s))
        ready.callbacks.append(lambda _: self._next_part())

    def _next_part(self) -> None:
        """Turn to the next layers; idle replicas start at once, the others after their step."""
        one = self._round
        if one is None:
            return
        n_layers = one.new.n_layers
        one.first_layer = one.last_layer
        one.last_layer = min(
            n_layers, one.first_layer + (self._choice.layers_per_step or n_layers)
        )
        up = [replica for replica in self._replicas if replica.is_up]
        one.waiting = {replica.index: replica for replica in up}
        for replica in up:
            if self._idle[replica.index]:
                self._start_moves(replica)
        self._finish_part()

    def _start_moves(self, replica: Replica) -> None:
        one = self._round
        if one is None or one.waiting.pop(replica.index, None) is None:
            return
        n_bytes, first = self._routing.expert_bytes, replica.first_gpu
        moves = one.moves.of_layers(one.first_layer, last=one.last_layer)
        pairs = {
            (first + source, first + target): n * n_bytes
            for (source, target), n in moves.pairs().items()
        }
        if not pairs:
            self._finish_part()
            return
        one.n_bytes += len(moves) * n_bytes
        arrived = self._mover.send(pairs)
        one.moving[replica.index] = arrived
        if self._choice.blocks_steps:
            replica.gate.hold()
        since = now_ps(self._env)
        arrived.callbacks.append(lambda _: self._arrived(replica, since))

    def _arrived(self, replica: Replica, since_ps: int) -> None:
        one = self._round
        if one is None:
            return
        del one.moving[replica.index]
        if self._choice.blocks_steps:
            one.stalled_ps += now_ps(self._env) - since_ps
        replica.gate.release()
        self._finish_part()

    def _finish_part(self) -> None:
        """Use the new placement of the layers that have arrived everywhere."""
        one = self._round
        if one is None or one.waiting or one.moving or one.last_layer == one.first_layer:
            return
        law = self._plan.law
        first, last = one.first_layer, one.last_layer
        place = with_layers(law.routing.placement, new=one.new, first=first, last=last)
        law.reroute(self._routing.source(place))
        for replica in self._replicas:
            replica.memory.forget()
        if last < one.new.n_layers:
            self._next_part()
            return
        self._round = None
        self.n_rounds += 1
        self._write(one, end_s=to_s(now_ps(self._env)))

    def _write(self, one: _Round, *, end_s: float) -> None:
        n_replicas = len(self._replicas)
        self._table.append_row(
            (
                self._plan.role,
                to_s(one.started_ps),
                end_s,
                len(one.moves) * n_replicas,
                one.n_bytes,
                *one.imbalance,
                to_s(one.stalled_ps) / n_replicas,
            )
        )


class _Watch:
    """Tells a rebalancer about the steps of one replica."""

    def __init__(self, rebalancer: Rebalancer, replica: Replica) -> None:
        self._rebalancer = rebalancer
        self._replica = replica

    def started(self, plan: PlannedStep) -> None:  # noqa: ARG002 - loads are summed by the law
        self._rebalancer.started(self._replica)

    def ended(self, plan: PlannedStep, *, start_ps: int, end_ps: int, n_steps: int) -> None:  # noqa: ARG002 - as above
        self._rebalancer.ended(self._replica, n_steps=n_steps)

    def idle(self) -> None:
        self._rebalancer.idle(self._replica)
