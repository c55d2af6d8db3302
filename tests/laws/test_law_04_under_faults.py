"""LAW-04 under faults: whatever fails and is repaired, no request is lost."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Case, Shape, build, cases, fault_lists, with_faults

from rackmoe.metrics.checks import check_requests
from rackmoe.scenario.simulation import Fault, Simulation
from rackmoe.simulation import simulate

SPLIT = Case(
    backend="ideal",
    pools=(Shape(replicas=2), Shape(attention_dp=2, ep=2, replicas=2)),
    arrivals=("poisson", "100000 /s"),
    requests=12,
)
WHOLE = replace(SPLIT, pools=(Shape(attention_dp=2, ep=2, replicas=2),))


def broken(case, folder, faults, **choices):
    scenario = build(case, folder)
    simulation = Simulation(faults=tuple(faults), **choices)
    document = scenario.document.model_copy(update={"simulation": simulation})
    return simulate(replace(scenario, document=document), seed=0)


faults = st.builds(
    Fault,
    kind=st.sampled_from(
        ["link", "plane", "switch_tray", "gpu", "compute_tray", "nic", "leaf", "slow_link"]
    ),
    at_s=st.floats(0.0, 3e-4),
    for_s=st.floats(1e-6, 1e-3),
    where=st.integers(0, 0),
)


@settings(max_examples=8)
@given(found=st.lists(faults, min_size=1, max_size=4), case=st.sampled_from([SPLIT, WHOLE]))
def test_every_request_ends(small_files, found, case):
    result = broken(case, small_files, found)
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=case.requests)
    assert (requests["state"] == "done").all()
    assert not np.isnan(requests["last_token_s"]).any()


@settings(max_examples=14)
@given(case=cases(), found=fault_lists())
def test_whatever_the_scenario_every_request_ends(small_files, case, found):
    result = simulate(with_faults(case, small_files, found))
    requests = result.to_frame("requests")
    check_requests(requests, n_arrived=case.requests)
    assert set(requests["state"]) <= {"done", "rejected"}


def test_a_failed_tray_takes_its_replicas_out(small_files):
    fault = Fault(kind="compute_tray", at_s=2e-5, for_s=1e-3, where=0)
    result = broken(WHOLE, small_files, [fault])
    requests = result.to_frame("requests")
    assert (requests["state"] == "done").all()
    assert requests["n_preemptions"].sum() > 0
    assert result.provenance["faults"].startswith("1 faults; replicas out of service for")
    assert requests["last_token_s"].max() > 1e-3


def test_kv_on_nvlink_stretches_steps_by_the_arbitration(small_files):
    duration_s = {}
    for arbitration in ("classes", "priority"):
        case = Case(
            backend="ideal",
            pools=(Shape(replicas=4), Shape(attention_dp=4, ep=4)),
            max_tokens=4096,
            max_batch=64,
            lengths=(2000, 20),
            arrivals=("poisson", "20000 /s"),
            requests=60,
            overrides=(
                ("scale_up.arbitration", arbitration),
                ("scale_up.link_bandwidth", "0.01 GB/s"),
                ("scale_up.gpu_bandwidth", "0.18 GB/s"),
            ),
        )
        steps = broken(case, small_files, [], kv_path="scale_up").to_frame("steps")
        steps = steps[steps["pool"] == "decode"]
        duration_s[arbitration] = steps["duration_s"].sum() / steps["n_decode_tokens"].sum()
    assert duration_s["classes"] > 1.05 * duration_s["priority"]


def test_an_audit_finds_small_errors(small_files):
    result = broken(replace(WHOLE, pools=(Shape(attention_dp=4, ep=4),)), small_files, [], audit=3)
    text = result.provenance["audit.replica_0"]
    assert float(text.split("error ")[1].split("%")[0]) == pytest.approx(0.0, abs=5.0)
