import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.count_cleaning import clean_counts
from rackmoe.routing.importers.drafts import CountDraft
from rackmoe.routing.importers.facts import ImportHints, ModelFacts

FACTS = ModelFacts(n_experts=4, top_k=2, moe_layer_ids=(1, 2), n_layers=3)
COUNTS = np.array([[[2, 2, 1, 1], [0, 3, 3, 0]], [[1, 1, 0, 0], [0, 0, 1, 1]]])


def clean(counts, *, facts=FACTS, **hints):
    draft = CountDraft(counts=np.asarray(counts), phase="any")
    return clean_counts(draft, facts=facts, hints=ImportHints(**hints), place="a")


def test_counts_become_steps_of_whole_tokens():
    trace, notes = clean(COUNTS)
    assert trace.step_tokens.tolist() == [3, 1]
    assert trace.header.moe_layer_ids == (1, 2)
    assert trace.counts.dtype == np.int32
    assert notes == ()
    assert clean(COUNTS * 2**31)[0].counts.dtype == np.int64


def test_layers_that_count_differently_are_refused():
    counts = COUNTS.copy()
    counts[1, 1, 3] = 3
    with pytest.raises(
        TraceError, match="a: step 1: 4 assignments in MoE layer 1, 2 in MoE layer"
    ):
        clean(counts)


def test_assignments_that_are_no_whole_tokens_are_refused():
    with pytest.raises(TraceError, match="a: step 1: 2 assignments; expected a multiple of top_k"):
        clean(COUNTS, facts=ModelFacts(top_k=3))
    with pytest.raises(TraceError, match="a: count -1; expected none below 0"):
        clean(COUNTS - 1)
    with pytest.raises(TraceError, match="a: no counts"):
        clean(np.empty((0, 2, 4), int))


def test_graph_padding_is_found_by_the_tokens_served():
    assert clean(COUNTS, step_tokens=np.array([3, 1]))[0].step_tokens.tolist() == [3, 1]
    with pytest.raises(TraceError, match=r"a: step 0: 3 tokens counted, 2 served, 1\.33 times"):
        clean(COUNTS, step_tokens=np.array([2, 1]))
    with pytest.raises(TraceError, match=r"step_tokens of shape \(3,\) for 2 steps"):
        clean(COUNTS, step_tokens=np.array([2, 1, 1]))


def test_steps_of_graph_sizes_are_noted():
    sizes = np.array([1, 2, 4, 8, 16, 24, 32, 64])
    counts = np.tile(sizes[:, None, None], (1, 2, 4)) // 2 * 2
    counts[0] = [1, 1, 0, 0]
    counts[1:] //= 2
    note = "step sizes look like CUDA-graph batches; counts may hold padding tokens"
    assert note in clean(counts)[1]
    counts[3, :] += np.array([1, 1, 0, 0])
    assert note not in clean(counts)[1]


def test_fused_shared_expert_that_each_token_visits_is_left_out():
    shared = np.array([3, 1])[:, None, None] * np.ones((1, 2, 1), int)
    trace, notes = clean(np.concatenate([COUNTS, shared], axis=2))
    np.testing.assert_array_equal(trace.counts, COUNTS)
    assert "left out a fused shared expert, which each token visits" in notes
    # copies of it on two ranks share its tokens
    halves = np.concatenate([shared, shared * 0], axis=2)
    np.testing.assert_array_equal(
        clean(np.concatenate([COUNTS, halves], axis=2))[0].counts, COUNTS
    )


def test_physical_counts_without_a_map_are_refused():
    physical = np.concatenate([COUNTS, np.ones((2, 2, 2), int)], axis=2)
    with pytest.raises(TraceError, match="counts of 6 experts; expected 4; for physical experts"):
        clean(physical)
    with pytest.raises(TraceError, match="counts of 3 experts; expected 4"):
        clean(COUNTS[:, :, :3])
