"""Effects that were measured on real machines come out of the mechanisms, not of a factor.

Steps of DeepSeek-R1 are planned one at a time, so that nothing but the mechanism differs.
"""

import numpy as np
import pytest

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.network.recurrence import StepPart
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.serving.batching import Batcher
from rackmoe.simulation import simulate
from rackmoe.streams import Streams

H100 = {
    "hardware": {"profile": "hgx_h100", "nodes": 9},
    "model": {"name": "deepseek-r1", "weights": "fp8"},
    "backend": "sglang-2026h1",
}
WIDE = {"ep": 72, "attention_dp": 72, "redundant_experts": 32, "max_batch_per_rank": 300}


def scenario(machine, *, pool, workload=None, **changes):
    """Return a scenario of one aggregated pool."""
    document = {
        "schema": "rackmoe/scenario/1",
        "title": "an effect",
        **machine,
        "deployment": {"aggregated": pool},
        "workload": {
            "arrivals": {"closed_loop": 8},
            "lengths": {"input": 1024, "output": 64},
            "routing": {"balanced": True},
            "requests": 16,
            **(workload or {}),
        },
        **changes,
    }
    return resolve_scenario(ScenarioDocument.model_validate(document), name="effect")


def decode_step(case, contexts):
    """Return the plan of a step that decodes the given contexts of each attention group."""
    plan = plan_pool(case, name="aggregated", routing=RoutingInputs(case, streams=Streams(0)))
    batcher = Batcher(plan.limits)
    request = 0
    for group, own in enumerate(contexts):
        for context in own:
            batcher.held_blocks[group] += plan.limits.blocks(int(context))
            batcher._reserved_sequences[group] += 1
            batcher.join(request, group=group, context=int(context), remaining=9, row=0)
            request += 1
    return plan.law.plan(batcher.next_step(), running=batcher.running)


def overlap_gain(per_gpu, *, context):
    """Return how much faster a step is with two overlapped batches: above 1 is a gain."""
    contexts = np.full((72, per_gpu), context)
    whole, split = (
        decode_step(scenario(H100, pool=WIDE | {"two_batch_overlap": overlap}), contexts)
        for overlap in (False, True)
    )
    return whole.duration_s / split.duration_s


def test_two_batch_overlap_helps_large_batches_and_hurts_small_ones():
    """Small batches read the weights twice and hide little; large ones hide their exchanges."""
    assert overlap_gain(256, context=2000) > 1.05
    assert overlap_gain(32, context=2000) < 0.98


def frontier(n_drafts, batches):
    """Return tokens per second of a user and of all at each batch, with the mean acceptance."""
    machine = {
        "hardware": {"profile": "gb200_nvl72", "racks": 1},
        "model": {"name": "deepseek-r1", "weights": "nvfp4"},
        "backend": "trtllm-2026h1",
    }
    pool = {
        "ep": 8,
        "attention_dp": 8,
        "max_batch_per_rank": 512,
        "draft_tokens": n_drafts,
    }
    case = scenario(machine, pool=pool)
    accepted = case.backend.speculation.acceptance_frac.value
    chance = [accepted[min(k, len(accepted) - 1)] for k in range(n_drafts)]
    per_step = 1.0 + float(np.cumprod(chance).sum())
    duration_s = [decode_step(case, np.full((8, n), 4000)).duration_s for n in batches]
    user = per_step / np.array(duration_s)
    return user, user * 8 * np.array(batches)


def test_drafts_raise_throughput_at_equal_interactivity():
    """What drafts gain in speed is spent on larger batches."""
    batches = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    plain_user, plain_all = frontier(0, batches)
    draft_user, draft_all = frontier(3, batches)
    for speed in np.quantile(plain_user, [0.25, 0.5, 0.75]):
        plain = np.interp(speed, plain_user[::-1], plain_all[::-1])
        drafted = np.interp(speed, draft_user[::-1], draft_all[::-1])
        assert drafted > 1.2 * plain
    assert draft_user[0] > plain_user[0]


def waiting_frac(spread):
    """Return which part of a step ranks wait for others, contexts varying by a relative spread."""
    rng = Streams(1).rng("contexts")
    half = np.sqrt(3.0) * spread
    contexts = 4000 * rng.uniform(1 - half, 1 + half, size=(72, 32))
    parts_s = decode_step(scenario(H100, pool=WIDE), contexts).parts_s
    waits_s = parts_s[StepPart.DISPATCH_WAIT] + parts_s[StepPart.COMBINE_WAIT]
    return waits_s / parts_s.sum()


def test_ranks_wait_longer_for_each_other_the_more_their_contexts_differ():
    found = [waiting_frac(spread) for spread in (0.0, 0.1, 0.3, 0.55)]
    assert found[0] == pytest.approx(0.0, abs=1e-6)
    assert (np.diff(found) > 0).all()
    # the slowest of many ranks is off by a multiple of the spread
    assert found[3] == pytest.approx(found[1] * 5.5, rel=0.25)


LONG_PROMPTS = {
    "arrivals": {"poisson": "6 /s"},
    "lengths": {"input": 6000, "output": 200},
    "requests": 150,
}


def tail_and_median(deployment):
    """Return 99th percentile and median of the time per output token. [s]."""
    machine = {
        "hardware": {"profile": "hgx_h200", "nodes": 2},
        "model": {"name": "gpt-oss-120b", "weights": "mxfp4"},
        "backend": "trtllm-2026h1",
    }
    case = scenario(machine, pool={}, workload=LONG_PROMPTS, deployment=deployment)
    summary = simulate(case).summary
    return summary["tpot_p99_s"], summary["tpot_p50_s"]


def test_prompts_disturb_decoding_unless_they_have_gpus_of_their_own():
    together_s, together_p50_s = tail_and_median({"aggregated": {"replicas": 2, "tp": 1}})
    apart_s, apart_p50_s = tail_and_median({"prefill": {}, "decode": {}})
    assert together_s > 1.5 * apart_s
    assert together_s > 1.2 * together_p50_s
    assert apart_s < 1.35 * apart_p50_s
