"""Let the popularity of experts follow the mix of texts while a run goes on."""

from collections.abc import Sequence

import simpy

from rackmoe.engine.clock import now_ps, to_ps, to_s
from rackmoe.engine.planned import PlannedStep
from rackmoe.engine.replica import Replica
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.scenario.resolved import Scenario

__all__ = ["RoutingDrift", "install_drift"]

_STEPS_PER_MEMORY = 64
"""Changes of the popularity while the mix forgets 1/e (kind: assumed; bounds the cost)."""


class RoutingDrift:
    """Watches all replicas, and moves the popularity on between their steps.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    routing : RoutingInputs
        The sources of the run.
    memory_s : float
        Time after which the mix has forgotten (1/e) what it was. [s]
    """

    def __init__(self, env: simpy.Environment, *, routing: RoutingInputs, memory_s: float) -> None:
        self._env = env
        self._routing = routing
        self._every_ps = max(1, to_ps(memory_s / _STEPS_PER_MEMORY))
        self._last_ps = now_ps(env)

    def started(self, plan: PlannedStep) -> None:
        """Do nothing: the step has its tokens."""

    def ended(self, plan: PlannedStep, *, start_ps: int, end_ps: int, n_steps: int) -> None:  # noqa: ARG002 - only the time counts
        """Let the time of some steps go by. [ps]."""
        self._go_on()

    def idle(self) -> None:
        """Do nothing: nobody looks."""

    def _go_on(self) -> None:
        now = now_ps(self._env)
        if now - self._last_ps >= self._every_ps:
            self._routing.drift(to_s(now - self._last_ps))
            self._last_ps = now


def install_drift(
    env: simpy.Environment,
    *,
    scenario: Scenario,
    replicas: Sequence[Replica],
    routing: RoutingInputs,
) -> None:
    """Let the popularity of experts drift, where the scenario asks for it.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    scenario : Scenario
        The scenario.
    replicas : sequence of Replica
        All replicas of the run.
    routing : RoutingInputs
        The sources of the run.
    """
    choice = scenario.document.workload.routing.drift
    if choice is None:
        return
    drift = RoutingDrift(env, routing=routing, memory_s=choice.memory_s)
    for replica in replicas:
        replica.watches.append(drift)
