"""Whole runs at every tier, with faults and with transfers beside the exchanges.

Steps of a run by closed forms against the same run by shared links and by packets: median at
most 1 %, worst at most 5 %. Ports are slow, so that exchanges take most of every step.
"""

from dataclasses import replace

import numpy as np
import pytest
from run_cases import case, exchange_s, run
from strategies import Shape

from rackmoe.scenario.simulation import Fault

MEDIAN, WORST = 0.01, 0.05


def step_s(result):
    return result.to_frame("steps")["duration_s"].to_numpy()


# 16 GPUs of HGX are two domains
@pytest.mark.parametrize("source", ["replay", "sampled"])
@pytest.mark.parametrize("two_batch", [False, True])
@pytest.mark.parametrize(("hardware", "n_gpus"), [("gb200_nvl72", 8), ("hgx_h200", 16)])
def test_steps_of_a_run_agree_at_all_tiers(small_files, hardware, n_gpus, two_batch, source):
    made = case(hardware, n_gpus, two_batch=two_batch)
    found = {
        tier: run(made, small_files, source=source, fidelity=tier)
        for tier in ("plan", "flow", "packet")
    }
    assert exchange_s(found["plan"]) > 0.5 * step_s(found["plan"]).sum()
    for tier in ("flow", "packet"):
        assert found[tier].provenance["fidelity"].startswith(f"{tier}: ")
        assert " steps by " + tier in found[tier].provenance["fidelity"]
        errors = np.abs(step_s(found["plan"]) / step_s(found[tier]) - 1.0)
        assert np.median(errors) <= MEDIAN
        assert errors.max() <= WORST


def test_a_barrier_before_every_exchange_lengthens_a_run(small_files):
    made = case("gb200_nvl72", 8)
    plan, phase = (run(made, small_files, fidelity=tier) for tier in ("plan", "phase"))
    assert step_s(phase).sum() > step_s(plan).sum()


def test_the_audit_of_a_replayed_run_is_within_the_tolerances(small_files):
    text = run(case("gb200_nvl72", 8), small_files, source="replay", audit=4).provenance[
        "audit.replica_0"
    ]
    error, worst, whole = (
        abs(float(part.split("%")[0].split()[-1])) / 100
        for part in (text.split("error ")[1], text.split("p90, ")[1], text.split("steps ")[-1])
    )
    assert error <= MEDIAN
    assert max(worst, whole) <= WORST


# caches of two prefill GPUs at a time go to one of two decode GPUs, over ports of exchanges
def split(arbitration, prefill, decode):
    whole = case("gb200_nvl72", 8)
    return replace(
        whole,
        pools=(prefill, decode),
        lengths=(2000, 20),
        max_batch=32,
        arrivals=("poisson", "30000 /s"),
        requests=60,
        overrides=(*whole.overrides, ("scale_up.arbitration", arbitration)),
    )


@pytest.mark.parametrize(
    ("arbitration", "kv_path", "is_escalated"),
    [
        ("classes", "scale_up", True),
        ("per_flow", "scale_up", True),
        ("priority", "scale_up", False),
        ("classes", "scale_out", False),
    ],
)
def test_caches_that_meet_on_ports_of_exchanges_escalate(
    small_files, arbitration, kv_path, is_escalated
):
    made = split(arbitration, Shape(replicas=6), Shape(attention_dp=2, ep=2))
    result = run(made, small_files, kv_path=kv_path)
    steps = result.provenance["fidelity"]
    assert steps.startswith("auto: ")
    assert ("by flow" in steps) == is_escalated
    told = [one for one in result.warnings if "transfers met at" in one]
    assert bool(told) == is_escalated
    for one in told:
        assert "gpu6.scale_up" in one or "gpu7.scale_up" in one
    assert (
        "by flow"
        not in run(made, small_files, kv_path=kv_path, fidelity="plan").provenance["fidelity"]
    )


def test_one_cache_at_a_time_does_not_escalate(small_files):
    made = split("classes", Shape(), Shape(attention_dp=2, ep=2))
    made = replace(made, arrivals=("closed_loop", 1), requests=6)
    result = run(made, small_files, kv_path="scale_up")
    assert "by flow" not in result.provenance["fidelity"]
    assert not any("transfers met" in one for one in result.warnings)


@pytest.mark.parametrize("fidelity", ["plan", "flow", "packet"])
def test_a_lost_switch_tray_slows_exchanges_by_18_over_16(small_files, fidelity):
    made = case("gb200_nvl72", 8)
    tray = Fault(kind="switch_tray", at_s=0.0, for_s=1e3, where=0)
    whole, hurt = (
        run(made, small_files, fidelity=fidelity, faults=faults) for faults in ((), (tray,))
    )
    assert exchange_s(hurt) / exchange_s(whole) == pytest.approx(18 / 16, rel=0.01)
