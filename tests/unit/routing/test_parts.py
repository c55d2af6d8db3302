import numpy as np
import pytest

from rackmoe.errors import ShapeError, TraceError
from rackmoe.routing import parts
from rackmoe.routing.generator import CountNoise, inclusion
from rackmoe.routing.load import StepLoad
from rackmoe.routing.parts import BlockPart, ReplayPart, RowCounter, SampledPart


@pytest.fixture
def place(make_placement):
    return make_placement(n_layers=2, n_experts=16, n_ranks=4, n_redundant=4, ranks_per_node=2)


@pytest.fixture
def routed(make_routed):
    return make_routed(n_tokens=200, n_layers=2, n_experts=16, top_k=3)


def step_of(part, place, tokens, rows=None, row_rank=None):
    load = StepLoad(place, top_k=3)
    load.begin()
    part.add(load, tokens_per_rank=np.asarray(tokens), rows=rows, row_rank=row_rank)
    return load.finish()


def test_large_traces_are_counted_one_by_one_with_the_same_result(place, routed, monkeypatch):
    rows, senders = np.arange(150), (np.arange(150) % 4).astype(np.int32)
    by_masks = (
        RowCounter(routed, place, choice="random").count(rows, row_rank=senders).per_rank.copy()
    )
    monkeypatch.setattr(parts, "_MASK_BYTES_MAX", 0)
    one_by_one = RowCounter(routed, place, choice="random").count(rows, row_rank=senders).per_rank
    assert (by_masks == one_by_one).all()


def test_hits_do_not_depend_on_senders(place, routed):
    rows = np.arange(60)
    hits = np.empty((20 + 4 + 2, 2), np.int32)
    RowCounter(routed, place, choice="random").count_hits(rows, out=hits)
    tally = RowCounter(routed, place, choice="random").count(
        rows, row_rank=np.full(60, 2, np.int32)
    )
    assert (hits[:20] == tally.slots).all()
    assert (hits[20:24] == tally.rank_hits).all()
    # rank 2 is on node 1: what it sends to node 0 are the tokens that visit node 0
    assert (hits[24] == tally.node_out[2]).all()
    assert (hits[24:] <= 60).all()


def test_replay_follows_each_token(place, routed):
    rows, senders = np.array([5, 5, 9]), np.array([0, 3, 3], np.int32)
    step = step_of(ReplayPart(routed, place, choice="random"), place, [1, 0, 0, 2], rows, senders)
    counts = np.zeros(16)
    np.add.at(counts, routed[rows, 0], 1)
    assert step.expert_counts[0].tolist() == counts.tolist()
    assert step.assignments_out[:, [1, 2]].sum() == 0


@pytest.mark.parametrize(
    ("rows", "senders", "error", "match"),
    [
        (None, None, ShapeError, "expected the row of each token to replay"),
        ([1, 2], [0, 0], ShapeError, "2 rows and 2 ranks; expected 3"),
        ([1, 2, 200], [0, 0, 0], TraceError, "1 to 200; expected 0 to 199"),
        ([1, 2, -1], [0, 0, 0], TraceError, "-1 to 2"),
    ],
)
def test_replay_refuses_rows_that_do_not_fit(place, routed, rows, senders, error, match):
    part = ReplayPart(routed, place, choice="random")
    rows = None if rows is None else np.array(rows)
    senders = None if senders is None else np.array(senders, np.int32)
    with pytest.raises(error, match=match):
        step_of(part, place, [3, 0, 0, 0], rows, senders)


def test_replay_of_no_tokens_is_empty(place, routed):
    part = ReplayPart(routed, place, choice="random")
    none = np.empty(0, np.int64)
    assert not step_of(part, place, [0, 0, 0, 0], none, none.astype(np.int32)).expert_counts.any()


@pytest.mark.parametrize("n_tokens", [0, 5, 16, 37, 192, 500])
def test_blocks_hold_whole_tokens_whatever_the_step(place, routed, make_rng, n_tokens):
    part = BlockPart(
        routed,
        place,
        order=np.arange(200),
        choice="random",
        block_tokens=16,
        rng=make_rng(),
    )
    for _ in range(5):
        step = step_of(part, place, [n_tokens, 0, 0, 0])
        assert (step.expert_counts.sum(axis=1) == 3 * n_tokens).all()
        assert step.expert_counts.max() <= n_tokens


def test_blocks_of_the_whole_trace_are_its_counts(place, routed, make_rng):
    part = BlockPart(
        routed, place, order=np.arange(200), choice="random", block_tokens=20, rng=make_rng()
    )
    step = step_of(part, place, [50, 50, 50, 50])
    whole = np.bincount(routed[:, 1].ravel(), minlength=16)
    assert step.expert_counts[1].tolist() == whole.tolist()
    rows, senders = np.arange(200), np.repeat(np.arange(4), 50).astype(np.int32)
    exact = step_of(
        ReplayPart(routed, place, choice="random"), place, [50, 50, 50, 50], rows, senders
    )
    assert (step.rank_assignments == exact.rank_assignments).all()
    assert (step.active_experts == exact.active_experts).all()
    for name in ("copies_in", "copies_out", "node_copies_in", "node_copies_out"):
        one, two = getattr(step, name), getattr(exact, name)
        assert one.sum() == pytest.approx(two.sum(), rel=0.05)


@pytest.mark.parametrize("choice", ["round_robin", "nearest", "least_loaded"])
def test_blocks_serve_every_replica_choice(place, routed, make_rng, choice):
    part = BlockPart(
        routed, place, order=np.arange(200), choice=choice, block_tokens=16, rng=make_rng()
    )
    step = step_of(part, place, [10, 10, 10, 10])
    assert (step.rank_assignments.sum(axis=1) == 120).all()


def test_sampled_copies_follow_the_ratio_of_the_sample(place, routed, make_rng):
    share = np.stack([np.bincount(routed[:, layer].ravel(), minlength=16) for layer in (0, 1)])
    chance = inclusion(share / share.sum(axis=1, keepdims=True), top_k=3)
    noise = CountNoise(chance, top_k=3, step_jitter=0.0, rng=make_rng())
    part = SampledPart(noise, sample=routed, placement=place, choice="random")
    step = step_of(part, place, [500, 500, 500, 500])
    rows, senders = np.arange(200), (np.arange(200) % 4).astype(np.int32)
    exact = step_of(
        ReplayPart(routed, place, choice="random"), place, [50, 50, 50, 50], rows, senders
    )
    assert step.rank_assignments.sum(axis=1) == pytest.approx([6000, 6000], rel=1e-12)
    for name in ("copies_in", "node_copies_out", "remote_assignments_in"):
        assert getattr(step, name).sum() / 10 == pytest.approx(
            getattr(exact, name).sum(), rel=0.06
        )
