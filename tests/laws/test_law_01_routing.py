"""LAW-01: assignments dispatched = combined = tokens x top_k, for every source of routing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.routing.families import STATISTICS
from rackmoe.routing.placement import Placement
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.sources import (
    block_source,
    replay_source,
    sampled_source,
    sampled_trace_source,
)
from rackmoe.routing.tokens import generate_token_trace

CHOICES = ("random", "round_robin", "nearest", "least_loaded")
PAIRS = ("copies", "assignments", "node_copies", "remote_assignments")


@st.composite
def groups(draw):
    """A small model, its placement and the tokens of each rank."""
    n_ranks = draw(st.sampled_from([1, 2, 4, 6]))
    per_node = draw(st.sampled_from([n for n in (1, 2, 3, 6) if n_ranks % n == 0]))
    n_experts = 24
    n_redundant = draw(st.sampled_from([0, 12]))
    top_k = draw(st.integers(1, 6))
    rng = np.random.Generator(np.random.PCG64(draw(st.integers(0, 2**32))))
    extra = rng.integers(0, n_experts, n_redundant)
    slots = [rng.permutation(np.r_[np.arange(n_experts), extra]) for _ in range(2)]
    place = Placement.from_slots(
        np.array(slots), n_experts=n_experts, n_ranks=n_ranks, ranks_per_node=per_node
    )
    tokens = np.array(draw(st.lists(st.integers(0, 40), min_size=n_ranks, max_size=n_ranks)))
    return place, MoeShape(n_layers=2, n_experts=n_experts, top_k=top_k), tokens, rng


@given(
    group=groups(),
    kind=st.sampled_from(["replay", "block", "sampled", "generated"]),
    choice=st.sampled_from(CHOICES),
)
@settings(max_examples=60, deadline=None)
def test_assignments_are_tokens_times_top_k_and_nothing_is_lost(group, kind, choice):
    place, shape, tokens, rng = group
    family = STATISTICS["deepseek_chat"]
    if kind == "generated":
        source = sampled_source(
            family, placement=place, shape=shape, rng=rng, replica_choice=choice
        )
    else:
        trace = generate_token_trace(family, shape=shape, n_tokens=64, n_requests=4, rng=rng)
        build = {"replay": replay_source, "block": block_source, "sampled": sampled_trace_source}
        source = build[kind](trace, placement=place, rng=rng, replica_choice=choice)
    n_tokens = int(tokens.sum())
    rows = rng.integers(0, 64, n_tokens)
    senders = np.repeat(np.arange(tokens.size), tokens).astype(np.int32)
    source.begin()
    source.add(tokens, phase="decode", rows=rows, row_rank=senders)
    source.add(tokens, phase="prefill")
    step = source.finish()
    total = 2 * n_tokens * shape.top_k
    assert (step.expert_counts.sum(axis=1) == total).all()
    assert step.rank_assignments.sum(axis=1) == pytest.approx([total] * 2, rel=1e-12)
    for name in PAIRS:
        sent, received = getattr(step, f"{name}_out"), getattr(step, f"{name}_in")
        assert sent.sum(axis=1) == pytest.approx(received.sum(axis=1), rel=1e-9, abs=1e-9)
        assert sent.min() >= -1e-9
        assert received.min() >= -1e-9
    assert (step.copies_in <= step.assignments_in + 1e-9).all()
    assert (step.copies_out <= step.assignments_out + 1e-9).all()
    assert (step.node_copies_out <= step.remote_assignments_out + 1e-9).all()
    if place.n_ranks == 1:
        assert not step.assignments_out.any()
    if place.n_nodes == 1:
        assert not step.remote_assignments_in.any()
