"""Pool sizes that are tried."""

import numpy as np
import pytest
from strategies import Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.scenario.applications import Slo
from rackmoe.streams import Streams
from rackmoe.study import pool_sizes
from rackmoe.study.pool_latency import DecodePace, PromptTraffic
from rackmoe.study.pool_sizes import Candidates

CASE = Case(
    backend="ideal",
    pools=(Shape(attention_dp=2, ep=2), Shape(attention_dp=2, ep=2)),
    routing="balanced",
)


@pytest.fixture
def candidates(small_files, monkeypatch):
    """Candidates whose runs take 2 s for a first token, divided by prefill replicas."""
    scenario = build(CASE, small_files)
    document = scenario.document.model_copy(update={"slo": Slo(tpot_s=1.0, ttft_s=0.5)})
    object.__setattr__(scenario, "document", document)
    routing = RoutingInputs(scenario, streams=Streams(0))

    class Run:
        def __init__(self, proposed, *, seed):
            assert seed == 7
            n = proposed.document.deployment.prefill.replicas
            self.summary = {"ttft_p99_s": 2.0 / n, "tpot_p50_s": 0.1}

    monkeypatch.setattr(pool_sizes, "simulate", Run)
    return Candidates(
        scenario=scenario,
        plans={
            name: plan_pool(scenario, name=name, routing=routing) for name in ("prefill", "decode")
        },
        prefill_requests_per_s=1.0,
        prompts=PromptTraffic(
            rate_requests_per_s=1.8,
            arrival_cv=1.0,
            input_tokens=np.array([10, 10]),
            alone_s=np.array([0.1, 0.1]),
            request_s=0.0,
        ),
        pace=DecodePace(rate_tokens_per_s=1.0, tokens_per_step=1.0, context=50),
    )


def tried(candidates, n_prefill, n_decode, least):
    first = candidates.propose(n_prefill=n_prefill, n_decode=n_decode)
    found = candidates.run_around(first, least=least, seed=7)
    return [(one.n_prefill, one.n_decode, one.is_met) for one in found]


def test_prefill_replicas_are_added_until_first_tokens_are_predicted_in_time(candidates):
    sizes = candidates.propose(n_prefill=2, n_decode=1)
    assert sizes.n_prefill > 2
    assert sizes.predicted_ttft_p99_s <= 0.5
    assert sizes.n_gpus == 2 * (sizes.n_prefill + 1)
    fewer = candidates.propose(n_prefill=1, n_decode=1)
    assert fewer.n_prefill == sizes.n_prefill


def test_a_proposal_that_holds_is_compared_with_fewer_replicas(candidates):
    assert tried(candidates, 5, 2, (2, 1)) == [(5, 2, True), (4, 2, True), (5, 1, True)]
    assert tried(candidates, 4, 2, (2, 2)) == [(4, 2, True), (3, 2, False)]


def test_a_proposal_that_fails_is_compared_with_more(candidates):
    first = candidates._predicted(3, 1)
    found = candidates.run_around(first, least=(3, 1), seed=7)
    sizes = [(one.n_prefill, one.n_decode, one.is_met) for one in found]
    assert sizes == [(3, 1, False), (4, 1, True), (3, 2, False)]
