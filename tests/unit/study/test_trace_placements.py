from pathlib import Path

import numpy as np
import pytest

from rackmoe.routing.trace_files import load_token_trace
from rackmoe.study.trace_placements import place_trace, requests_as_steps

SHIPPED = Path(__file__).parents[3] / "scenarios" / "traces" / "routing"


@pytest.fixture(scope="module")
def trace():
    return load_token_trace(SHIPPED / "tiny_moe_trace.npz")


def test_placements_lie_between_the_bound_and_the_order_of_ids(trace):
    found = place_trace(trace, policy="eplb", n_ranks=8, n_redundant=8)
    assert 1 <= found.floor <= found.imbalance < found.contiguous_imbalance
    assert found.best_split <= found.imbalance
    assert found.placement.n_physical == 40


def test_groups_of_the_model_are_kept_together():
    trace = load_token_trace(SHIPPED / "gptoss20b_decode_trace.npz")
    found = place_trace(
        trace, policy="eplb_global", n_ranks=4, ranks_per_node=2, model="gpt-oss-20b"
    )
    assert found.placement.n_nodes == 2


def test_steps_of_requests_hold_all_assignments(trace):
    counts = requests_as_steps(trace)
    assert counts.step_tokens.sum() == trace.n_tokens
    expected = counts.step_tokens[:, None] * trace.header.top_k
    assert (counts.counts.sum(axis=2) == expected).all()
    assert np.issubdtype(counts.counts.dtype, np.integer)
