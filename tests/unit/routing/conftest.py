import numpy as np
import pytest

from rackmoe.routing.placement import Placement
from rackmoe.routing.traces import TokenTrace, TraceHeader


@pytest.fixture(scope="session")
def make_rng():
    def make(seed=0):
        return np.random.Generator(np.random.PCG64(seed))

    return make


@pytest.fixture(scope="session")
def make_placement(make_rng):
    """Experts in random order; redundant slots hold random experts."""

    def make(*, n_layers, n_experts, n_ranks, n_redundant=0, ranks_per_node=None, seed=0):
        rng = make_rng(seed)
        rows = [
            rng.permutation(np.r_[np.arange(n_experts), rng.integers(0, n_experts, n_redundant)])
            for _ in range(n_layers)
        ]
        return Placement.from_slots(
            np.array(rows), n_experts=n_experts, n_ranks=n_ranks, ranks_per_node=ranks_per_node
        )

    return make


@pytest.fixture(scope="session")
def make_routed(make_rng):
    """Distinct experts for each token, skewed towards the low ids."""

    def make(*, n_tokens, n_layers, n_experts, top_k, seed=0):
        rng = make_rng(seed)
        score = rng.standard_exponential((n_tokens, n_layers, n_experts))
        score *= 1.0 + np.arange(n_experts) / 4.0
        return np.argsort(score, axis=2)[:, :, :top_k].astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def make_trace(make_routed):
    def make(*, n_tokens, n_layers, n_experts, top_k, n_prompt=0, phase="both", n_requests=1):
        offsets = np.linspace(0, n_tokens, n_requests + 1).astype(np.int64)
        return TokenTrace(
            routed_experts=make_routed(
                n_tokens=n_tokens, n_layers=n_layers, n_experts=n_experts, top_k=top_k
            ),
            req_offsets=offsets,
            n_prompt_rows=np.full(n_requests, n_prompt, np.int32),
            header=TraceHeader(
                model="toy",
                n_experts=n_experts,
                top_k=top_k,
                moe_layer_ids=tuple(range(n_layers)),
                phase=phase,
                source="made by a test",
                licence="Apache-2.0",
            ),
        )

    return make
