"""First and further tokens of pools, predicted."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.streams import Streams
from rackmoe.study.pool_latency import (
    DecodePace,
    PromptTraffic,
    decode_step_s,
    decode_tpot_s,
    lone_prompt_s,
    ttft_p99_s,
)

CASE = Case(
    backend="ideal",
    pools=(Shape(attention_dp=2, ep=2), Shape(attention_dp=2, ep=2)),
    routing="balanced",
)


@pytest.fixture
def plan_of(small_files):
    scenario = build(CASE, small_files)
    routing = RoutingInputs(scenario, streams=Streams(0))
    return lambda name: plan_pool(scenario, name=name, routing=routing)


def test_longer_prompts_take_longer_alone(plan_of):
    plan = plan_of("prefill")
    most = plan.limits.max_tokens_per_step
    one, three = lone_prompt_s(plan, input_tokens=np.array([most, 3 * most]))
    assert 2 * one < three
    assert lone_prompt_s(plan, input_tokens=np.array([most, most])).tolist() == [one, one]


TRAFFIC = PromptTraffic(
    rate_requests_per_s=1.0,
    arrival_cv=1.0,
    input_tokens=np.array([10, 10]),
    alone_s=np.array([0.5, 0.5]),
    request_s=0.25,
)


def test_without_a_queue_first_tokens_take_the_prompt_and_what_runs(plan_of):
    limits = plan_of("prefill").limits
    rare = replace(TRAFFIC, rate_requests_per_s=1e-9)
    assert ttft_p99_s(
        rare, limits=limits, n_servers=2, n_replicas=1, service_s=0.5
    ) == pytest.approx(0.75)
    # a quarter of the requests finds a step that runs, and waits for half of it on average
    often = replace(TRAFFIC, rate_requests_per_s=0.5)
    found = ttft_p99_s(often, limits=limits, n_servers=100, n_replicas=1, service_s=0.5)
    assert found == pytest.approx(0.75 + 0.5 * 0.96, abs=0.01)


def test_first_tokens_wait_for_busy_servers(plan_of):
    limits = plan_of("prefill").limits
    given = {"limits": limits, "n_replicas": 10, "service_s": 0.9}
    few, many = (ttft_p99_s(TRAFFIC, n_servers=n, **given) for n in (1, 3))
    assert few > 4 * many
    assert ttft_p99_s(TRAFFIC, n_servers=1, limits=limits, n_replicas=1, service_s=1.1) == np.inf


def test_decode_takes_the_batch_that_keeps_up(plan_of):
    plan = plan_of("decode")
    one_s = decode_step_s(plan, n_sequences=1, context=50)
    slow = DecodePace(rate_tokens_per_s=1.0, tokens_per_step=1.0, context=50)
    assert decode_tpot_s(plan, pace=slow, n_replicas=1) == one_s
    assert decode_tpot_s(plan, pace=replace(slow, tokens_per_step=2.0), n_replicas=1) == one_s / 2
    two_s = decode_step_s(plan, n_sequences=2, context=50)
    # two groups of a sequence each fall just short
    busy = replace(slow, rate_tokens_per_s=2.001 / one_s)
    assert decode_tpot_s(plan, pace=busy, n_replicas=1) == two_s
    assert decode_tpot_s(plan, pace=busy, n_replicas=2) == one_s
    never = replace(slow, rate_tokens_per_s=1e15)
    assert decode_tpot_s(plan, pace=never, n_replicas=1) == np.inf
