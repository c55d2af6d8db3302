"""What a deployment decides while it runs."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.policies import RouterChoice


def test_requests_go_to_the_least_loaded_replica_unless_asked():
    assert RouterChoice().policy == "least_loaded"


def test_a_router_is_written_in_the_deployment(make_document):
    text = "deployment: {aggregated: {}, router: {policy: kv_aware, overlap_weight: 2.0}}"
    router = make_document(deployment=text).deployment.router
    assert (router.policy, router.overlap_weight) == ("kv_aware", 2.0)


def test_a_weight_that_nobody_reads_is_refused(make_document):
    with pytest.raises(ConfigError, match="overlap_weight goes with policy kv_aware only"):
        make_document(deployment="deployment: {aggregated: {}, router: {overlap_weight: 2.0}}")


def test_preempted_sequences_are_computed_again_unless_asked(make_document):
    assert make_document().deployment.preemption.policy == "recompute"
    text = "deployment: {aggregated: {}, preemption: {policy: swap, host_memory: 64 GB}}"
    assert make_document(deployment=text).deployment.preemption.host_memory_bytes == 64e9


def test_host_memory_that_nobody_uses_is_refused(make_document):
    text = "deployment: {aggregated: {}, preemption: {host_memory: 64 GB}}"
    with pytest.raises(ConfigError, match="host_memory goes with policy swap only"):
        make_document(deployment=text)


AUTOSCALED = "start_up: {}, autoscaling: {aggregated: {kv_memory: 0.5}}"
APPLICATIONS = """
  applications:
    one: {share: 0.5, lengths: {input: 64, output: 8}}
    two: {share: 0.5, lengths: {input: 64, output: 8}}
"""


@pytest.mark.parametrize(
    ("deployment", "problem"),
    [
        ("{aggregated: {replicas: 2}, %s}", None),
        ("{aggregated: {}, %s}", "2 applications for 1 replicas; expected one each at least"),
        ("{prefill: {}, decode: {}, %s}", "by_application needs an aggregated pool"),
        (
            "{aggregated: {replicas: 2}, " + AUTOSCALED + ", %s}",
            "by_application together with autoscaling is not modeled",
        ),
    ],
)
def test_each_application_needs_a_replica_of_its_own(make_document, deployment, problem):
    text = f"deployment: {deployment % 'router: {policy: by_application}'}"
    changes = {"deployment": text, "lengths": APPLICATIONS.strip("\n")}
    if problem is None:
        assert make_document(**changes).deployment.router.policy == "by_application"
        return
    with pytest.raises(ConfigError, match=problem):
        make_document(**changes)


def test_only_round_robin_has_several_frontends():
    assert RouterChoice(policy="round_robin", frontends=10).frontends == 10
    with pytest.raises(ValueError, match="round_robin only"):
        RouterChoice(frontends=2)
