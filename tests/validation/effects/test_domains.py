"""Applications of different domains that share a pool of experts load them more evenly.

Steps of DeepSeek-V3 on 72 GPUs are planned one at a time, 128 sequences in each group, so that
nothing but the domains differs.
"""

import numpy as np
import pytest

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.domain_mix import DomainMix
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.serving.running import RunningSequences
from rackmoe.serving.step_batch import StepBatch
from rackmoe.streams import Streams

GROUPS, PER_GROUP, STEPS = 72, 128, 4


def scenario(**experts):
    document = {
        "schema": "rackmoe/scenario/1",
        "title": "domains",
        "hardware": {"profile": "gb200_nvl72", "racks": 1},
        "model": {"name": "deepseek-r1", "weights": "fp8"},
        "backend": "sglang-2026h1",
        "deployment": {
            "aggregated": {
                "ep": GROUPS,
                "attention_dp": GROUPS,
                "max_batch_per_rank": PER_GROUP,
                "redundant_experts": 32,
            }
        },
        "experts": experts,
        "workload": {
            "arrivals": {"closed_loop": 8},
            "lengths": {"input": 1024, "output": 64},
            "routing": {"generator": "deepseek_chat"},
            "requests": 16,
        },
    }
    return resolve_scenario(ScenarioDocument.model_validate(document), name="domains")


def decode(domains, **experts):
    """Return imbalance and duration of steps whose sequences take turns among domains."""
    n = GROUPS * PER_GROUP
    of_request = np.array(domains)[np.arange(n) // GROUPS % len(domains)]
    mix = DomainMix(
        names=("chat", "code"),
        of_request=of_request,
        share_frac=np.bincount(of_request, minlength=2) / n,
    )
    case = scenario(**experts)
    routing = RoutingInputs(case, streams=Streams(0), domains=mix)
    law = plan_pool(case, name="aggregated", routing=routing).law
    running = RunningSequences(n_groups=GROUPS, block_tokens=64)
    for request in range(n):
        running.add(request, group=request % GROUPS, context=2000, remaining=9, row=0)
    none = np.zeros(GROUPS, np.int64)
    batch = StepBatch(
        decode_sequences=running.n_sequences.copy(),
        decode_kv_tokens=running.kv_tokens.copy(),
        decode_window_tokens=running.window_kv_tokens.copy(),
        prefill_tokens=none,
        chunks=(),
        preempted=(),
    )
    plans = [law.plan(batch, running=running) for _ in range(STEPS)]
    return np.mean([[one.totals.imbalance, one.duration_s] for one in plans], axis=0)


@pytest.fixture(scope="module")
def alone():
    """Imbalance and duration where all sequences are about one thing, experts in order."""
    return decode([1])


def test_two_domains_load_the_experts_of_a_shared_pool_more_evenly(alone):
    shared = decode([0, 1])
    assert shared[0] - 1 < 0.9 * (alone[0] - 1)
    assert shared[1] < 0.98 * alone[1]


def test_a_placement_for_one_domain_wastes_time_on_another(alone):
    own, other = (
        decode([1], placement="eplb", balance_on_domain=seen) for seen in ("code", "chat")
    )
    assert own[0] < 0.8 * other[0]
    assert own[1] < 0.9 * other[1]
    assert own[1] < alone[1]
