"""What a workload may say."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.workload import Arrivals, Lengths, Routing


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"arrivals": "  arrivals: {}"}, "none given; write exactly one of closed_loop, poisson"),
        (
            {"arrivals": "  arrivals: {poisson: 1 /s, batch: true}"},
            "poisson and batch given; write exactly one",
        ),
        (
            {"arrivals": "  arrivals: {closed_loop: 2, burst_cv: 2}"},
            "burst_cv goes with poisson only; remove it",
        ),
        ({"arrivals": "  arrivals: {poisson: 10}"}, "arrivals.poisson: '10' has no unit"),
        ({"lengths": None}, "write 'lengths' for generated arrivals"),
        ({"arrivals": "  arrivals: {trace: azure_conv_2023}"}, "none for a trace"),
        (
            {"lengths": "  lengths: {input: 1, output: 1, spread: [2, 1]}"},
            "write two factors with 0 < low <= high",
        ),
        ({"lengths": "  lengths: {input: 0, output: 1}"}, "lengths.input"),
        ({"requests": None}, "'requests' is missing; write it, or measurement.window"),
        (
            {"requests": "  requests: 4\n  routing: {uniform: true, balanced: true}"},
            "uniform and balanced given; write exactly one of",
        ),
        (
            {"requests": "  requests: 4\n  routing: {}"},
            "none given; write exactly one of uniform, balanced, generator, trace",
        ),
        (
            {
                "arrivals": "  arrivals: {closed_loop: 2}",
                "requests": "  requests: 4\n  search: {interactivity: 50 /s}",
            },
            "'search' scales an arrival rate; write poisson or a trace",
        ),
        (
            {
                "arrivals": "  arrivals: {batch: true}",
                "requests": "  requests: 4\n  search: {interactivity: 50 /s}",
            },
            "'search' scales an arrival rate",
        ),
        (
            {
                "arrivals": "  arrivals: {closed_loop: 2}",
                "requests": "  requests: 4\n  measurement: {window: 5 s}",
            },
            "measurement.window goes by arrival times, which a closed_loop does not have",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(make_document, changes, problem):
    with pytest.raises(ConfigError, match=problem):
        make_document(**changes)


def test_a_loop_is_closed_and_everything_else_open():
    assert not Arrivals(closed_loop=3).is_open
    assert Arrivals(batch=True).is_open
    assert Arrivals(poisson_requests_per_s=2.0).is_open


def test_defaults_leave_lengths_and_routing_alone(make_document):
    workload = make_document().workload
    assert workload.lengths == Lengths(input=64, output=8)
    assert workload.lengths.spread == (1.0, 1.0)
    assert workload.routing == Routing(uniform=True)
    assert workload.measurement.window_s is None
    assert workload.search is None


def test_a_window_needs_no_number_of_requests(make_document):
    document = make_document(requests="  measurement: {warm_up: 5 s, window: 10 s}")
    assert document.workload.requests is None
    assert document.workload.measurement.warm_up_s == 5
