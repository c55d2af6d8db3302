"""The routing source and the placement that a scenario asks for."""

from rackmoe.routing.placement import contiguous
from rackmoe.routing.sources import BalancedSource
from rackmoe.routing.step import RoutingSource
from rackmoe.scenario.deployment import Pool
from rackmoe.scenario.resolved import Scenario
from rackmoe.streams import Streams

__all__ = ["build_source"]


def build_source(scenario: Scenario, pool: Pool, *, role: str, streams: Streams) -> RoutingSource:
    moe = scenario.arch.moe
    p = contiguous(moe.n_routed_experts, n_layers=len(scenario.arch.moe_layers), n_ranks=pool.ep, n_redundant=pool.redundant_experts)
    return BalancedSource(p, top_k=moe.top_k)
