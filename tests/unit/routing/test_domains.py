"""Popularity by domain, and sources of several domains."""

import numpy as np
import pytest

from rackmoe.routing.domains import DomainSource, domain_popularity
from rackmoe.routing.placement import contiguous
from rackmoe.routing.sources import block_source, replay_source


@pytest.fixture
def share(make_rng):
    weight = np.exp(make_rng().standard_normal((20, 256)))
    return weight / weight.sum(axis=1, keepdims=True)


def drawn(share, make_rng, *, specific_frac, seed):
    deviates = make_rng(seed).standard_normal(share.shape)
    return domain_popularity(share, deviates=deviates, specific_frac=specific_frac)


def test_a_domain_is_as_skewed_as_the_common_popularity(share, make_rng):
    own = drawn(share, make_rng, specific_frac=0.75, seed=1)
    assert (np.sort(own, axis=1) == np.sort(share, axis=1)).all()
    assert (own != share).any()


def test_a_domain_without_anything_specific_is_the_common_one(share, make_rng):
    assert (drawn(share, make_rng, specific_frac=0.0, seed=1) == share).all()


@pytest.mark.parametrize("specific_frac", [0.3, 0.75, 1.0])
def test_log_popularity_correlates_by_what_domains_share(share, make_rng, specific_frac):
    one, other = (
        np.log(drawn(share, make_rng, specific_frac=specific_frac, seed=seed)) for seed in (1, 2)
    )
    found = np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(one, other, strict=True)])
    # standard error of 20 correlations of 256 values
    assert found == pytest.approx(1 - specific_frac, abs=3 / np.sqrt(20 * 256))


def sources_of(make_trace, make_rng, build):
    place = contiguous(16, n_layers=2, n_ranks=4)
    traces = [
        make_trace(n_tokens=200, n_layers=2, n_experts=16, top_k=2, n_requests=4, n_prompt=10)
        for _ in range(2)
    ]
    for number, trace in enumerate(traces):
        # experts of two halves
        trace.routed_experts[:] = trace.routed_experts % 8 + 8 * number
        trace.routed_experts[..., 1] = trace.routed_experts[..., 0] ^ 1
    return [build(trace, placement=place, rng=make_rng()) for trace in traces]


def test_tokens_choose_among_the_experts_of_their_domain(make_trace, make_rng):
    source = DomainSource(sources_of(make_trace, make_rng, block_source))
    source.begin()
    source.add(np.array([5, 5, 0, 0]), phase="decode", domain=0)
    source.add(np.array([0, 0, 0, 3]), phase="prefill", domain=1)
    counts = source.finish().expert_counts
    assert counts[:, :8].sum(axis=1).tolist() == [20, 20]
    assert counts[:, 8:].sum(axis=1).tolist() == [6, 6]
    assert "each of 2 domains" in source.provenance
    assert not source.needs_rows


def test_rows_say_themselves_which_tokens_are_followed(make_trace, make_rng):
    first, second = sources_of(make_trace, make_rng, replay_source)
    spans = [first.spans[:1], first.spans[1:]]
    source = DomainSource([first, second], followed=second, spans=spans)
    assert source.needs_rows
    assert source.span_domain.tolist() == [0, 1, 1, 1]
    assert source.spans.tolist() == first.spans.tolist()
    rank = np.zeros(3, np.int32)
    source.begin()
    source.add(np.array([3, 0, 0, 0]), phase="decode", rows=np.array([10, 11, 12]), row_rank=rank)
    counts = source.finish().expert_counts
    assert counts[:, 8:].sum(axis=1).tolist() == [6, 6]
    step = source.route(np.array([1, 0, 0, 0]), phase="prefill")
    assert step.expert_counts[:, :8].sum(axis=1).tolist() == [2, 2]
