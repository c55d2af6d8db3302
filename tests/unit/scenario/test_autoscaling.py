"""What a scenario may say about replicas that come and go."""

import pytest

from rackmoe.errors import ConfigError

POOL = "aggregated: {replicas: 2}"


def deployed(make_document, text):
    return make_document(deployment=f"deployment: {{{POOL}, {text}}}").deployment


def test_weights_come_from_the_host_unless_a_storage_is_given(make_document):
    start_up = deployed(make_document, "start_up: {delay: 30 s}").start_up
    assert (start_up.weights_from, start_up.delay_s) == ("host", 30.0)
    text = "start_up: {weights_from: storage, bandwidth: 2 GB/s}"
    assert deployed(make_document, text).start_up.bandwidth_bytes_per_s == 2e9


def test_an_autoscaler_has_a_target_and_starts_with_the_fewest(make_document):
    text = "start_up: {}, autoscaling: {aggregated: {waiting_per_replica: 4.0}}"
    one = deployed(make_document, text).autoscaling["aggregated"]
    assert (one.min_replicas, one.start_replicas, one.interval_s) == (1, None, 15.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("start_up: {weights_from: storage}", "bandwidth goes with weights_from: storage"),
        ("start_up: {bandwidth: 2 GB/s}", "bandwidth goes with weights_from: storage"),
        ("start_up: {weights_from: storage, bandwidth: 0 GB/s}", "bandwidth: 0"),
        ("start_up: {}, autoscaling: {aggregated: {}}", "no target; write waiting_per_replica"),
        ("autoscaling: {aggregated: {kv_memory: 0.5}}", r"write start_up: \{weights_from: host"),
        (
            "start_up: {}, autoscaling: {decode: {kv_memory: 0.5}}",
            "autoscaling.decode: there is no such pool; expected one of aggregated",
        ),
        (
            "start_up: {}, autoscaling: {aggregated: {kv_memory: 0.5, min_replicas: 3}}",
            "autoscaling.aggregated: 3 replicas at the start; the pool has GPUs for 2",
        ),
        (
            "start_up: {}, autoscaling: {aggregated: {kv_memory: 0.5, interval: 0 s}}",
            "interval: 0",
        ),
        (
            "autoscaling: {aggregated: {kv_memory: 0.5, min_replicas: 2, start_replicas: 1}}",
            "start_replicas: 1; at least min_replicas = 2 serve",
        ),
    ],
)
def test_what_cannot_be_is_refused(make_document, text, problem):
    with pytest.raises(ConfigError, match=problem):
        deployed(make_document, text)
