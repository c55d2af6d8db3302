"""LAW-15: a closed-form step never slows when a part gets faster."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BACKENDS, MODELS, Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.network.slowdown import Slowdown
from rackmoe.serving.batching import Batcher
from rackmoe.streams import Streams

_SHAPES = (
    Shape(),
    Shape(tp=4),
    Shape(tp=2, attention_dp=2, ep=4),
    Shape(attention_dp=4, ep=4),
    Shape(attention_dp=4, ep=4, two_batch_overlap=True),
    Shape(attention_dp=4),
)
_PARTS = {
    "hbm": (("gpu.hbm_bandwidth", "16 TB/s"),),
    "tensor": (
        ("gpu.peak.bf16", "5 PFLOP/s"),
        ("gpu.peak.fp8", "10 PFLOP/s"),
        ("gpu.peak.fp4", "20 PFLOP/s"),
    ),
    "scale_up": (("scale_up.gpu_bandwidth", "1800 GB/s"), ("scale_up.link_bandwidth", "100 GB/s")),
}
cases = st.builds(
    Case,
    model=st.sampled_from(sorted(MODELS)),
    backend=st.sampled_from(BACKENDS),
    pools=st.sampled_from(_SHAPES).map(lambda shape: (shape,)),
    routing=st.just("balanced"),
    max_tokens=st.just(256),
    max_batch=st.just(64),
)
contexts = st.lists(st.integers(1, 3000), min_size=1, max_size=40)
prompts = st.lists(st.integers(1, 300), max_size=4)


def planned(scenario, contexts, prompts, slowdown=None):
    """Return the plan of a step that decodes some contexts and computes some prompts."""
    plan = plan_pool(
        scenario, name="aggregated", routing=RoutingInputs(scenario, streams=Streams(0))
    )
    batcher = Batcher(plan.limits)
    for request, context in enumerate(contexts):
        group = batcher.reserve(context)
        batcher.join(request, group=group, context=context, remaining=9, row=0)
    for request, n_tokens in enumerate(prompts):
        batcher.enqueue(100 + request, n_tokens=n_tokens)
    batch = batcher.next_step()
    return plan.law.plan(batch, running=batcher.running, slowdown=slowdown)


@pytest.mark.parametrize("part", sorted(_PARTS))
@settings(max_examples=12)
@given(case=cases, contexts=contexts, prompts=prompts)
def test_a_faster_part_never_slows_a_step(small_files, part, case, contexts, prompts):
    before = planned(build(case, small_files), contexts, prompts)
    faster = build(replace(case, overrides=_PARTS[part]), small_files)
    after = planned(faster, contexts, prompts)
    assert after.duration_s <= before.duration_s * (1 + 1e-12)
    assert after.totals.hbm_bytes == pytest.approx(before.totals.hbm_bytes, rel=1e-12)
    assert after.totals.scale_up_bytes == pytest.approx(before.totals.scale_up_bytes, rel=1e-12)


@settings(max_examples=20)
@given(
    case=cases,
    contexts=contexts,
    prompts=prompts,
    part=st.sampled_from(["compute", "egress", "ingress"]),
    rank=st.integers(0, 3),
)
def test_a_slower_rank_never_speeds_a_step_up(small_files, case, contexts, prompts, part, rank):
    scenario = build(case, small_files)
    n_gpus = scenario.document.deployment.n_gpus
    factor = np.ones(n_gpus)
    factor[rank % n_gpus] = 1.5
    slow = Slowdown.steady(n_gpus, **{part: factor})
    before = planned(scenario, contexts, prompts)
    after = planned(scenario, contexts, prompts, slowdown=slow)
    assert after.plan.end_s.max() >= before.plan.end_s.max() * (1 - 1e-12)
    if part == "compute":
        # a rank beside the critical path may hide its own slowness, all of them together cannot
        everyone = Slowdown.steady(n_gpus, compute=np.full(n_gpus, 1.5))
        slowest = planned(scenario, contexts, prompts, slowdown=everyone)
        assert slowest.plan.end_s.max() > before.plan.end_s.max()


@settings(max_examples=12)
@given(case=cases, contexts=contexts, more=st.integers(1, 400))
def test_longer_contexts_never_speed_a_step_up(small_files, case, contexts, more):
    scenario = build(case, small_files)
    before = planned(scenario, contexts, [])
    after = planned(scenario, [context + more for context in contexts], [])
    # a chunk of local attention starts anew, so the sum over layers counts, not each one
    if case.model != "alternate":
        assert after.duration_s >= before.duration_s * (1 - 1e-12)
