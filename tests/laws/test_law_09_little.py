"""LAW-09: over a drained run, mean requests in system = rate x mean stay."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from strategies import cases, fault_lists, run, with_faults

from rackmoe.simulation import simulate


@settings(max_examples=14)
@given(case=cases())
def test_requests_in_system_are_rate_times_stay(small_files, case):
    result = run(case, small_files)
    requests, summary = result.to_frame("requests"), result.summary
    assume((requests["state"] == "done").all())
    window_s = summary["window_s"]
    stay_s = (requests["last_token_s"] - requests["arrival_s"]).mean()
    rate = len(requests) / window_s
    assert summary["requests_in_system_mean"] == pytest.approx(rate * stay_s, rel=1e-9)
    assert summary["e2e_mean_s"] == pytest.approx(stay_s, rel=1e-9)


@settings(max_examples=14)
@given(case=cases(), faults=fault_lists())
def test_requests_that_are_done_again_count_once(small_files, case, faults):
    result = simulate(with_faults(case, small_files, faults))
    requests, summary = result.to_frame("requests"), result.summary
    assume((requests["state"] == "done").all())
    stay_s = (requests["last_token_s"] - requests["arrival_s"]).mean()
    rate = len(requests) / summary["window_s"]
    assert summary["requests_in_system_mean"] == pytest.approx(rate * stay_s, rel=1e-9)


@settings(max_examples=14)
@given(case=cases(policy="mixed", kv_tokens=None))
def test_sequences_in_steps_are_the_stays_of_the_decoding_requests(small_files, case):
    """The steps count sequences, the requests keep times: both give one integral."""
    result = run(case, small_files)
    requests, steps = result.to_frame("requests"), result.to_frame("steps")
    since = "transfer_end_s" if case.is_split else "prefill_end_s"
    decoded = requests[requests["n_output_tokens"] > 1]
    integral_s = float((steps["n_sequences"] * steps["duration_s"]).sum())
    total_s = 0.0
    for _, request in decoded.iterrows():
        own = steps[steps["replica"] == request["decode_replica"]]
        # a request that comes during a step decodes from the next one on
        starts_s = own["start_s"].to_numpy()
        joined_s = starts_s[starts_s >= request[since] - 1e-12].min()
        total_s += request["last_token_s"] - joined_s
    assert integral_s == pytest.approx(total_s, rel=1e-9, abs=1e-15)


@settings(max_examples=15)
@given(case=cases(kv_tokens=None))
def test_tokens_are_counted_alike_by_steps_and_requests(small_files, case):
    result = run(case, small_files)
    requests, steps = result.to_frame("requests"), result.to_frame("steps")
    n_done = int((requests["state"] == "done").sum())
    assert n_done == len(requests)
    assert int(steps["n_prefill_tokens"].sum()) == int(requests["n_input_tokens"].sum())
    assert int(steps["n_decode_tokens"].sum()) == int(requests["n_output_tokens"].sum()) - n_done
    assert np.isfinite(requests["last_token_s"]).all()
