"""The rebalancers of one run, put together."""

from collections.abc import Sequence

import simpy

from rackmoe.engine.expert_links import ExpertLinks
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.rebalancing import RebalancedRouting, Rebalancer
from rackmoe.engine.replica import Replica
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.engine.shipments import Shipments
from rackmoe.model.dtypes import BITS_PER_BYTE, weight_bits
from rackmoe.model.parameters import expert_parameters
from rackmoe.records import Table
from rackmoe.scenario.resolved import Scenario

__all__ = ["install_rebalancers"]


def install_rebalancers(
    env: simpy.Environment,
    *,
    scenario: Scenario,
    plans: Sequence[PoolPlan],
    replicas: Sequence[Replica],
    routing: RoutingInputs,
    shipments: Shipments,
    table: Table,
) -> tuple[Rebalancer, ...]:
    """Rebalance the pools whose experts are spread, where the scenario asks for it.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    scenario : Scenario
        The scenario.
    plans : sequence of PoolPlan
        Its pools.
    replicas : sequence of Replica
        In the order of the pools.
    routing : RoutingInputs
        Sources and placements of the run.
    shipments : Shipments
        What moves bytes over the fabric.
    table : Table
        Where rebalances are written.

    Returns
    -------
    tuple of Rebalancer
        One for each such pool; close them when the run ends.
    """
    choice = scenario.document.experts.rebalance
    if choice is None:
        return ()
    dtype = scenario.arch.dtypes.routed_expert
    expert_bytes = expert_parameters(scenario.arch) * weight_bits(dtype) / BITS_PER_BYTE
    mover = ExpertLinks(shipments, path=choice.path)
    found: list[Rebalancer] = []
    for plan in plans:
        if plan.pool.ep == 1:
            continue
        rebalancer = Rebalancer(
            env,
            choice=choice,
            plan=plan,
            routing=_routing(routing, plan, policy=choice.policy, expert_bytes=expert_bytes),
            mover=mover,
            table=table,
        )
        rebalancer.attach([one for one in replicas if one.pool is plan.role])
        found.append(rebalancer)
    return tuple(found)


def _routing(
    inputs: RoutingInputs, plan: PoolPlan, *, policy: str, expert_bytes: float
) -> RebalancedRouting:
    role = plan.role.name.lower()
    return RebalancedRouting(
        place=lambda load, parts: inputs.place(plan.pool, policy=policy, load=load, parts=parts),
        source=lambda placement: inputs.moved(role=role, placement=placement),
        expert_bytes=expert_bytes,
    )
