"""LAW-04: requests arrived = done + running + waiting + rejected."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import build, cases, run

from rackmoe.engine.run import run_engine
from rackmoe.scenario.traffic import build_traffic
from rackmoe.streams import Streams


@settings(max_examples=16)
@given(case=cases())
def test_a_drained_run_ends_every_request(small_files, case):
    result = run(case, small_files)
    requests = result.to_frame("requests")
    assert requests["request_id"].tolist() == list(range(case.requests))
    assert set(requests["state"]) <= {"done", "rejected"}
    traffic = build_traffic(result.scenario.document, streams=Streams(0)).requests
    wanted = traffic.output_tokens
    emitted = requests["n_output_tokens"].to_numpy()
    is_done = (requests["state"] == "done").to_numpy()
    assert (emitted[~is_done] == 0).all()
    is_short = is_done & (emitted < wanted)
    assert (emitted <= wanted).all()
    assert (emitted[is_done] >= 1).all()
    n_short = sum("outgrew" in warning for warning in result.run.warnings)
    assert bool(is_short.any()) == bool(n_short)
    # every step emits one token for each decoding sequence, every prompt one at its end
    steps = result.to_frame("steps")
    n_recomputed = int(requests["n_preemptions"].sum())
    n_decoded = int(steps["n_decode_tokens"].sum())
    n_stuck = int(is_short.sum())
    assert n_decoded + is_done.sum() + n_recomputed - n_stuck == emitted.sum()


@settings(max_examples=14)
@given(case=cases(arrivals=("poisson", "1000 /s"), requests=12), share=st.floats(0.05, 0.9))
def test_a_run_that_is_cut_loses_no_request(small_files, case, share):
    scenario = build(case, small_files)
    traffic = build_traffic(scenario.document, streams=Streams(0))
    until_s = float(share * traffic.requests.arrival_s[-1])
    run = run_engine(
        scenario,
        requests=traffic.requests,
        is_measured=traffic.is_measured,
        seed=0,
        until_s=until_s,
    )
    requests = run.records.to_frame("requests")
    arrived = traffic.requests.arrival_s <= until_s + 1e-12
    assert len(requests) == run.n_arrived == arrived.sum()
    counts = requests["state"].value_counts()
    assert counts.sum() == run.n_arrived
    assert run.n_unfinished == case.requests - counts["done"] - counts["rejected"]
    is_waiting = requests["state"] == "waiting"
    assert requests.loc[is_waiting, "scheduled_s"].isna().all()
    assert (requests.loc[is_waiting, "n_output_tokens"] == 0).all()
    is_started = np.isfinite(requests["scheduled_s"])
    assert (requests.loc[is_started, "state"] != "waiting").all()
