"""Pool sizes from single steps, checked by one run."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, Shape, build

from rackmoe.engine.assembly import plan_pool
from rackmoe.engine.routing_sources import RoutingInputs
from rackmoe.errors import ConfigError
from rackmoe.scenario.applications import Slo
from rackmoe.streams import Streams
from rackmoe.study.rate_matching import decode_rate, match_rates, prefill_rate

CASE = Case(
    backend="ideal",
    pools=(Shape(attention_dp=2, ep=2), Shape(attention_dp=2, ep=2)),
    arrivals=("poisson", "100000 /s"),
    lengths=(60, 20),
    spread=(1.0, 1.0),
    routing="balanced",
    requests=300,
)
SLO = Slo(tpot_s=1e-3)


def scenario_of(folder, case=CASE, slo=SLO):
    scenario = build(case, folder)
    return replace(scenario, document=scenario.document.model_copy(update={"slo": slo}))


def plan_of(folder, name):
    scenario = build(CASE, folder)
    return plan_pool(scenario, name=name, routing=RoutingInputs(scenario, streams=Streams(0)))


def prefilled(plan, *lengths):
    rng = np.random.default_rng(0)
    return prefill_rate(plan, input_tokens=np.repeat(np.array(lengths), 10), rng=rng)


def test_full_steps_of_prompts_give_the_prefill_rate(small_files):
    plan = plan_of(small_files, "prefill")
    one = prefilled(plan, 16)
    # four prompts, or five where the first is begun
    assert 4 <= one.sequences_per_group <= 5
    assert one.requests_per_s == pytest.approx(2 * 4 / one.step_s)
    # a prompt of several steps: so many tokens as fit, of two groups
    long = prefilled(plan, 640)
    assert 1 <= long.sequences_per_group < 1.2
    assert long.requests_per_s == pytest.approx(2 * CASE.max_tokens / long.step_s / 640)


def test_unequal_prompts_take_longer_than_their_mean(small_files):
    plan = plan_of(small_files, "prefill")
    equal, mixed = prefilled(plan, 32000), prefilled(plan, 640, 63360)
    assert mixed.step_s > equal.step_s
    assert mixed.requests_per_s < equal.requests_per_s


def test_the_largest_batch_that_is_fast_enough_gives_the_decode_rate(small_files):
    plan = plan_of(small_files, "decode")
    lengths = {"input_tokens": 60.0, "output_tokens": 20.0}
    roomy = decode_rate(plan, **lengths, tpot_s=1.0)
    assert roomy.sequences_per_group == CASE.max_batch
    assert roomy.requests_per_s == pytest.approx(2 * CASE.max_batch / roomy.step_s / 20)
    one = decode_rate(plan, **lengths, tpot_s=roomy.step_s * 0.999)
    assert one.sequences_per_group < CASE.max_batch
    assert one.step_s <= roomy.step_s * 0.999
    twice = decode_rate(plan, **lengths, tpot_s=1.0, tokens_per_step=2.0)
    assert twice.requests_per_s == pytest.approx(2 * roomy.requests_per_s)
    with pytest.raises(ConfigError, match=r"slo\.tpot: 1e-12 s; a step of one sequence"):
        decode_rate(plan, **lengths, tpot_s=1e-12)


def test_the_proposal_carries_the_traffic(small_files):
    match = match_rates(scenario_of(small_files), utilization_frac=0.7)
    assert match.arrival_requests_per_s == pytest.approx(1e5, rel=0.2)
    chosen = match.chosen
    for one, n in ((match.prefill, chosen.n_prefill), (match.decode, chosen.n_decode)):
        assert n * 0.7 * one.requests_per_s >= match.arrival_requests_per_s
        assert (n - 1) * 0.7 * one.requests_per_s < match.arrival_requests_per_s
    assert chosen.n_gpus == 2 * (chosen.n_prefill + chosen.n_decode)
    assert chosen.is_met
    # with fewer replicas they would be too busy
    assert match.tried == (chosen,)
    assert chosen.figures["tpot_p50_s"] <= SLO.tpot_s
    # the run keeps up: it serves as many requests per second as arrive, but for its ends
    served = chosen.figures["completed_requests_per_s"]
    assert served > 0.7 * match.arrival_requests_per_s


def test_where_no_size_meets_a_limit_the_proposal_stands(small_files):
    slo = Slo(tpot_s=1e-3, ttft_s=1e-9)
    match = match_rates(scenario_of(small_files, slo=slo))
    assert not match.chosen.is_met
    assert match.chosen is match.tried[0]
    sizes = [(one.n_prefill, one.n_decode) for one in match.tried]
    n_prefill, n_decode = sizes[0]
    assert sizes[1:] == [(n_prefill + 1, n_decode), (n_prefill, n_decode + 1)]
    unchecked = match_rates(scenario_of(small_files, slo=slo), is_checked=False)
    assert not unchecked.chosen.is_met
    assert unchecked.chosen.figures == {}


def test_first_tokens_ask_for_more_prefill_replicas_than_capacity(small_files):
    loose = match_rates(scenario_of(small_files), utilization_frac=0.95, is_checked=False).chosen
    limit_s = loose.predicted_ttft_p99_s * 0.8
    slo = Slo(tpot_s=1e-3, ttft_s=limit_s)
    tight = match_rates(
        scenario_of(small_files, slo=slo), utilization_frac=0.95, is_checked=False
    ).chosen
    assert tight.n_prefill > loose.n_prefill
    assert tight.n_decode == loose.n_decode
    assert tight.predicted_ttft_p99_s <= limit_s


@pytest.mark.parametrize(
    ("case", "slo", "problem"),
    [
        (
            replace(CASE, pools=(Shape(),)),
            SLO,
            "deployment: one pool; expected prefill and decode",
        ),
        (CASE, Slo(), "slo: no tpot; it decides the decode batch"),
        (replace(CASE, arrivals=("closed_loop", 4)), SLO, "workload.arrivals: no rate"),
        (replace(CASE, arrivals=("batch", True)), SLO, "workload.arrivals: no rate"),
    ],
)
def test_what_cannot_be_matched_is_refused(small_files, case, slo, problem):
    with pytest.raises(ConfigError, match=problem):
        match_rates(scenario_of(small_files, case, slo))
