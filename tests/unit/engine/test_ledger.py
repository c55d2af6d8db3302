"""Rows of requests, from arrival to the record."""

import numpy as np
import pytest

from rackmoe.engine.clock import PICOSECONDS_PER_S
from rackmoe.engine.ledger import NEVER, Ledger
from rackmoe.records import Records, State


@pytest.fixture
def ledger():
    return Ledger(n_input_tokens=np.array([10, 20, 30]), n_output_tokens=np.array([5, 1, 7]))


def written(ledger):
    records = Records()
    ledger.write(records.requests)
    return records.to_frame("requests")


def test_context_is_prompt_and_output_so_far(ledger):
    assert ledger.context(0) == 10
    ledger.remaining[0] = 3
    assert ledger.context(0) == 12
    assert len(ledger) == 3


def test_the_first_start_counts_and_the_last_replica(ledger):
    ledger.start(0, now=7, replica=2)
    ledger.start(0, now=9, replica=3)
    assert ledger.scheduled[0] == 7
    assert ledger.prefill_replica[0] == 3
    assert ledger.state[0] == State.RUNNING


def test_finished_requests_have_nothing_left(ledger):
    ledger.finish(np.array([0, 2]), now=11)
    assert ledger.remaining.tolist() == [0, 1, 0]
    assert ledger.last_token.tolist() == [11, NEVER, 11]
    assert (ledger.n_done, ledger.n_ended) == (2, 2)


def test_a_request_cut_short_is_done_with_what_it_has(ledger):
    ledger.first_token[2] = 3
    ledger.remaining[2] = 4
    ledger.arrival[2] = 0
    ledger.cut_short(2, now=5)
    (row,) = written(ledger).itertuples()
    assert (row.n_output_tokens, row.state) == (3, "done")
    assert (ledger.n_cut_short, ledger.n_done) == (1, 1)


def test_a_rejected_request_has_ended_without_a_token(ledger):
    ledger.arrival[1] = 0
    ledger.reject(1)
    assert (ledger.n_rejected, ledger.n_ended) == (1, 1)
    (row,) = written(ledger).itertuples()
    assert (row.state, row.n_output_tokens) == ("rejected", 0)
    assert np.isnan(row.scheduled_s)


def test_only_requests_that_arrived_are_written_and_times_are_seconds(ledger):
    ledger.arrival[:2] = [0, PICOSECONDS_PER_S // 4]
    ledger.first_token[0] = PICOSECONDS_PER_S
    ledger.remaining[0] = 2
    frame = written(ledger)
    assert frame["request_id"].tolist() == [0, 1]
    assert frame["arrival_s"].tolist() == [0.0, 0.25]
    assert frame["first_token_s"][0] == 1.0
    assert np.isnan(frame["first_token_s"][1])
    assert frame["n_output_tokens"].tolist() == [3, 0]
    assert frame["state"].tolist() == ["waiting", "waiting"]


def test_a_token_on_its_way_with_the_cache_is_not_out_yet(ledger):
    ledger.arrival[0] = 0
    ledger.start(0, now=1, replica=0)
    ledger.prefill_end[0] = 2
    ledger.remaining[0] -= 1
    (row,) = written(ledger).itertuples()
    assert row.n_output_tokens == 0
