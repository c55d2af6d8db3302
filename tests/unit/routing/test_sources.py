import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.placement import contiguous
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.sources import (
    block_source,
    replay_source,
    sampled_source,
    sampled_trace_source,
)

TOKENS = np.array([3, 0, 5, 4])
BUILDERS = (replay_source, block_source, sampled_trace_source)


@pytest.fixture
def place(make_placement):
    return make_placement(n_layers=2, n_experts=16, n_ranks=4)


@pytest.fixture
def make(make_trace):
    def build(**options):
        settings = {"n_tokens": 300, "n_layers": 2, "n_experts": 16, "top_k": 3, "n_requests": 3}
        return make_trace(**(settings | options))

    return build


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("phase", ["both", "decode", "any"])
def test_every_source_serves_both_phases_of_a_mixed_step(make, place, make_rng, build, phase):
    trace = make(phase=phase, n_prompt=40 if phase == "both" else 0)
    source = build(trace, placement=place, rng=make_rng())
    rows = trace.phase_rows("decode")[:12]
    senders = np.repeat(np.arange(4), TOKENS).astype(np.int32)
    source.begin()
    source.add(TOKENS, phase="decode", rows=rows, row_rank=senders)
    source.add(np.array([100, 0, 0, 0]), phase="prefill")
    step = source.finish()
    assert step.rank_assignments.sum(axis=1) == pytest.approx([336, 336], rel=1e-12)
    assert (step.copies_in <= step.assignments_in + 1e-9).all()
    assert source.placement is place


def test_replay_says_what_was_recorded_and_what_was_not(make, place, make_rng):
    source = replay_source(make(phase="decode"), placement=place, rng=make_rng())
    assert source.needs_rows
    assert source.spans.tolist() == [[0, 100], [100, 100], [200, 100]]
    assert (
        "decode: 300 tokens of toy (made by a test) replayed token by token" in source.provenance
    )
    assert "no prompt was recorded; counts generated" in source.provenance
    recorded = replay_source(make(n_prompt=40), placement=place, rng=make_rng())
    assert "prefill: runs of the trace's 120 prompt tokens" in recorded.provenance


def test_replay_needs_recorded_output(make, place, make_rng):
    with pytest.raises(TraceError, match="a trace without decode tokens"):
        replay_source(make(n_prompt=100), placement=place, rng=make_rng())
    block = block_source(make(n_prompt=100), placement=place, rng=make_rng())
    assert not block.needs_rows
    assert block.route(TOKENS, phase="decode").expert_counts.sum() == 2 * 12 * 3


def test_trace_of_another_model_is_refused(make, make_rng):
    other = contiguous(32, n_layers=2, n_ranks=4)
    for build in BUILDERS:
        with pytest.raises(TraceError, match="2 layers with 16 experts; the placement has 2 with"):
            build(make(), placement=other, rng=make_rng())


def test_sources_agree_on_load_and_copies(make, place, make_rng):
    """On average over steps, whatever the source; the trace's tokens are independent."""
    trace = make(n_tokens=4000, phase="any", n_requests=40)
    tokens = np.full(4, 100)
    senders = np.repeat(np.arange(4), 100).astype(np.int32)
    mean = {}
    for build in BUILDERS:
        source, rng = build(trace, placement=place, rng=make_rng(1)), make_rng(2)
        total = np.zeros(4)
        for _ in range(30):
            rows = rng.integers(0, 4000, 400)
            step = source.route(tokens, phase="decode", rows=rows, row_rank=senders)
            total += [
                step.imbalance().mean(),
                step.copies_in.sum(),
                step.assignments_out.sum(),
                step.active_experts.sum(),
            ]
        mean[build.__name__] = total / 30
    exact = mean.pop("replay_source")
    for name, value in mean.items():
        assert value == pytest.approx(exact, rel=0.03), name


def test_generated_counts_name_their_statistics_and_repeat_with_the_seed(make_rng):
    shape = MoeShape(n_layers=2, n_experts=32, top_k=4, n_groups=8, top_groups=4)
    place = contiguous(32, n_layers=2, n_ranks=8, ranks_per_node=4)

    def counts(seed):
        source = sampled_source(
            STATISTICS["deepseek_chat"], placement=place, shape=shape, rng=make_rng(seed)
        )
        assert "statistics deepseek_chat" in source.provenance
        assert source.spans is None
        return [
            source.route(np.full(8, 50), phase=phase).expert_counts.copy()
            for phase in ("decode", "prefill", "decode")
        ]

    one, again, other = counts(0), counts(0), counts(1)
    assert all((a == b).all() for a, b in zip(one, again, strict=True))
    assert any((a != b).any() for a, b in zip(one, other, strict=True))


def test_tokens_limited_to_groups_visit_fewer_nodes(make_rng):
    place = contiguous(32, n_layers=2, n_ranks=8, ranks_per_node=2)
    copies = {}
    for limit in (1, 4):
        shape = MoeShape(n_layers=2, n_experts=32, top_k=4, n_groups=4, top_groups=limit)
        source = sampled_source(
            STATISTICS["uniform"], placement=place, shape=shape, rng=make_rng()
        )
        copies[limit] = source.route(np.full(8, 100), phase="decode").node_copies_out.sum()
    # one node of four in three quarters of the cases, against 4 x (1 - C(24,4)/C(32,4)) x 3/4
    assert copies[1] == pytest.approx(2 * 800 * 0.75, rel=0.05)
    assert copies[4] > 2.5 * copies[1]


def test_popularity_may_be_given(make_rng):
    share = np.full((1, 4), 0.05)
    share[0, 2] = 0.85
    source = sampled_source(
        STATISTICS["uniform"],
        placement=contiguous(4, n_layers=1, n_ranks=2),
        shape=MoeShape(n_layers=1, n_experts=4, top_k=1),
        rng=make_rng(),
        share=share,
    )
    counts = source.route(np.array([1000, 1000]), phase="decode").expert_counts[0]
    assert counts[2] == pytest.approx(1700, rel=0.05)
