"""LAW-04 with every router: whoever gets a request, it ends once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from strategies import Shape, build, cases

from rackmoe.metrics.checks import check_requests
from rackmoe.scenario.policies import RouterChoice
from rackmoe.simulation import simulate

PAIRS = (Shape(replicas=3), Shape(attention_dp=2, ep=2, replicas=2))


def routed(case, folder, policy):
    scenario = build(case, folder)
    router = RouterChoice(policy=policy)
    deployment = scenario.document.deployment.model_copy(update={"router": router})
    document = scenario.document.model_copy(update={"deployment": deployment})
    return simulate(replace(scenario, document=document), seed=0)


@pytest.mark.parametrize("policy", ["round_robin", "kv_aware"])
@settings(max_examples=6)
@given(case=cases(pools=PAIRS, kv_tokens=None))
def test_every_request_ends_and_every_replica_is_used_in_turn(small_files, policy, case):
    requests = routed(case, small_files, policy).to_frame("requests")
    check_requests(requests, n_arrived=case.requests)
    assert (requests["state"] == "done").all()
    if policy == "round_robin":
        counts = requests["prefill_replica"].value_counts().reindex(range(3), fill_value=0)
        assert counts.max() - counts.min() <= 1
