"""Cost of one step's routing, of compiling a trace and of generating one."""

import numpy as np
import pytest

from rackmoe.routing.eplb import eplb
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.generator import popularity
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.sources import block_source, replay_source, sampled_source
from rackmoe.routing.tokens import generate_token_trace

R1 = MoeShape(n_layers=58, n_experts=256, top_k=8, n_groups=8, top_groups=4)
FAMILY = STATISTICS["deepseek_chat"]
GROUPS = {
    "ep8": {"n_ranks": 8},
    "ep72": {"n_ranks": 72, "n_redundant": 32},
    "ep72-nodes-of-8": {"n_ranks": 72, "n_redundant": 32, "ranks_per_node": 8},
    "ep320": {"n_ranks": 320, "n_redundant": 64},
}
TOKENS_PER_RANK = 100


def make_rng():
    return np.random.Generator(np.random.PCG64(0))


@pytest.fixture(scope="module")
def share():
    return popularity(FAMILY, shape=R1, rng=make_rng())


@pytest.fixture(scope="module")
def trace(share):
    return generate_token_trace(
        FAMILY, shape=R1, n_tokens=16_384, n_requests=64, rng=make_rng(), share=share
    )


@pytest.mark.parametrize("kind", ["replay", "block", "sampled"])
@pytest.mark.parametrize("group", GROUPS)
def test_routing_of_a_decode_step(benchmark, trace, share, group, kind):
    place = eplb(share, **GROUPS[group])
    if kind == "sampled":
        source = sampled_source(FAMILY, placement=place, shape=R1, rng=make_rng(), share=share)
    else:
        build = replay_source if kind == "replay" else block_source
        source = build(trace, placement=place, rng=make_rng())
    tokens = np.full(place.n_ranks, TOKENS_PER_RANK)
    rows = make_rng().integers(0, trace.n_tokens, int(tokens.sum()))
    senders = np.repeat(np.arange(place.n_ranks), TOKENS_PER_RANK).astype(np.int32)
    step = benchmark(source.route, tokens, phase="decode", rows=rows, row_rank=senders)
    benchmark.extra_info["assignments"] = int(step.expert_counts.sum())
    benchmark.extra_info["imbalance"] = float(step.imbalance().mean())
    assert step.expert_counts.sum() == tokens.sum() * R1.n_layers * R1.top_k


def test_compiling_a_trace_for_a_placement(benchmark, trace, share):
    place = eplb(share, **GROUPS["ep72"])
    tokens, none = np.zeros(72, np.int64), np.empty(0, np.int64)

    def build():
        source = replay_source(trace, placement=place, rng=make_rng())
        return source.route(tokens, phase="decode", rows=none, row_rank=none.astype(np.int32))

    assert not benchmark.pedantic(build, rounds=3).expert_counts.any()


def test_generating_a_token_trace(benchmark, share):
    made = benchmark.pedantic(
        lambda: generate_token_trace(
            FAMILY, shape=R1, n_tokens=2048, n_requests=16, rng=make_rng(), share=share
        ),
        rounds=3,
    )
    assert made.n_tokens == 2048


def test_balancing_experts_by_load(benchmark, share):
    place = benchmark.pedantic(lambda: eplb(share, **GROUPS["ep72"]), rounds=5)
    assert place.n_redundant == 32
