"""Which replicas serve: those that failed or were switched off load their weights again."""

from collections.abc import Mapping, Sequence

import simpy

from rackmoe.engine.clock import now_ps, to_ps, to_s
from rackmoe.engine.rack import Rack
from rackmoe.engine.replica import Replica
from rackmoe.engine.shipments import HOST, Shipments
from rackmoe.network.arbitration import TrafficClass
from rackmoe.records import Pool, ServiceState, Table
from rackmoe.scenario.autoscaling import StartUp

__all__ = ["Fleet"]


class Fleet:
    """The life of replicas beside their requests, which the rack moves.

    Parameters
    ----------
    rack : Rack
        Takes replicas out of service and into it.
    replicas : sequence of Replica
        All of them, by number.
    shipments : Shipments
        Moves weights from host memory.
    weights_bytes : mapping of Pool to float
        Weights of one GPU. [B]
    start_up : StartUp or None
        What a replica does before it serves; None if it does at once.

    Attributes
    ----------
    states : list of ServiceState
        Of each replica, by number.
    n_loads : int
        Times that a replica loaded its weights.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        rack: Rack,
        replicas: Sequence[Replica],
        shipments: Shipments,
        weights_bytes: Mapping[Pool, float],
        start_up: StartUp | None,
    ) -> None:
        self._env = env
        self._rack = rack
        self.replicas = tuple(replicas)
        self._shipments = shipments
        self._weights_bytes = weights_bytes
        self._start_up = start_up
        self.states = [ServiceState.SERVING] * len(self.replicas)
        self._since = [now_ps(env)] * len(self.replicas)
        self._spans: list[tuple[int, ServiceState, int, int]] = []
        self._broken: dict[int, None] = {}
        self._loads: dict[int, simpy.Event] = {}
        self.n_loads = 0

    # ------------------------------------------------------------------ failures
    def take_out(self, replica: Replica) -> None:
        """Let a replica fail; whatever it was doing is lost.

        Parameters
        ----------
        replica : Replica
            One that is whole.
        """
        index = replica.index
        self._broken[index] = None
        state = self.states[index]
        if state in {ServiceState.SERVING, ServiceState.DRAINING}:
            was_serving = state is ServiceState.SERVING
            self._become(replica, ServiceState.FAILED if was_serving else ServiceState.OFF)
            self._rack.take_out(replica)
        elif state is ServiceState.LOADING:
            self._stop_loading(replica)
            self._become(replica, ServiceState.FAILED)

    def put_back(self, replica: Replica) -> None:
        """Let a repaired replica load its weights and serve, if it did before.

        Parameters
        ----------
        replica : Replica
            One that failed.
        """
        self._broken.pop(replica.index, None)
        if self.states[replica.index] is ServiceState.FAILED:
            self._load(replica)

    # ------------------------------------------------------------------ switching
    def switch_off_at_start(self, replica: Replica) -> None:
        """Begin without a replica.

        Parameters
        ----------
        replica : Replica
            One that has not served yet.
        """
        self.watch(replica)
        self._switch_off(replica)
        self._install()

    def watch(self, replica: Replica) -> None:
        """Be ready to switch a replica off when it is empty.

        Parameters
        ----------
        replica : Replica
            One that serves.
        """
        replica.watches.append(_Drain(self._env, fleet=self, replica=replica))

    def can_start(self, replica: Replica) -> bool:
        """Return whether a replica could be switched on.

        Parameters
        ----------
        replica : Replica
            Any replica.
        """
        state = self.states[replica.index]
        return state is ServiceState.DRAINING or (
            state is ServiceState.OFF and replica.index not in self._broken
        )

    def start(self, replica: Replica) -> None:
        """Switch a replica on; one that is about to leave stays.

        Parameters
        ----------
        replica : Replica
            One that `can_start`.
        """
        if self.states[replica.index] is ServiceState.DRAINING:
            self._become(replica, ServiceState.SERVING)
            self._install()
            self._rack.refill()
        else:
            self._load(replica)

    def stop(self, replica: Replica) -> None:
        """Switch a replica off as soon as its requests have ended.

        Parameters
        ----------
        replica : Replica
            One that serves or loads its weights.
        """
        if self.states[replica.index] is ServiceState.LOADING:
            self._stop_loading(replica)
            self._become(replica, ServiceState.OFF)
            self._install()
            return
        self._become(replica, ServiceState.DRAINING)
        self._install()
        self.drained(replica)

    def drained(self, replica: Replica) -> None:
        """Switch a replica off if it shall go and has nothing left.

        Parameters
        ----------
        replica : Replica
            One that may have become idle.
        """
        batcher = replica.batcher
        is_empty = not (len(batcher.running) or batcher.n_waiting or batcher.held_blocks.any())
        swap = self._rack.swap
        is_empty &= swap is None or not swap.is_waited_for(replica)
        if self.states[replica.index] is ServiceState.DRAINING and is_empty:
            self._switch_off(replica)

    # ------------------------------------------------------------------ records
    @property
    def has_changed(self) -> bool:
        """Whether any replica did anything but serve."""
        return bool(self._spans) or any(one is not ServiceState.SERVING for one in self.states)

    def write(self, table: Table) -> None:
        """Append what each replica was from when to when.

        Parameters
        ----------
        table : Table
            The replica table.
        """
        now = now_ps(self._env)
        last = [
            (index, state, since, now)
            for index, (state, since) in enumerate(zip(self.states, self._since, strict=True))
        ]
        for index, state, start, end in sorted((*self._spans, *last), key=lambda one: one[::2]):
            pool = self.replicas[index].pool
            table.append_row((index, pool, state, to_s(start), to_s(end - start)))

    # ------------------------------------------------------------------ internals
    def _become(self, replica: Replica, state: ServiceState) -> None:
        index, now = replica.index, now_ps(self._env)
        if now > self._since[index]:
            self._spans.append((index, self.states[index], self._since[index], now))
        self._since[index] = now
        self.states[index] = state

    def _install(self) -> None:
        """Tell the rack which replicas there are: those that are on, even if they failed."""
        gone = (ServiceState.OFF, ServiceState.DRAINING)
        self._rack.install([one for one in self.replicas if self.states[one.index] not in gone])

    def _switch_off(self, replica: Replica) -> None:
        self._become(replica, ServiceState.OFF)
        replica.fail()

    def _load(self, replica: Replica) -> None:
        choice = self._start_up
        if choice is None:
            self._serve(replica)
            return
        self._become(replica, ServiceState.LOADING)
        self._install()
        self.n_loads += 1
        n_gpus = replica.tp * replica.batcher.limits.n_groups
        gpus = range(replica.first_gpu, replica.first_gpu + n_gpus)
        weights_bytes = self._weights_bytes[replica.pool]
        if choice.bandwidth_bytes_per_s is None:
            loaded = self._shipments.ship(
                {(HOST, gpu): weights_bytes for gpu in gpus},
                traffic_class=TrafficClass.WEIGHTS,
                setup_s=choice.delay_s,
            )
        else:
            seconds = choice.delay_s + weights_bytes / choice.bandwidth_bytes_per_s
            loaded = self._env.timeout(to_ps(seconds))
        self._loads[replica.index] = loaded
        loaded.callbacks.append(lambda event: self._loaded(replica, event))

    def _loaded(self, replica: Replica, event: simpy.Event) -> None:
        if self._loads.get(replica.index) is event:
            del self._loads[replica.index]
            self._serve(replica)

    def _stop_loading(self, replica: Replica) -> None:
        self._shipments.cancel(self._loads.pop(replica.index))

    def _serve(self, replica: Replica) -> None:
        self._become(replica, ServiceState.SERVING)
        self._install()
        self._rack.put_back(replica)


class _Drain:
    """Watches a replica for the moment in which it has nothing left to do."""

    def __init__(self, env: simpy.Environment, *, fleet: Fleet, replica: Replica) -> None:
        self._env = env
        self._fleet = fleet
        self._replica = replica

    def started(self, plan: object) -> None:
        """Do nothing."""

    def ended(self, plan: object, *, start_ps: int, end_ps: int, n_steps: int) -> None:
        """Do nothing. [ps]."""

    def idle(self) -> None:
        """Ask the fleet, but not inside the process of the replica, which may end there."""
        if self._fleet.states[self._replica.index] is ServiceState.DRAINING:
            later = self._env.timeout(0)
            later.callbacks.append(lambda _: self._fleet.drained(self._replica))
