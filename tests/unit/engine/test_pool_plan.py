"""What the replicas of a pool share."""

from dataclasses import FrozenInstanceError

import pytest
from strategies import Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.streams import Streams


def test_a_plan_is_shared_and_does_not_change(small_files):
    scenario = build(Case(pools=(Shape(tp=2, replicas=3),)), small_files)
    routing = RoutingInputs(scenario, streams=Streams(0))
    plan = plan_pool(scenario, name="aggregated", routing=routing)
    assert isinstance(plan, PoolPlan)
    assert plan.pool.n_gpus == 6
    assert plan.memory.cache_bytes > 0
    assert plan.step_tolerance_frac == 0
    assert plan.new_memory() is not plan.new_memory()
    with pytest.raises(FrozenInstanceError):
        plan.role = None
