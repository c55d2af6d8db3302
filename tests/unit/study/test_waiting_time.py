"""Waiting times of queues against their exact values."""

import math

import numpy as np
import pytest

from rackmoe.study.waiting_time import erlang_c_frac, mean_wait_s, sampled_waits_s


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_one_server_waits_as_pollaczek_and_khinchine_say(load):
    for service_cv in (0.0, 1.0, 2.0):
        found = mean_wait_s(
            1, rate_requests_per_s=load, service_s=1.0, arrival_cv=1.0, service_cv=service_cv
        )
        assert found == pytest.approx(load * (1 + service_cv**2) / 2 / (1 - load))


def test_many_servers_wait_as_the_sum_of_their_states_says():
    """M/M/5 with 4 servers' load, summed over its states."""
    terms = [4.0**n / math.factorial(n) for n in range(5)]
    last = 4.0**5 / math.factorial(5) * 5 / (5 - 4.0)
    waits_frac = last / (sum(terms) + last)
    assert erlang_c_frac(5, load=4.0) == pytest.approx(waits_frac)
    found = mean_wait_s(5, rate_requests_per_s=8.0, service_s=0.5, arrival_cv=1.0, service_cv=1.0)
    assert found == pytest.approx(waits_frac * 0.5 / (5 - 4.0))


def test_servers_that_cannot_keep_up_let_requests_wait_forever():
    given = {"rate_requests_per_s": 2.0, "service_s": 1.0, "arrival_cv": 1.0, "service_cv": 0.0}
    assert mean_wait_s(2, **given) == math.inf


def test_drawn_waits_have_their_mean_and_their_share():
    rng = np.random.default_rng(0)
    waits = sampled_waits_s(2, load=1.5, mean_s=3.0, n_samples=200_000, rng=rng)
    # three standard errors of an exponential part
    assert waits.mean() == pytest.approx(3.0, rel=0.01)
    assert (waits > 0).mean() == pytest.approx(erlang_c_frac(2, load=1.5), abs=0.004)
