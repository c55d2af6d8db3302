"""What a run says about replicas that came and went."""

import simpy

from rackmoe.engine.fleet_run import FleetRun
from rackmoe.scenario.autoscaling import Autoscaling, StartUp
from rackmoe.scenario.deployment import Deployment
from rackmoe.scenario.deployment import Pool as PoolChoice


def fleet_run(deployment):
    env = simpy.Environment(initial_time=0)
    return FleetRun(env, rack=None, replicas=[], plans=[], deployment=deployment, shipments=None)


def test_a_plain_deployment_has_nothing_to_say():
    run = fleet_run(Deployment(aggregated=PoolChoice()))
    run.begin()
    assert run.notes() == {}
    assert not run.fleet.has_changed


def test_loads_are_counted():
    choice = Autoscaling(kv_memory_frac=0.5)
    run = fleet_run(
        Deployment(aggregated=PoolChoice(), start_up=StartUp(), autoscaling={"aggregated": choice})
    )
    run.fleet.n_loads = 3
    assert run.notes() == {"start_up": "replicas loaded their weights 3 times"}
