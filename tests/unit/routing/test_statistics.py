import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import TraceError
from rackmoe.routing import statistics
from rackmoe.routing.statistics import (
    count_overlaps,
    count_overlaps_plain,
    measure_trace,
    top_pairs_frac,
)
from rackmoe.routing.traces import TokenTrace, count_experts


@given(seed=st.integers(0, 10**6), first=st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_overlaps_are_those_of_plain_numpy(make_routed, seed, first):
    routed = make_routed(n_tokens=60, n_layers=3, n_experts=8, top_k=2, seed=seed)
    begins = np.repeat([0, 25, 40], [25, 15, 20])
    common, n_pairs = np.zeros((3, 3), np.int64), np.zeros(3, np.int64)
    count_overlaps(routed, first, begins, np.array([1, 4, 16]), common, n_pairs)
    plain = count_overlaps_plain(routed, first=first, begins=begins, lags=(1, 4, 16))
    assert (common == plain[0]).all()
    assert (n_pairs == plain[1]).all()


def test_tokens_that_repeat_overlap_and_others_do_not(make_trace):
    trace = make_trace(n_tokens=4, n_layers=1, n_experts=8, top_k=2)
    rows = np.array([[[0, 1]], [[0, 1]], [[2, 3]], [[0, 3]]], np.uint8)
    small = TokenTrace(
        routed_experts=rows,
        req_offsets=trace.req_offsets,
        n_prompt_rows=trace.n_prompt_rows,
        header=trace.header,
    )
    found = measure_trace(small, lags=(1, 2, 4))
    # neighbors share 2, 0 and 1 of 2; tokens two apart share 0 and 1
    assert found.overlap[:, 0] == pytest.approx([0.5, 0.25, np.nan], nan_ok=True)
    # chances 3/4, 1/2, 1/4, 1/2 and zeros
    assert found.random_overlap == pytest.approx([(9 + 4 + 1 + 4) / 16 / 2])


def test_independent_tokens_overlap_as_their_popularity_says(make_trace):
    found = measure_trace(make_trace(n_tokens=20_000, n_layers=2, n_experts=16, top_k=2))
    assert found.overlap[0] == pytest.approx(found.random_overlap, abs=0.01)
    assert found.pair_frac == pytest.approx(found.independent_pair_frac, abs=0.02)


def test_chunks_and_requests_do_not_change_what_is_measured(make_trace, monkeypatch):
    trace = make_trace(n_tokens=500, n_layers=2, n_experts=8, top_k=2, n_requests=3)
    whole = measure_trace(trace)
    monkeypatch.setattr(statistics, "_ROWS_AT_ONCE", 64)
    parts = measure_trace(trace)
    assert (whole.counts == parts.counts).all()
    assert (whole.counts == count_experts(trace, rows=np.arange(500))).all()
    assert whole.overlap == pytest.approx(parts.overlap, nan_ok=True)
    assert (whole.pairs.across == parts.pairs.across).all()


def test_long_trace_is_sampled_for_pairs_but_counted_in_full(make_trace, monkeypatch):
    monkeypatch.setattr(statistics, "_ROWS_AT_ONCE", 50)
    monkeypatch.setattr(statistics, "_SAMPLE_ROWS", 200)
    found = measure_trace(make_trace(n_tokens=2000, n_layers=2, n_experts=8, top_k=2))
    assert found.counts.sum() == 2000 * 2 * 2
    assert found.pairs.load.sum() == 200 * 2 * 2


def test_busiest_fifth_of_equal_pairs_is_a_fifth():
    assert top_pairs_frac(np.ones((1, 5, 5))) == pytest.approx([0.2])
    one = np.zeros((1, 5, 5))
    one[0, 2, 2] = 7
    assert top_pairs_frac(one) == pytest.approx([1.0])


def test_empty_trace_is_refused(make_trace):
    trace = make_trace(n_tokens=2, n_layers=1, n_experts=8, top_k=2)
    none = TokenTrace(
        routed_experts=trace.routed_experts[:0],
        req_offsets=np.zeros(2, np.int64),
        n_prompt_rows=trace.n_prompt_rows,
        header=trace.header,
    )
    with pytest.raises(TraceError, match="a trace without tokens"):
        measure_trace(none)
