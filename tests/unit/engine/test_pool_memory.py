from dataclasses import replace

import pytest
from strategies import Case, build

from rackmoe.engine.pool_memory import plan_memory
from rackmoe.errors import CapacityError
from rackmoe.model.cache import kv_bytes_per_token
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario


def _scenario(**pool):
    document = ScenarioDocument.model_validate(
        {
            "schema": "rackmoe/scenario/1",
            "title": "offload",
            "hardware": {"profile": "gb200_nvl72", "racks": 1},
            "model": {"name": "deepseek-r1", "weights": "nvfp4"},
            "backend": "sglang-2026h1",
            "deployment": {"aggregated": {"attention_dp": 2, "ep": 2, **pool}},
            "workload": {
                "arrivals": {"batch": True},
                "lengths": {"input": 1000, "output": 1},
                "requests": 10,
            },
        }
    )
    scenario = resolve_scenario(document, name="offload")
    return scenario, document.deployment.pools["aggregated"]


def test_weights_that_do_not_fit_are_refused_unless_they_may_stream():
    scenario, pool = _scenario()
    with pytest.raises(CapacityError, match=r"here: .*GB of weights"):
        plan_memory(scenario, pool=pool, place="here")


def test_offloaded_weights_stream_over_the_host_link_in_every_step():
    scenario, pool = _scenario(offloads_weights=True)
    held = plan_memory(scenario, pool=pool, place="here")
    host, reserve = scenario.machine.host, scenario.backend.memory
    usable = scenario.machine.gpu.hbm_bytes * reserve.usable_frac.value
    usable -= reserve.workspace_bytes.value
    assert held.plan.weights_bytes + held.plan.cache_bytes == pytest.approx(usable)
    away = held.stream_s * host.link_bandwidth_bytes_per_s * host.copy_frac
    assert 30e9 < away < 60e9
    assert held.plan.capacity_tokens() >= 2 * scenario.backend.scheduler.max_tokens_per_step - 1


def test_what_fits_does_not_stream():
    scenario, pool = _scenario(offloads_weights=True, attention_dp=8, ep=8)
    assert plan_memory(scenario, pool=pool, place="here").stream_s == 0.0


def test_cpu_memory_is_finite():
    scenario, pool = _scenario(offloads_weights=True)
    machine = replace(scenario.machine, host=replace(scenario.machine.host, memory_bytes=1e9))
    with pytest.raises(CapacityError, match="of CPU memory are there; raise ep"):
        plan_memory(replace(scenario, machine=machine), pool=pool, place="here")


def test_engines_that_keep_what_left_a_window_have_room_for_fewer_tokens(small_files):
    plans = {}
    for backend in ("vllm-2026h1", "trtllm-2026h1"):
        scenario = build(Case(model="windowed", backend=backend), small_files)
        pool = scenario.document.deployment.pools["aggregated"]
        kept = plan_memory(scenario, pool=pool, place="case").plan
        plans[backend] = kept, kv_bytes_per_token(scenario.arch, kv_dtype=scenario.kv_dtype, tp=1)
    freed, full_layers_bytes = plans["vllm-2026h1"]
    assert freed.window_bytes > 0
    assert freed.token_bytes == pytest.approx(full_layers_bytes)
    kept, full_layers_bytes = plans["trtllm-2026h1"]
    # every second layer has a window
    assert kept.window_bytes == 0
    assert kept.token_bytes == pytest.approx(2 * full_layers_bytes)
