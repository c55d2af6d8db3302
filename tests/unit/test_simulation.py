"""From traffic to figures in one call."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, Shape, build, run

from rackmoe.errors import InvariantError
from rackmoe.metrics.catalog import METRICS
from rackmoe.scenario.workload import Slo
from rackmoe.simulation import Result, simulate

# 4 requests of 20 tokens in one step of 1 ms, then 4 steps of 1 ms for 4 more tokens each
CASE = Case(
    backend="ideal-network",
    host=("1 ms", "0 s"),
    lengths=(20, 5),
    spread=(1.0, 1.0),
    max_tokens=128,
    requests=4,
    routing="balanced",
)


def changed(scenario, **parts):
    return replace(scenario, document=scenario.document.model_copy(update=parts))


def test_figures_of_a_run_by_hand(small_files):
    result = run(CASE, small_files)
    assert isinstance(result, Result)
    summary = result.summary
    assert (summary["n_requests"], summary["n_done"]) == (4, 4)
    assert summary["window_s"] == pytest.approx(5e-3)
    assert summary["ttft_mean_s"] == pytest.approx(1e-3)
    assert summary["tpot_p99_s"] == pytest.approx(1e-3)
    assert summary["e2e_mean_s"] == pytest.approx(5e-3)
    assert summary["output_tokens_per_s"] == pytest.approx(4 * 5 / 5e-3)
    assert summary["output_tokens_per_s_per_gpu"] == pytest.approx(4000)
    assert summary["requests_in_system_mean"] == pytest.approx(4)
    assert set(summary) <= set(METRICS)


def test_runs_that_drain_obey_the_law_of_little(small_files, monkeypatch):

    def refuse(requests):
        raise InvariantError(f"LAW-09: {len(requests)} requests")

    monkeypatch.setattr("rackmoe.simulation.check_little_law", refuse)
    with pytest.raises(InvariantError, match=r"LAW-09: 4 requests"):
        simulate(build(CASE, small_files))


def test_power_is_that_of_the_whole_machine_and_speed_that_of_the_used_gpus(small_files):
    result = run(CASE, small_files)
    gpu_w = result.to_frame("power").set_index("part").loc["gpu", "power_w"]
    # two racks of 144 GPUs, of which one computes in no time
    idle_w = result.scenario.machine.gpu.idle_power_w
    assert gpu_w == pytest.approx(144 * idle_w, rel=1e-3)
    nameplate_w = result.scenario.machine.power.nameplate_power_w
    assert result.summary["provisioned_power_w"] == 2 * nameplate_w


def test_split_pools_are_told_apart(small_files):
    case = replace(CASE, pools=(Shape(), Shape(tp=2)))
    summary = run(case, small_files).summary
    rate = summary["output_tokens_per_s"]
    assert summary["output_tokens_per_s_per_gpu"] == pytest.approx(rate / 3)
    assert any("decode_gpu" in name for name in summary)
    assert not any("decode_gpu" in name for name in run(CASE, small_files).summary)


def test_goodput_needs_a_limit(small_files):
    scenario = build(CASE, small_files)
    assert "goodput_requests_per_s" not in simulate(scenario).summary
    strict = simulate(changed(scenario, slo=Slo(tpot_s=0.5e-3)))
    assert strict.summary["goodput_requests_per_s"] == 0
    lax = simulate(changed(scenario, slo=Slo(ttft_s=1.0)))
    assert lax.summary["goodput_requests_per_s"] == pytest.approx(4 / 5e-3)


def test_a_measured_window_is_the_one_asked_for(small_files):
    case = replace(CASE, arrivals=("poisson", "300 /s"), max_batch=64)
    scenario = build(case, small_files)
    workload = scenario.document.workload
    measurement = workload.measurement.model_copy(update={"warm_up_s": 0.1, "window_s": 0.3})
    timed = workload.model_copy(update={"requests": None, "measurement": measurement})
    result = simulate(changed(scenario, workload=timed))
    assert (result.window.start_s, result.window.end_s) == (0.1, pytest.approx(0.4))
    requests = result.to_frame("requests")
    inside = requests["arrival_s"].between(0.1, 0.4, inclusive="left")
    assert result.summary["n_requests"] == inside.sum()
    assert requests.loc[inside, "state"].eq("done").all()


def test_a_loop_that_warms_up_is_measured_until_its_last_arrival(small_files):
    case = replace(CASE, arrivals=("closed_loop", 2), requests=20)
    scenario = build(case, small_files)
    workload = scenario.document.workload
    measurement = workload.measurement.model_copy(update={"warm_up_requests_frac": 0.5})
    result = simulate(
        changed(scenario, workload=workload.model_copy(update={"measurement": measurement}))
    )
    arrival_s = np.sort(result.to_frame("requests")["arrival_s"])
    assert (result.window.start_s, result.window.end_s) == (arrival_s[10], arrival_s[-1])


def test_a_run_without_any_service_says_so(small_files):
    result = run(replace(CASE, backend="ideal", kv_tokens=10), small_files)
    assert result.summary["n_rejected"] == 4
    assert result.summary["output_tokens_per_s"] == 0
    assert np.isnan(result.summary["ttft_p50_s"])
    assert any("rejected" in warning for warning in result.warnings)


def test_a_result_names_its_origins(small_files):
    provenance = run(CASE, small_files).provenance
    assert provenance["traffic"] == "all requests at time zero"
    assert provenance["routing.aggregated"] == (
        "exactly balanced routing; no trace, no randomness"
    )
    assert "prices.electricity" in provenance["assumed_hardware_inputs"].split(", ")


def test_every_table_is_a_frame(small_files):
    result = run(CASE, small_files)
    for name in ("requests", "steps", "links", "experts", "power"):
        assert len(result.to_frame(name)) == len(getattr(result.run.records, name))
    with pytest.raises(KeyError, match="nothing: no such table"):
        result.to_frame("nothing")
