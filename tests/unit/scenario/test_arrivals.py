"""When requests arrive, and what contradicts itself."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.arrivals import Arrivals, chosen_names

WAYS = {
    "closed_loop": "3",
    "poisson": "2 /s",
    "gamma": "{rate: 2 /s, cv: 3}",
    "weibull": "{rate: 2 /s, cv: 3}",
    "on_off": "{on_rate: 5 /s, on: 10 s, off: 20 s}",
    "ramp": "[{at: 0 s, rate: 1 /s}, {at: 60 s, rate: 10 /s}]",
    "batch": "true",
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_stands_alone(make_document, way):
    arrivals = make_document(arrivals=f"  arrivals: {{{way}: {WAYS[way]}}}").workload.arrivals
    assert chosen_names(arrivals, names=tuple(WAYS)) == [way]
    assert arrivals.is_open == (way != "closed_loop")
    assert arrivals.has_rate == (way not in {"closed_loop", "batch"})
    assert not arrivals.brings_lengths


def test_a_rate_of_zero_is_told_as_such(make_document):
    with pytest.raises(ConfigError, match=r"poisson: 0 /s; nobody would ever come"):
        make_document(arrivals="  arrivals: {poisson: 0 /s}")


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"poisson"}))
def test_two_ways_contradict_each_other(make_document, way):
    with pytest.raises(ConfigError, match=r"and .* given; write exactly one of closed_loop"):
        make_document(arrivals=f"  arrivals: {{poisson: 1 /s, {way}: {WAYS[way]}}}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{gamma: {rate: 2, cv: 3}}", "arrivals.gamma.rate: '2' has no unit"),
        ("{gamma: {rate: 2 /s}}", "arrivals.gamma.cv: missing"),
        ("{weibull: {rate: 2 /s, cv: -1}}", "arrivals.weibull.cv"),
        ("{weibull: {rate: 2 /s, shape: 1}}", "arrivals.weibull.shape: unknown key"),
        ("{on_off: {on_rate: 5 /s, on: 10 s, off: 20}}", "arrivals.on_off.off"),
        ("{on_off: {on_rate: 5 /s, on: 1 s, off: 2 s, phases: often}}", "phases: 'often'"),
        ("{ramp: [{at: 0 s}]}", r"arrivals.ramp\D+0\D+rate: missing"),
        ("{ramp: []}", "none given; write exactly one of"),
        ("{clients: {start: 1 h}}", "arrivals.clients.pool: missing"),
    ],
)
def test_bad_values_are_named(make_document, text, problem):
    with pytest.raises(ConfigError, match=problem):
        make_document(arrivals=f"  arrivals: {text}")


def test_traces_and_clients_bring_lengths():
    assert Arrivals(trace="mine").brings_lengths
    assert Arrivals(clients={"pool": "mine"}).brings_lengths
