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
