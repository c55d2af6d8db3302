"""The requests of a scenario and which of them count."""

import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.traffic import build_traffic, find_request_trace
from rackmoe.streams import Streams


def traffic(make_document, *, seed=0, **changes):
    return build_traffic(make_document(**changes), streams=Streams(seed))


def test_poisson_arrivals_bring_lengths_and_are_all_measured(make_document):
    built = traffic(make_document)
    assert len(built.requests) == 4
    assert (built.requests.input_tokens == 64).all()
    assert (built.requests.output_tokens == 8).all()
    assert built.is_measured.all()
    assert (built.window_s, built.until_s) == (None, None)
    assert built.origin == "Poisson arrivals at 10 requests/s, generated"


def test_a_faster_rate_keeps_the_shape_of_the_traffic(make_document):
    slow = traffic(make_document)
    fast = traffic(make_document, arrivals="  arrivals: {poisson: 10 /s, rate_scale: 4}")
    assert fast.requests.arrival_s * 4 == pytest.approx(slow.requests.arrival_s)
    assert "40 requests/s" in fast.origin


def test_failed_requests_of_a_trace_are_counted(make_document, tmp_path):
    path = tmp_path / "burst.csv"
    path.write_text("Timestamp,Request tokens,Response tokens\n0,5,2\n1,5,0\n2,5,3\n")
    given = {"arrivals": f"  arrivals: {{trace: {path}}}", "lengths": None}
    built = traffic(make_document, **given)
    # four requests of the two that are left
    assert built.requests.output_tokens.tolist() == [2, 3, 2, 3]
    (warning,) = built.warnings
    assert warning.startswith("workload: 1 requests of the trace have no output; they failed")
    application = f"  applications: {{a: {{arrivals: {{trace: {path}}}, requests: 3}}}}"
    merged = traffic(make_document, arrivals=application, lengths=None, requests=None)
    assert merged.warnings == built.warnings
    assert traffic(make_document).warnings == ()


def test_bursts_have_the_asked_variation(make_document):
    built = traffic(
        make_document,
        arrivals="  arrivals: {poisson: 10 /s, burst_cv: 3}",
        requests="  requests: 20000",
    )
    gaps_s = np.diff(built.requests.arrival_s)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(3, rel=0.05)
    assert built.origin.startswith("gamma arrivals")


def test_spread_lengths_stay_within_their_factors(make_document):
    built = traffic(
        make_document,
        lengths="  lengths: {input: 100, output: 10, spread: [0.5, 1.5]}",
        requests="  requests: 500",
    )
    inputs = built.requests.input_tokens
    assert (inputs.min(), inputs.max()) == (50, 150)


def test_a_batch_arrives_at_once_and_a_loop_by_itself(make_document):
    batch = traffic(make_document, arrivals="  arrivals: {batch: true}")
    assert not batch.requests.arrival_s.any()
    loop = traffic(make_document, arrivals="  arrivals: {closed_loop: 2}")
    assert loop.requests.is_closed_loop
    assert loop.is_measured.all()
    assert loop.origin == "closed loop of 2 requests"


def test_a_share_of_the_requests_warms_up(make_document):
    built = traffic(
        make_document,
        arrivals="  arrivals: {closed_loop: 2}",
        requests="  requests: 10\n  measurement: {warm_up_requests: 0.3}",
    )
    assert built.is_measured.tolist() == [False] * 3 + [True] * 7


def test_a_time_of_warm_up_drops_what_arrives_before(make_document):
    built = traffic(make_document, requests="  requests: 100\n  measurement: {warm_up: 2 s}")
    assert (built.is_measured == (built.requests.arrival_s >= 2)).all()


def test_a_window_measures_its_arrivals_and_the_rest_keeps_the_machine_busy(make_document):
    built = traffic(make_document, requests="  measurement: {warm_up: 2 s, window: 10 s}")
    arrival_s = built.requests.arrival_s
    assert built.window_s == (2.0, 12.0)
    # three more windows of traffic while the measured requests finish
    assert built.until_s == 42.0
    assert 12 < arrival_s.max() < 42
    assert (built.is_measured == ((arrival_s >= 2) & (arrival_s < 12))).all()


def test_a_window_without_arrivals_is_explained(make_document):
    with pytest.raises(ConfigError, match="none of 4 requests falls into the measured part"):
        traffic(make_document, requests="  requests: 4\n  measurement: {warm_up: 1000 s}")


def test_no_arrivals_at_all_are_explained(make_document):
    with pytest.raises(ConfigError, match="none of 0 requests"):
        traffic(
            make_document,
            arrivals="  arrivals: {poisson: 0.001 /s}",
            requests="  measurement: {window: 1 s}",
        )


def test_a_batch_needs_a_number(make_document):
    document = make_document(
        arrivals="  arrivals: {batch: true}", requests="  measurement: {window: 5 s}"
    )
    with pytest.raises(ConfigError, match=r"workload.requests: missing; a closed loop or a batch"):
        build_traffic(document, streams=Streams(0))


def test_a_trace_brings_arrivals_and_lengths(make_document):
    built = traffic(
        make_document,
        arrivals="  arrivals: {trace: azure_conv_2023, rate_scale: 2}",
        lengths=None,
        requests="  requests: 50",
    )
    assert len(built.requests) == 50
    assert built.requests.arrival_s[0] == 0
    assert built.origin == (
        "arrivals and lengths recorded in azure_conv_2023.csv, time compressed by 2"
    )
    native = traffic(
        make_document,
        arrivals="  arrivals: {trace: azure_conv_2023}",
        lengths=None,
        requests="  requests: 50",
    )
    assert "at their own rate" in native.origin
    assert built.requests.arrival_s * 2 == pytest.approx(native.requests.arrival_s)


def test_the_seed_changes_arrivals_and_lengths_apart(make_document):
    first, second = (traffic(make_document, seed=seed).requests for seed in (0, 1))
    assert (first.arrival_s != second.arrival_s).any()


def test_a_file_wins_over_a_shipped_trace(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("", encoding="utf-8")
    assert find_request_trace(str(path)) == path
    assert find_request_trace("mooncake_conversation").name == "mooncake_conversation.jsonl.gz"


def test_an_unknown_trace_gets_a_suggestion():
    with pytest.raises(ConfigError, match=r"shipped trace 'azure_conv'; .*azure_conv_20"):
        find_request_trace("azure_conv")
