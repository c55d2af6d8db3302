"""LAW-13: relabeling experts together with their placement changes nothing."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.routing.eplb import eplb
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.placement import Placement
from rackmoe.routing.rebalance import find_moves
from rackmoe.routing.replicas import split_counts
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.sources import block_source, replay_source
from rackmoe.routing.tokens import generate_token_trace

SHAPE = MoeShape(n_layers=3, n_experts=16, top_k=4)
LAYERS = np.arange(3)[:, None]
CHOICES = ("random", "round_robin", "nearest", "least_loaded")


def slots_and_labels(rng, *, n_redundant):
    extra = np.array([rng.integers(0, 16, n_redundant) for _ in range(3)], np.int64)
    slots = np.array([rng.permutation(np.r_[np.arange(16), more]) for more in extra])
    return slots, np.array([rng.permutation(16) for _ in range(3)])


def placed(slots, n_ranks):
    return Placement.from_slots(
        slots, n_experts=16, n_ranks=n_ranks, ranks_per_node=max(1, n_ranks // 2)
    )


def relabeled(values, label):
    """Return values by expert (L, E) in the order of the labels."""
    moved = np.empty_like(values)
    np.put_along_axis(moved, label, values, axis=1)
    return moved


@given(
    seed=st.integers(0, 2**32),
    n_ranks=st.sampled_from([1, 2, 4, 8]),
    build=st.sampled_from([replay_source, block_source]),
    choice=st.sampled_from(CHOICES),
    n_redundant=st.sampled_from([0, 8, 16]),
)
@settings(max_examples=60, deadline=None)
def test_relabeled_experts_load_the_same_ranks(seed, n_ranks, build, choice, n_redundant):
    rng = np.random.Generator(np.random.PCG64(seed))
    trace = generate_token_trace(
        STATISTICS["qwen3"], shape=SHAPE, n_tokens=200, n_requests=5, rng=rng
    )
    slots, label = slots_and_labels(rng, n_redundant=n_redundant)
    renamed = replace(trace, routed_experts=label[LAYERS, trace.routed_experts].astype(np.uint8))
    tokens = np.full(n_ranks, 16)
    rows = rng.integers(0, 200, 16 * n_ranks)
    senders = np.repeat(np.arange(n_ranks), 16).astype(np.int32)
    steps = []
    for one, where in ((trace, slots), (renamed, label[LAYERS, slots])):
        source = build(
            one,
            placement=placed(where, n_ranks),
            rng=np.random.Generator(np.random.PCG64(seed)),
            replica_choice=choice,
        )
        steps.append(source.route(tokens, phase="decode", rows=rows, row_rank=senders))
    for field in fields(steps[0]):
        if field.name != "expert_counts":
            before, after = (getattr(step, field.name) for step in steps)
            assert (before == after).all(), field.name
    assert (relabeled(steps[0].expert_counts, label) == steps[1].expert_counts).all()


@pytest.mark.parametrize("choice", CHOICES)
@given(seed=st.integers(0, 2**32), n_ranks=st.sampled_from([2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_relabeled_counts_are_split_over_the_same_slots(choice, seed, n_ranks):
    rng = np.random.Generator(np.random.PCG64(seed))
    slots, label = slots_and_labels(rng, n_redundant=16)
    counts = rng.integers(0, 6, (3, 16)).astype(float)
    split = [
        split_counts(load, placement=placed(where, n_ranks), choice=choice)
        for load, where in (
            (counts, slots),
            (relabeled(counts, label), label[LAYERS, slots]),
        )
    ]
    assert split[0] == pytest.approx(split[1], rel=1e-12)


@given(seed=st.integers(0, 2**32), n_ranks=st.sampled_from([2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_relabeled_loads_are_rebalanced_by_the_same_moves(seed, n_ranks):
    """With loads that differ: the published algorithm breaks ties by the label."""
    rng = np.random.Generator(np.random.PCG64(seed))
    slots, label = slots_and_labels(rng, n_redundant=8)
    load = rng.lognormal(size=(3, 16))
    found = []
    for one, where in ((load, slots), (relabeled(load, label), label[LAYERS, slots])):
        old = placed(where, n_ranks)
        new = eplb(one, n_ranks=n_ranks, n_redundant=8, ranks_per_node=old.ranks_per_node)
        moves = find_moves(old, new=new)
        found.append((new.slots.astype(int), moves.layer.tolist(), moves.pairs()))
    assert (label[LAYERS, found[0][0]] == found[1][0]).all()
    assert found[0][1:] == found[1][1:]
