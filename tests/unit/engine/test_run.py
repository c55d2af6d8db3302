"""One run: when it stops, and what it says."""

# ruff: noqa: ARG002  fakes take what the real ones take

from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, Shape, build

import rackmoe.engine.run
from rackmoe.engine.run import run_engine
from rackmoe.errors import InvariantError
from rackmoe.scenario.traffic import build_traffic
from rackmoe.streams import Streams

CASE = Case(lengths=(20, 4), spread=(1.0, 1.0), requests=4)


def ran(case, folder, **changes):
    scenario = build(case, folder)
    traffic = build_traffic(scenario.document, streams=Streams(0))
    values = {"requests": traffic.requests, "is_measured": traffic.is_measured, "seed": 0}
    return run_engine(scenario, **(values | changes))


def test_a_run_ends_with_the_last_measured_request(small_files):
    run = ran(CASE, small_files)
    requests = run.records.to_frame("requests")
    assert (run.n_arrived, run.n_unfinished, run.warnings) == (4, 0, ())
    assert run.end_s == requests["last_token_s"].max()
    assert run.replica_pools == (0,)
    assert len(run.plans) == 1


def test_requests_that_are_not_measured_are_not_waited_for(small_files):
    case = replace(CASE, arrivals=("closed_loop", 1))
    is_measured = np.array([False, True, False, False])
    run = ran(case, small_files, is_measured=is_measured)
    states = run.records.to_frame("requests")["state"].tolist()
    assert states[:2] == ["done", "done"]
    assert "done" not in states[2:]


def test_a_run_that_is_stopped_says_who_was_not_served(small_files):
    run = ran(CASE, small_files, until_s=1e-9)
    assert run.n_unfinished == 4
    assert run.end_s == pytest.approx(1e-9, abs=1e-12)
    assert run.warnings[0].startswith("4 measured requests had not ended when the run stopped")


def test_requests_without_room_are_rejected_with_a_warning(small_files):
    run = ran(replace(CASE, lengths=(60, 4), kv_tokens=50), small_files)
    (sentence,) = run.warnings
    assert sentence.startswith(
        "4 requests were rejected: their context never fits the KV memory of a rank"
    )
    assert run.records.to_frame("steps").empty
    assert run.n_unfinished == 0


def test_requests_that_outgrow_the_memory_end_early_with_a_warning(small_files):
    case = replace(CASE, lengths=(40, 30), kv_tokens=50, block_tokens=1, requests=1)
    run = ran(case, small_files)
    (request,) = run.records.to_frame("requests").itertuples()
    assert request.state == "done"
    # 40 tokens of the prompt and 10 of 30 tokens fit, and one more comes out
    assert request.n_output_tokens in {11, 12}
    assert "1 requests ended before their last token" in run.warnings[0]


def test_progress_is_told_every_quarter_of_a_second(small_files):
    seen = []
    case = replace(CASE, host=("100 ms", "0 s"))
    ran(case, small_files, progress=lambda now_s, n_ended: seen.append((now_s, n_ended)))
    # prompts of 80 tokens take two steps of 100 ms, three are done after two more, one later
    assert seen == [(0.25, 0), (0.5, 3)]


@pytest.mark.parametrize("has_progress", [False, True])
def test_requests_that_nobody_can_serve_stop_the_run_with_the_law(
    small_files, monkeypatch, has_progress
):
    class Lost(rackmoe.engine.run.Rack):
        def submit(self, request):
            """Forget it."""

    monkeypatch.setattr(rackmoe.engine.run, "Rack", Lost)
    progress = (lambda *_: None) if has_progress else None
    with pytest.raises(InvariantError, match=r"LAW-08 at t=.*: 4 measured requests wait"):
        ran(CASE, small_files, progress=progress)


def test_other_errors_of_the_clock_are_not_swallowed(small_files, monkeypatch):
    class Broken(rackmoe.engine.run.Rack):
        def submit(self, request):
            raise RuntimeError("broken")

    monkeypatch.setattr(rackmoe.engine.run, "Rack", Broken)
    with pytest.raises(RuntimeError, match="broken"):
        ran(replace(CASE, arrivals=("poisson", "10 /s")), small_files)


def test_replayed_requests_start_at_recorded_outputs(small_files):
    scenario = build(replace(CASE, pools=(Shape(attention_dp=2, ep=2),)), small_files)
    routing = scenario.document.workload.routing.model_copy(
        update={"source": "replay", "tokens": 512}
    )
    workload = scenario.document.workload.model_copy(update={"routing": routing})
    document = scenario.document.model_copy(update={"workload": workload})
    traffic = build_traffic(document, streams=Streams(0))
    run = run_engine(
        replace(scenario, document=document),
        requests=traffic.requests,
        is_measured=traffic.is_measured,
        seed=0,
    )
    assert run.plans[0].law.routing.needs_rows
    assert len(run.plans[0].law.tokens.trace_starts) > 1
    assert run.n_unfinished == 0
