"""When the users of sessions and of several applications send."""

import numpy as np
import simpy

from rackmoe.engine.clock import PICOSECONDS_PER_S
from rackmoe.engine.ledger import Ledger
from rackmoe.engine.session_client import SessionClient
from rackmoe.serving.merging import merge_applications
from rackmoe.serving.workload import RequestTable


def table(arrival_s, previous, *, delay_s=None):
    n = len(arrival_s)
    return RequestTable(
        arrival_s=np.array(arrival_s, float),
        input_tokens=np.ones(n, int),
        output_tokens=np.ones(n, int),
        previous=np.array(previous),
        delay_s=np.zeros(n) if delay_s is None else np.array(delay_s, float),
    )


class World:
    """A machine that serves every request in one second."""

    def __init__(self, requests, *, concurrency=(None,)):
        self.env = simpy.Environment(initial_time=0)
        self.sent = []
        self.ledger = Ledger(
            n_input_tokens=requests.input_tokens, n_output_tokens=requests.output_tokens
        )
        self.client = SessionClient(
            self.env,
            requests=requests,
            concurrency=concurrency,
            ledger=self.ledger,
            submit=self.submit,
        )
        self.env.run()

    def submit(self, request):
        self.sent.append((request, self.env.now / PICOSECONDS_PER_S))
        done = self.env.timeout(PICOSECONDS_PER_S)
        done.callbacks.append(lambda _: self.client.ended(np.array([request])))


def test_a_turn_follows_its_delay_after_the_end_of_the_one_before():
    nan = np.nan
    world = World(
        table([0.0, nan, nan, 0.5], [-1, 0, 1, -1], delay_s=[0, 2.0, 0.0, 0]),
    )
    assert world.sent == [(0, 0.0), (3, 0.5), (1, 3.0), (2, 4.0)]
    assert (world.ledger.arrival >= 0).all()


def test_a_loop_starts_the_next_session_when_one_has_ended():
    nan = np.nan
    world = World(
        table([nan] * 5, [-1, 0, -1, 2, -1], delay_s=[0, 5.0, 0, 1.0, 0]), concurrency=(2,)
    )
    # sessions (0, 1) and (2, 3) run; the second ends at 3 s, and 4 takes its place
    assert world.sent == [(0, 0.0), (2, 0.0), (3, 2.0), (4, 3.0), (1, 6.0)]


def test_branches_start_together_and_a_session_ends_with_its_last_one():
    nan = np.nan
    world = World(table([nan] * 4, [-1, 0, 0, -1], delay_s=[0, 1.0, 4.0, 0]), concurrency=(1,))
    assert world.sent == [(0, 0.0), (1, 2.0), (2, 5.0), (3, 6.0)]


def test_turns_with_times_of_their_own_wait_for_nobody():
    world = World(table([0.0, 0.25], [-1, 0]))
    assert world.sent == [(0, 0.0), (1, 0.25)]


def test_loops_of_applications_are_apart():
    nan = np.nan
    merged = merge_applications(
        {
            "loop": table([nan, nan, nan], [-1, -1, -1]),
            "other": table([nan, nan], [-1, -1]),
            "timed": table([0.0, 1.5], [-1, -1]),
        }
    )
    world = World(merged, concurrency=(1, 2, None))
    by_time = {}
    for request, at_s in world.sent:
        by_time.setdefault(at_s, []).append(int(merged.application[request]))
    assert {at_s: sorted(names) for at_s, names in by_time.items()} == {
        0.0: [0, 1, 1, 2],
        1.0: [0],
        1.5: [2],
        2.0: [0],
    }
