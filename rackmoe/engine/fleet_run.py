"""The replicas of one run as a fleet: start-up, autoscalers, and what became of them."""

from collections.abc import Iterable, Sequence
from functools import partial

import simpy

from rackmoe.engine.autoscaler import Autoscaler
from rackmoe.engine.fleet import Fleet
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.rack import Rack
from rackmoe.engine.replica import Replica
from rackmoe.engine.shipments import Shipments
from rackmoe.scenario.autoscaling import Autoscaling
from rackmoe.scenario.deployment import Deployment

__all__ = ["FleetRun"]


class FleetRun:
    """Everything of a run that has to do with replicas that come and go.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    rack : Rack
        Moves the requests.
    replicas : sequence of Replica
        All of them, with their caches and priorities.
    plans : iterable of PoolPlan
        The pools.
    deployment : Deployment
        What the scenario says.
    shipments : Shipments
        Moves weights.

    Attributes
    ----------
    fleet : Fleet
        Takes replicas out of service and into it.
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        rack: Rack,
        replicas: Sequence[Replica],
        plans: Iterable[PoolPlan],
        deployment: Deployment,
        shipments: Shipments,
    ) -> None:
        self._env = env
        self._rack = rack
        self._deployment = deployment
        self._autoscalers: list[tuple[str, Autoscaling, Autoscaler]] = []
        self.fleet = Fleet(
            env,
            rack=rack,
            replicas=replicas,
            shipments=shipments,
            weights_bytes={plan.role: plan.memory.weights_bytes for plan in plans},
            start_up=deployment.start_up,
        )

    def begin(self) -> None:
        """Switch off the replicas that do not serve at the start, and begin to look."""
        for role, choice in self._deployment.autoscaling.items():
            own = [one for one in self.fleet.replicas if one.pool.name.lower() == role]
            one = Autoscaler(
                self._env,
                fleet=self.fleet,
                replicas=own,
                choice=choice,
                n_outside=partial(self._rack.n_outside, own[0].pool),
            )
            self._autoscalers.append((role, choice, one))

    def notes(self) -> dict[str, str]:
        """Return what became of the replicas, by topic."""
        found = {
            f"autoscaling.{role}": (
                f"{one.n_started} starts, {one.n_stopped} stops; the GPUs of replicas that are "
                f"off are {choice.inactive}"
            )
            for role, choice, one in self._autoscalers
        }
        if self.fleet.n_loads:
            found["start_up"] = f"replicas loaded their weights {self.fleet.n_loads} times"
        return found
