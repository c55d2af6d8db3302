"""LAW-13: relabeling experts together with their placement changes nothing."""

from dataclasses import fields, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.routing.families import STATISTICS
from rackmoe.routing.placement import Placement
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.sources import block_source, replay_source
from rackmoe.routing.tokens import generate_token_trace

SHAPE = MoeShape(n_layers=3, n_experts=16, top_k=4)


@given(
    seed=st.integers(0, 2**32),
    n_ranks=st.sampled_from([1, 2, 4, 8]),
    build=st.sampled_from([replay_source, block_source]),
)
@settings(max_examples=30, deadline=None)
def test_relabeled_experts_load_the_same_ranks(seed, n_ranks, build):
    """Without redundancy: which of several replicas a token takes may hang on the label."""
    rng = np.random.Generator(np.random.PCG64(seed))
    trace = generate_token_trace(
        STATISTICS["qwen3"], shape=SHAPE, n_tokens=200, n_requests=5, rng=rng
    )
    slots = np.array([rng.permutation(16) for _ in range(3)])
    label = np.array([rng.permutation(16) for _ in range(3)])
    layers = np.arange(3)[:, None]
    renamed = replace(trace, routed_experts=label[layers, trace.routed_experts].astype(np.uint8))
    tokens = np.full(n_ranks, 16)
    rows = rng.integers(0, 200, 16 * n_ranks)
    senders = np.repeat(np.arange(n_ranks), 16).astype(np.int32)
    steps = []
    for one, where in ((trace, slots), (renamed, label[layers, slots])):
        place = Placement.from_slots(
            where, n_experts=16, n_ranks=n_ranks, ranks_per_node=max(1, n_ranks // 2)
        )
        source = build(one, placement=place, rng=np.random.Generator(np.random.PCG64(seed)))
        steps.append(source.route(tokens, phase="decode", rows=rows, row_rank=senders))
    for field in fields(steps[0]):
        if field.name != "expert_counts":
            before, after = (getattr(step, field.name) for step in steps)
            assert (before == after).all(), field.name
    moved = np.empty_like(steps[0].expert_counts)
    np.put_along_axis(moved, label, steps[0].expert_counts, axis=1)
    assert (moved == steps[1].expert_counts).all()
