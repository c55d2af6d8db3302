"""LAW-01: assignments dispatched = combined = tokens x top_k."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MODELS, Case, Shape, build, cases, run

from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.streams import Streams


@settings(max_examples=14)
@given(case=cases(step_tolerance=0.0))
def test_experts_compute_top_k_assignments_for_every_token(small_files, case):
    result = run(case, small_files)
    steps, experts = result.to_frame("steps"), result.to_frame("experts")
    n_tokens = int((steps["n_decode_tokens"] + steps["n_prefill_tokens"]).sum())
    arch = result.scenario.arch
    by_layer = experts.groupby("layer")["n_assignments"].sum()
    assert by_layer.index.tolist() == list(arch.moe_layers)
    assert (by_layer == n_tokens * arch.moe.top_k).all()


@settings(max_examples=10)
@given(case=cases(step_tolerance=0.2, kv_tokens=None))
def test_steps_that_reuse_a_plan_are_within_its_tolerance(small_files, case):
    result = run(case, small_files)
    steps, experts = result.to_frame("steps"), result.to_frame("experts")
    arch = result.scenario.arch
    by_layer = experts.groupby("layer")["n_assignments"].sum()
    n_decoded, n_prefilled = steps["n_decode_tokens"].sum(), steps["n_prefill_tokens"].sum()
    expected = (n_decoded + n_prefilled) * arch.moe.top_k
    slack = case.step_tolerance / (1 - case.step_tolerance) * n_decoded * arch.moe.top_k
    assert (by_layer - expected).abs().max() <= slack


@pytest.mark.parametrize("shape", [Shape(attention_dp=4, ep=4, redundant_experts=4), Shape(tp=2)])
@pytest.mark.parametrize("routing", ["uniform", "balanced"])
@settings(max_examples=15)
@given(model=st.sampled_from(sorted(MODELS)), data=st.data())
def test_what_is_dispatched_is_combined(small_files, shape, routing, model, data):
    scenario = build(Case(model=model, pools=(shape,), routing=routing), small_files)
    pool = scenario.document.deployment.aggregated
    source = RoutingInputs(scenario, streams=Streams(1)).source(pool, role="aggregated")
    n_ranks = source.placement.n_ranks
    counts = st.lists(st.integers(0, 50), min_size=n_ranks, max_size=n_ranks)
    tokens = np.array(data.draw(counts), np.int64)
    step = source.route(tokens, phase="decode")
    expected = tokens.sum() * scenario.arch.moe.top_k
    assert step.expert_counts.sum(axis=1).tolist() == [expected] * len(scenario.arch.moe_layers)
    assert step.rank_assignments.sum(axis=1) == pytest.approx(expected)
    for name in ("assignments", "copies", "remote_assignments", "node_copies"):
        sent, received = getattr(step, f"{name}_out"), getattr(step, f"{name}_in")
        assert sent.sum(axis=1) == pytest.approx(received.sum(axis=1)), name
    assert (step.copies_out <= step.assignments_out + 1e-9).all()
    assert (step.assignments_out <= tokens * scenario.arch.moe.top_k + 1e-9).all()
