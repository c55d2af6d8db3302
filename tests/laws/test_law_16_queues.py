"""LAW-16: queues with one server of any service time, and closed networks, match theory."""

import heapq
from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, build

from rackmoe.engine.run import run_engine
from rackmoe.serving.workload import RequestTable
from rackmoe.streams import Streams

SERVICE_S = 1e-3
N_USERS, THINK_S = 5, 12e-3
# one request at a time on a machine that computes in no time; the host takes 1 ms a token
QUEUE = Case(
    backend="ideal-network",
    max_batch=1,
    max_tokens=64,
    lengths=(1, 9),
    spread=(0.2, 1.0),
    routing="balanced",
    host=("1 ms", "0 s"),
)


def ran(case, requests, folder):
    """Return the request table of a run of given requests, all measured."""
    run = run_engine(
        build(case, folder),
        requests=requests,
        is_measured=np.ones(len(requests), dtype=bool),
        seed=0,
    )
    return run.records.to_frame("requests")


def lindley_wait_s(arrival_s, service_s):
    """Return the waits of a queue with one server, seeds along axis 0 (Lindley, 1952)."""
    before_s = np.cumsum(service_s, axis=-1) - service_s
    slack_s = arrival_s - before_s
    return np.maximum.accumulate(slack_s, axis=-1) - slack_s


def poisson_arrivals(rng, load, n_tokens):
    """Return arrival times at which a server with this token count each is so loaded."""
    rate = load / (SERVICE_S * n_tokens.mean())
    return np.cumsum(rng.exponential(1 / rate, size=n_tokens.shape), axis=-1)


@pytest.mark.parametrize("load", [0.4, 0.8])
def test_engine_waits_as_a_queue_with_random_service(small_files, load):
    rng = Streams(3).rng("queue")
    n_tokens = rng.integers(1, 10, size=600)
    arrival_s = poisson_arrivals(rng, load, n_tokens)
    table = RequestTable(
        arrival_s=arrival_s, input_tokens=np.ones_like(n_tokens), output_tokens=n_tokens
    )
    requests = ran(replace(QUEUE, arrivals=("poisson", "1 /s")), table, small_files)
    wait_s = (requests["scheduled_s"] - requests["arrival_s"]).to_numpy()
    slack_s = 1e-12 * n_tokens.sum()
    assert wait_s == pytest.approx(lindley_wait_s(arrival_s, SERVICE_S * n_tokens), abs=slack_s)


@pytest.mark.parametrize("load", [0.4, 0.8])
def test_random_service_waits_as_pollaczek_and_khinchine_say(load):
    """Mean wait lambda E[S^2] / (2 (1 - rho)) of M/G/1, over 4 million requests in 40 seeds."""
    rng = Streams(4).rng("queue")
    n_tokens = rng.integers(1, 10, size=(40, 100_000))
    wait_s = lindley_wait_s(poisson_arrivals(rng, load, n_tokens), SERVICE_S * n_tokens)
    mean_s, square_s2 = 5 * SERVICE_S, (285 / 9) * SERVICE_S**2
    expected_s = load / mean_s * square_s2 / (2 * (1 - load))
    assert wait_s[:, 2000:].mean() == pytest.approx(expected_s, rel=0.01)


def repaired(service_s, think_s):
    """Return when each job of users (rows) leaves one first-come server, and when it came.

    Every user thinks before each job but the first, for as long as its column says.
    """
    n_users, n_jobs = service_s.shape
    came_s, gone_s = np.zeros_like(service_s), np.zeros_like(service_s)
    calls = [(0.0, user, 0) for user in range(n_users)]
    free_s = 0.0
    while calls:
        now_s, user, job = heapq.heappop(calls)
        free_s = max(now_s, free_s) + service_s[user, job]
        came_s[user, job], gone_s[user, job] = now_s, free_s
        if job + 1 < n_jobs:
            heapq.heappush(calls, (free_s + think_s[user, job + 1], user, job + 1))
    return came_s, gone_s


def test_users_who_think_between_turns_meet_the_queue_of_a_closed_network(small_files):
    rng = Streams(5).rng("queue")
    shape = (N_USERS, 60)
    n_tokens = rng.geometric(0.25, size=shape)
    think_s = rng.exponential(THINK_S, size=shape)
    rows = np.arange(n_tokens.size)
    table = RequestTable(
        arrival_s=np.full(n_tokens.size, np.nan),
        input_tokens=np.ones(n_tokens.size, np.int64),
        output_tokens=n_tokens.T.reshape(-1),
        previous=np.where(rows < N_USERS, -1, rows - N_USERS),
        delay_s=think_s.T.reshape(-1),
    )
    requests = ran(replace(QUEUE, arrivals=("closed_loop", N_USERS)), table, small_files)
    came_s, gone_s = repaired(SERVICE_S * n_tokens, think_s)
    assert requests["arrival_s"].to_numpy() == pytest.approx(came_s.T.reshape(-1), abs=1e-8)
    assert requests["last_token_s"].to_numpy() == pytest.approx(gone_s.T.reshape(-1), abs=1e-8)


@pytest.mark.parametrize("think_s", [THINK_S, 40e-3])
def test_the_closed_network_is_as_busy_as_mean_value_analysis_says(think_s):
    """Throughput and stay of M/M/1//N (machine repairman), over 500 000 jobs.

    M. Reiser and S. S. Lavenberg, "Mean-value analysis of closed multichain queuing
    networks," JACM 27(2), 1980: R(n) = S (1 + Q(n - 1)), X(n) = n / (R(n) + Z).
    """
    rng, mean_s = Streams(6).rng("queue"), 4 * SERVICE_S
    shape = (N_USERS, 100_000)
    came_s, gone_s = repaired(
        rng.exponential(mean_s, size=shape), rng.exponential(think_s, size=shape)
    )
    queue = stay_s = rate = 0.0
    for n_users in range(1, N_USERS + 1):
        stay_s = mean_s * (1 + queue)
        rate = n_users / (stay_s + think_s)
        queue = rate * stay_s
    assert (gone_s - came_s).mean() == pytest.approx(stay_s, rel=0.01)
    # users end at different times; the last ones run in a network that is no longer full
    assert gone_s.size / gone_s[:, -1].mean() == pytest.approx(rate, rel=0.01)
