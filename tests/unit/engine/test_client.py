"""When clients send, and when a run may stop."""

import numpy as np
import simpy

from rackmoe.engine.client import ClosedLoopClient, MeasuredRequests, OpenLoopClient
from rackmoe.engine.clock import PICOSECONDS_PER_S
from rackmoe.engine.ledger import Ledger


def ledger(n):
    return Ledger(n_input_tokens=np.full(n, 10), n_output_tokens=np.full(n, 5))


def test_an_open_loop_sends_at_its_times_whatever_became_of_the_others():
    env, book, sent = simpy.Environment(initial_time=0), ledger(3), []
    times_s = np.array([0.0, 0.5, 0.5])
    client = OpenLoopClient(
        env,
        arrival_s=times_s,
        ledger=book,
        submit=lambda request: sent.append((request, env.now)),
    )
    env.run()
    half = PICOSECONDS_PER_S // 2
    assert sent == [(0, 0), (1, half), (2, half)]
    assert book.arrival.tolist() == [0, half, half]
    client.ended(np.arange(2))
    assert len(sent) == 3


def test_a_closed_loop_keeps_its_number_of_requests():
    env, book, sent = simpy.Environment(initial_time=0), ledger(5), []
    client = ClosedLoopClient(env, concurrency=2, ledger=book, submit=sent.append)
    assert sent == []
    env.run()
    assert sent == [0, 1]
    client.ended(np.array([0]))
    assert sent == [0, 1, 2]
    client.ended(np.arange(5))
    assert sent == [0, 1, 2, 3, 4]
    client.ended(np.array([1]))
    assert len(sent) == 5


def test_a_closed_loop_larger_than_its_requests_sends_all_at_once():
    env, sent = simpy.Environment(initial_time=0), []
    ClosedLoopClient(env, concurrency=9, ledger=ledger(3), submit=sent.append)
    env.run()
    assert sent == [0, 1, 2]


def test_measured_requests_are_done_when_the_last_of_them_ends():
    env = simpy.Environment(initial_time=0)
    measured = MeasuredRequests(env, is_measured=np.array([False, True, True]))
    measured.ended(np.array([0]))
    assert measured.n_left == 2
    measured.ended(np.array([2]))
    assert not measured.done.triggered
    measured.ended(np.array([1]))
    assert measured.n_left == 0
    assert measured.done.triggered
    measured.ended(np.array([0]))


def test_nothing_measured_is_done_at_once():
    env = simpy.Environment(initial_time=0)
    assert MeasuredRequests(env, is_measured=np.zeros(3, bool)).done.triggered
