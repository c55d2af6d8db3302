"""LAW-04 and LAW-05 for sessions, several applications and prefix caches."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Case, Shape, build

from rackmoe.metrics.checks import check_requests, check_steps
from rackmoe.scenario.document import PrefixCacheChoice
from rackmoe.scenario.traffic import build_traffic
from rackmoe.scenario.workload import Workload
from rackmoe.serving.kv_cache import ideal_prefix_hit_frac
from rackmoe.serving.prefix_cache import replay_hit_frac
from rackmoe.simulation import simulate
from rackmoe.streams import Streams

LENGTHS = {"input": 20, "output": 6, "spread": (0.5, 1.5)}
TURNS = {"system": 64, "turns": 3.0, "lengths": LENGTHS, "delay": "1 ms", "max_context": 150}
CHAT = {"arrivals": {"poisson": "2000 /s"}, "lengths": LENGTHS, "priority": 1}
AGENTS = {"arrivals": {"closed_loop": 2}, "sessions": {"generated": TURNS}, "requests": 12}

SPLIT = (Shape(attention_dp=2, ep=2), Shape(attention_dp=2, ep=2))


def scenario(small_files, *, case, cache, **workload):
    made = build(case, small_files)
    given_ = {"routing": {"uniform": True}} | workload
    document = made.document.model_copy(
        update={
            "workload": Workload.model_validate(given_),
            "prefix_cache": cache and PrefixCacheChoice(**cache),
        }
    )
    return replace(made, document=document)


@settings(max_examples=12)
@given(
    pools=st.sampled_from([(Shape(),), (Shape(attention_dp=2, ep=2, replicas=2),), SPLIT]),
    cache=st.sampled_from(
        [
            None,
            {"free_memory": True},
            {"unlimited": True, "shared": True},
            {"tokens_per_rank": 128},
        ]
    ),
    kv_tokens=st.none() | st.integers(160, 400),
    policy=st.sampled_from(["mixed", "prefill_first"]),
    seed=st.integers(0, 5),
)
def test_every_turn_is_served_after_the_one_before(
    small_files, pools, cache, kv_tokens, policy, seed
):
    case = Case(pools=pools, kv_tokens=kv_tokens, policy=policy, max_tokens=50)
    built = scenario(
        small_files,
        case=case,
        cache=cache,
        applications={"agents": AGENTS, "chat": CHAT},
        duration="5 ms",
    )
    result = simulate(built, seed=seed)
    requests, steps = result.to_frame("requests"), result.to_frame("steps")
    check_requests(requests, n_arrived=len(requests))
    check_steps(steps)
    assert (requests["state"] == "done").all()
    assert (requests["application"] == "agents").sum() == 12
    assert set(result.applications) == {"agents", "chat"}
    # what is computed is what no cache had; preempted requests are computed again
    computed = int((requests["n_input_tokens"] - requests["n_cached_tokens"]).sum())
    if not requests["n_preemptions"].any():
        assert int(steps["n_prefill_tokens"].sum()) == computed
    assert (requests["n_cached_tokens"] < requests["n_input_tokens"]).all()
    assert bool(requests["n_cached_tokens"].any()) <= (cache is not None)


def test_turns_wait_for_their_delay(small_files):
    built = scenario(
        small_files,
        case=Case(),
        cache={"unlimited": True},
        arrivals={"closed_loop": 1},
        sessions={"generated": TURNS},
        requests=10,
    )
    requests = simulate(built, seed=3).to_frame("requests").sort_values("arrival_s")
    # one session at a time, so one request at a time
    last_s = requests["last_token_s"].to_numpy()[:-1]
    assert (requests["arrival_s"].to_numpy()[1:] >= last_s - 1e-12).all()
    assert np.isfinite(requests["last_token_s"]).all()


def test_one_request_at_a_time_finds_all_that_can_be_found(small_files):
    """The cache in the engine and the cache without a clock find the same blocks."""
    built = scenario(
        small_files,
        case=Case(max_tokens=512),
        cache={"unlimited": True},
        arrivals={"closed_loop": 1},
        sessions={"generated": TURNS | {"max_context": 1000, "turns": 8.0, "system": 192}},
        requests=40,
    )
    requests = simulate(built, seed=1).to_frame("requests")
    table = build_traffic(built.document, streams=Streams(1)).requests
    found = (requests["n_cached_tokens"] // 64).sum()
    blocks = -(-table.input_tokens // 64)
    assert found / blocks.sum() == pytest.approx(replay_hit_frac(table), abs=0.02)
    assert found > 0
    assert ideal_prefix_hit_frac(table) > 0
