"""LAW-04 at the edges: each ends in an explained result that accounts for every request."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, Shape, build, run

from rackmoe.engine.run import run_engine
from rackmoe.metrics.checks import check_requests
from rackmoe.serving.workload import RequestTable
from rackmoe.simulation import simulate

# a token takes 1 ms, so 8 sequences of 8 tokens leave at most 1000 requests per second
SLOW = Case(
    backend="ideal-network",
    lengths=(8, 8),
    spread=(1.0, 1.0),
    routing="balanced",
    host=("1 ms", "0 s"),
)


def states(result):
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=len(requests))
    return requests["state"].astype(str).value_counts().to_dict()


def ran(case, folder, *, arrival_s, n_input, n_output):
    """Return what a run of given requests leaves behind."""
    n = len(arrival_s)
    table = RequestTable(
        arrival_s=np.asarray(arrival_s, np.float64),
        input_tokens=np.broadcast_to(n_input, n).astype(np.int64),
        output_tokens=np.broadcast_to(n_output, n).astype(np.int64),
    )
    scenario = build(replace(case, arrivals=("poisson", "500 /s")), folder)
    found = run_engine(scenario, requests=table, is_measured=np.ones(n, bool), seed=0)
    check_requests(found.records.to_frame("requests"), n_arrived=n)
    return found


def test_overload_serves_all_late_and_says_that_the_run_is_not_steady(small_files):
    case = replace(SLOW, arrivals=("poisson", "20000 /s"), requests=400)
    result = run(case, small_files)
    assert states(result) == {"done": 400}
    requests = result.to_frame("requests")
    wait_s = (requests["scheduled_s"] - requests["arrival_s"]).to_numpy()
    # the line grows as long as users come: each waits for those before it
    assert np.corrcoef(np.arange(400), wait_s)[0, 1] > 0.99
    capacity = 8 / (8 * 1e-3)
    assert result.summary["completed_requests_per_s"] == pytest.approx(capacity, rel=0.02)
    assert any("lower the arrival rate" in one for one in result.warnings)


def test_a_burst_of_ten_times_the_rate_is_served_after_it_is_over(small_files):
    """Half the capacity, five times the capacity for 0.1 s, half the capacity again."""
    gaps_s = np.concatenate([np.full(100, 2e-3), np.full(500, 0.2e-3), np.full(900, 2e-3)])
    found = ran(SLOW, small_files, arrival_s=np.cumsum(gaps_s), n_input=8, n_output=8)
    requests = found.records.to_frame("requests")
    assert (requests["state"] == "done").all()
    wait_s = (requests["scheduled_s"] - requests["arrival_s"]).to_numpy()
    # 500 came in 0.1 s, of which at most 100 were served meanwhile: the last waits for 400
    assert wait_s.max() == pytest.approx(0.4, rel=0.1)
    assert int(wait_s.argmax()) in range(560, 620)
    assert wait_s[-50:].max() <= wait_s[:100].max() + 1e-9, "the line is gone in the end"


def test_a_prompt_of_128k_is_cut_into_chunks(small_files):
    case = Case(max_tokens=4096, lengths=(131_072, 4), spread=(1.0, 1.0), requests=2)
    result = run(case, small_files)
    assert states(result) == {"done": 2}
    steps = result.to_frame("steps")
    prompts = steps[steps["n_prefill_tokens"] > 0]
    assert int(prompts["n_prefill_tokens"].sum()) == 2 * 131_072
    assert int(prompts["n_prefill_tokens"].max()) <= 4096
    # every chunk attends to all chunks before it
    assert (np.diff(prompts["duration_s"].to_numpy()[:32]) > 0).all()
    assert any("longer context than the 4,096 tokens" in one for one in result.run.warnings)


@pytest.mark.parametrize("pools", [(Shape(),), (Shape(), Shape())])
def test_a_request_that_no_rank_can_hold_is_rejected_and_the_others_are_served(small_files, pools):
    case = Case(kv_tokens=100, pools=pools)
    arrival_s = [0.0, 1e-4, 2e-4]
    found = ran(case, small_files, arrival_s=arrival_s, n_input=[20, 500, 30], n_output=4)
    requests = found.records.to_frame("requests")
    assert requests["state"].tolist() == ["done", "rejected", "done"]
    (sentence,) = [one for one in found.warnings if "rejected" in one]
    assert "(the longest prompt has 500)" in sentence


def test_without_arrivals_nothing_happens(small_files):
    found = ran(SLOW, small_files, arrival_s=[], n_input=8, n_output=8)
    assert found.end_s == 0.0
    assert found.n_arrived == found.n_unfinished == 0
    assert found.warnings == ()
    assert len(found.records.to_frame("steps")) == 0


@pytest.mark.parametrize("pools", [(Shape(),), (Shape(), Shape())])
def test_outputs_of_one_token_end_with_their_prompt(small_files, pools):
    case = Case(pools=pools, lengths=(40, 1), spread=(1.0, 1.0))
    result = simulate(build(case, small_files))
    assert states(result) == {"done": 8}
    requests = result.to_frame("requests")
    assert (requests["last_token_s"] == requests["first_token_s"]).all()
    assert requests["transfer_end_s"].isna().all(), "nobody decodes: no cache has to move"
    assert int(result.to_frame("steps")["n_decode_tokens"].sum()) == 0
    assert np.isnan(result.summary["tpot_p50_s"])
    assert any("no request got a second token" in one for one in result.run.warnings)
