"""LAW-04 for applications on one machine: shared or apart, with priorities, all are served."""

import numpy as np
import pytest
from strategies import Case, Shape, build

from rackmoe.metrics.checks import check_requests
from rackmoe.scenario.policies import PreemptionChoice, RouterChoice
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.scenario.workload import Workload
from rackmoe.simulation import simulate

CASE = Case(
    model="grouped",
    pools=(Shape(replicas=2),),
    kv_tokens=160,
    max_batch=3,
    lengths=(40, 30),
    requests=24,
)


def run(folder, *, policy="least_loaded", priority=0, is_swapping=False):
    scenario = build(CASE, folder)
    old = scenario.document.workload
    one = {"share": 0.5, "lengths": {"input": 40, "output": 30, "spread": (0.5, 1.5)}}
    workload = Workload.model_validate(
        {
            "arrivals": {"poisson": "500000 /s"},
            "applications": {"agents": one, "chat": one | {"priority": priority}},
            "requests": 24,
            "routing": old.routing.model_dump(),
        }
    )
    changes = {
        "router": RouterChoice(policy=policy),
        "preemption": PreemptionChoice(policy="swap" if is_swapping else "recompute"),
    }
    deployment = scenario.document.deployment.model_copy(update=changes)
    document = scenario.document.model_copy(
        update={"workload": workload, "deployment": deployment}
    )
    return simulate(resolve_scenario(document, name="case"), seed=0)


@pytest.mark.parametrize("policy", ["least_loaded", "by_application"])
@pytest.mark.parametrize("is_swapping", [False, True])
def test_all_requests_of_all_applications_end(small_files, policy, is_swapping):
    result = run(small_files, policy=policy, priority=1, is_swapping=is_swapping)
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=24)
    assert (requests["state"] == "done").all()
    if policy == "by_application":
        own = requests["application"].astype(str).map({"agents": 0, "chat": 1})
        assert (requests["prefill_replica"] == own).all()


def test_priority_shifts_waiting_and_preemption_to_the_others(small_files):
    waits, evictions = {}, {}
    for priority in (0, 1):
        requests = run(small_files, priority=priority).to_frame("requests")
        chat = requests[requests["application"].astype(str) == "chat"]
        waits[priority] = float((chat["scheduled_s"] - chat["arrival_s"]).mean())
        evictions[priority] = (
            int(chat["n_preemptions"].sum()),
            int(requests["n_preemptions"].sum()),
        )
    assert waits[1] < waits[0]
    # those of the low priority give way, as long as there are any
    assert evictions[1][0] < evictions[1][1]
    assert np.isfinite(list(waits.values())).all()


def test_equal_priorities_are_none(small_files):
    one, other = run(small_files), run(small_files, priority=0)
    assert one.to_frame("requests").equals(other.to_frame("requests"))
