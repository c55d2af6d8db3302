"""LAW-04 while replicas come and go: whoever fails, starts or leaves, no request is lost."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Case, Shape, build

from rackmoe.metrics.checks import check_requests
from rackmoe.scenario.autoscaling import Autoscaling, StartUp
from rackmoe.scenario.policies import PreemptionChoice
from rackmoe.scenario.simulation import Fault, Simulation
from rackmoe.simulation import simulate

SPLIT = Case(
    backend="ideal",
    pools=(Shape(replicas=3), Shape(attention_dp=2, ep=2, replicas=2)),
    arrivals=("poisson", "50000 /s"),
    requests=24,
)
WHOLE = replace(SPLIT, pools=(Shape(attention_dp=2, ep=2, replicas=3),), kv_tokens=150)
START_UP = StartUp(weights_from="storage", bandwidth_bytes_per_s=1e11, delay_s=2e-5)
EAGER = Autoscaling(
    waiting_per_replica=1.0,
    kv_memory_frac=0.3,
    interval_s=2e-5,
    stabilization_s=1e-4,
    inactive="released",
)


def run_fleet(case, folder, *, autoscaling=EAGER, faults=(), start_up=START_UP, is_swapping=False):
    scenario = build(case, folder)
    roles = scenario.document.deployment.pools
    changes = {
        "start_up": start_up,
        "autoscaling": dict.fromkeys(roles, autoscaling) if autoscaling else {},
        "preemption": PreemptionChoice(policy="swap" if is_swapping else "recompute"),
    }
    document = scenario.document.model_copy(
        update={
            "deployment": scenario.document.deployment.model_copy(update=changes),
            "simulation": Simulation(faults=tuple(faults)),
        }
    )
    return simulate(replace(scenario, document=document), seed=0)


def check(result, case):
    requests, replicas = result.to_frame("requests"), result.to_frame("replicas")
    check_requests(requests, n_arrived=case.requests)
    assert (requests["state"] == "done").all()
    # the states of a replica cover the run without a hole
    for _, own in replicas.groupby("replica"):
        ends_s = (own["start_s"] + own["duration_s"]).to_numpy()
        assert own["start_s"].to_numpy()[0] == 0.0
        assert own["start_s"].to_numpy()[1:] == pytest.approx(ends_s[:-1])
        assert ends_s[-1] == pytest.approx(result.run.end_s)
    # and it steps only while it serves
    steps = result.to_frame("steps")
    for row in replicas[~replicas["state"].isin(["serving", "draining"])].itertuples():
        own = steps[steps["replica"] == row.replica]
        inside = (own["start_s"] > row.start_s) & (
            own["start_s"] < row.start_s + row.duration_s - 1e-12
        )
        assert not inside.any()


@pytest.mark.parametrize("case", [SPLIT, WHOLE], ids=["split", "whole"])
def test_an_autoscaler_starts_and_stops_replicas(small_files, case):
    case = replace(case, arrivals=("batch", True))
    result = run_fleet(case, small_files)
    check(result, case)
    states = result.to_frame("replicas")["state"].astype(str)
    assert {"off", "loading", "serving"} <= set(states)
    figures = result.summary
    assert figures["loading_gpu_hours"] > 0.0
    whole = simulate(build(case, small_files)).summary
    assert figures["cost_usd_per_h"] < whole["cost_usd_per_h"]


faults = st.builds(
    Fault,
    kind=st.sampled_from(["gpu", "compute_tray"]),
    at_s=st.floats(0.0, 6e-4),
    for_s=st.floats(1e-6, 3e-4),
    where=st.integers(0, 0),
)


@settings(max_examples=10)
@given(
    found=st.lists(faults, max_size=3),
    case=st.sampled_from([SPLIT, WHOLE]),
    is_swapping=st.booleans(),
    interval_s=st.sampled_from([3e-6, 2e-5, 1e-4]),
)
def test_every_request_ends_whatever_comes_and_goes(
    small_files, found, case, is_swapping, interval_s
):
    eager = EAGER.model_copy(update={"interval_s": interval_s})
    check(
        run_fleet(case, small_files, faults=found, autoscaling=eager, is_swapping=is_swapping),
        case,
    )


def test_a_repaired_replica_loads_its_weights_before_it_serves(small_files):
    fault = Fault(kind="gpu", at_s=5e-5, for_s=1e-4, where=0)
    host = StartUp(weights_from="host", delay_s=1e-4)
    result = run_fleet(WHOLE, small_files, autoscaling=None, faults=[fault], start_up=host)
    check(result, WHOLE)
    replicas = result.to_frame("replicas")
    own = replicas[replicas["replica"] == 0]
    assert own["state"].astype(str).tolist()[:3] == ["serving", "failed", "loading"]
    machine = result.scenario.machine
    weights_bytes = result.run.plans[0].memory.weights_bytes
    rate = machine.host.link_bandwidth_bytes_per_s * machine.host.copy_frac
    loading_s = own[own["state"] == "loading"]["duration_s"].to_numpy()[0]
    if own["state"].astype(str).tolist()[-1] == "serving":
        expected_s = 1e-4 + machine.host.link_latency_s + weights_bytes / rate
        assert loading_s == pytest.approx(expected_s, rel=1e-6)
    assert own["duration_s"].to_numpy()[1] == pytest.approx(1e-4)


def test_a_replica_that_never_changes_leaves_one_row(small_files):
    result = simulate(build(SPLIT, small_files))
    assert result.to_frame("replicas")["state"].astype(str).tolist() == ["serving"] * 5
    assert "serving_gpu_hours" not in result.summary
