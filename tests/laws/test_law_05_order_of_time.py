"""LAW-05: arrival <= scheduled <= first token <= last token; the clock never goes back."""

import numpy as np
from hypothesis import given, settings
from strategies import cases, fault_lists, run, with_faults

from rackmoe.metrics.checks import check_requests, check_steps
from rackmoe.simulation import simulate

_STAGES = ("arrival_s", "scheduled_s", "prefill_end_s", "first_token_s", "last_token_s")


@settings(max_examples=14)
@given(case=cases())
def test_each_request_passes_its_stages_in_order(small_files, case):
    requests = run(case, small_files).to_frame("requests")
    done = requests[requests["state"] == "done"]
    times_s = done[list(_STAGES)].to_numpy(np.float64)
    assert np.isfinite(times_s).all()
    assert (np.diff(times_s, axis=1) >= 0).all()
    moved = done[np.isfinite(done["transfer_end_s"])]
    assert (moved["transfer_end_s"] >= moved["prefill_end_s"]).all()
    assert not case.is_split or (moved["transfer_end_s"] > moved["scheduled_s"]).all()
    is_long = done["n_output_tokens"] > 1
    assert (done["last_token_s"] > done["first_token_s"])[is_long].all()
    assert (done["last_token_s"] >= done["first_token_s"])[~is_long].all()
    assert (done["prefill_end_s"] > done["scheduled_s"]).all()


@settings(max_examples=15)
@given(case=cases())
def test_steps_of_a_replica_follow_each_other(small_files, case):
    steps = run(case, small_files).to_frame("steps")
    for _, own in steps.groupby("replica"):
        start_s = own["start_s"].to_numpy()
        end_s = start_s + own["duration_s"].to_numpy()
        assert (start_s[1:] >= end_s[:-1] * (1 - 1e-12)).all()
    # a row of equal steps is written when its last one ends
    if case.step_tolerance:
        return
    ends_s = (steps["start_s"] + steps["duration_s"]).to_numpy()
    assert (np.diff(ends_s) >= -1e-12 * ends_s[1:]).all(), "rows are written as time goes on"


@settings(max_examples=14)
@given(case=cases(), faults=fault_lists())
def test_the_clock_never_goes_back_when_parts_fail(small_files, case, faults):
    result = simulate(with_faults(case, small_files, faults))
    check_steps(result.to_frame("steps"))
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=case.requests)
    done = requests[requests["state"] == "done"]
    # a cache that is lost on its way is computed and sent again: the stages between may repeat
    ends = done[["arrival_s", "scheduled_s", "first_token_s", "last_token_s"]]
    assert (np.diff(ends.to_numpy(np.float64), axis=1) >= 0).all()
