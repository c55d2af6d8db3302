"""Which routing and placement a scenario asks for."""

from dataclasses import replace

import numpy as np
import pytest
from strategies import Case, Shape, build

from rackmoe.engine.domain_mix import DomainMix
from rackmoe.engine.routing_sources import RoutingInputs, find_routing_trace
from rackmoe.errors import ConfigError
from rackmoe.routing.balanced import BalancedSource
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.family_files import save_statistics
from rackmoe.scenario.deployment import Experts
from rackmoe.scenario.domains import Domains
from rackmoe.scenario.drift import Drift
from rackmoe.scenario.workload import Routing
from rackmoe.streams import Streams

SHAPE = Shape(attention_dp=4, ep=4, redundant_experts=4)


def scenario_of(small_files, *, routing, experts=None, shape=SHAPE):
    scenario = build(Case(pools=(shape,)), small_files)
    workload = scenario.document.workload.model_copy(update={"routing": routing})
    update = {"workload": workload} | ({} if experts is None else {"experts": experts})
    document = scenario.document.model_copy(update=update)
    return replace(scenario, document=document)


def source_of(small_files, seed=0, **choices):
    scenario = scenario_of(small_files, **choices)
    inputs = RoutingInputs(scenario, streams=Streams(seed))
    return inputs.source(scenario.document.deployment.aggregated, role="aggregated")


def routed(source, n_tokens=64):
    tokens = np.full(source.placement.n_ranks, n_tokens)
    rows = rank = None
    if source.needs_rows:
        rows = np.arange(tokens.sum()) % int(source.spans[:, 1].sum())
        rank = np.repeat(np.arange(4), n_tokens).astype(np.int32)
    return source.route(tokens, phase="decode", rows=rows, row_rank=rank)


def test_balanced_routing_needs_no_randomness(small_files):
    source = source_of(small_files, routing=Routing(balanced=True))
    assert isinstance(source, BalancedSource)
    assert source.placement.n_physical == 20


@pytest.mark.parametrize("kind", ["sampled", "block", "replay"])
@pytest.mark.parametrize("choice", [{"uniform": True}, {"generator": "deepseek_chat"}])
def test_every_source_routes_all_tokens(small_files, kind, choice):
    routing = Routing(**choice, source=kind, tokens=512)
    source = source_of(small_files, routing=routing)
    step = routed(source)
    assert step.expert_counts.sum(axis=1).tolist() == [4 * 64 * 4] * 3
    assert source.needs_rows == (kind == "replay")
    assert source.provenance


def test_generated_popularity_is_skewed_and_uniform_is_not(small_files):
    skewed = source_of(small_files, routing=Routing(generator="deepseek_chat"))
    even = source_of(small_files, routing=Routing(uniform=True))
    spread = [
        np.ptp(routed(source, 100_000).expert_counts, axis=1).mean() for source in (skewed, even)
    ]
    assert spread[0] > 10 * spread[1]


def test_a_parameter_set_from_a_file_is_a_generator(small_files, tmp_path):
    path = tmp_path / "own.yaml"
    save_statistics(replace(STATISTICS["deepseek_chat"], name="own"), path=path)
    steps = [
        routed(source_of(small_files, routing=Routing(generator=name))).expert_counts.copy()
        for name in (str(path), "deepseek_chat")
    ]
    assert (steps[0] == steps[1]).all()
    source = source_of(small_files, routing=Routing(generator=str(path)))
    assert "statistics own (fitted" in source.provenance


def test_pools_of_a_run_share_one_popularity(small_files):
    scenario = scenario_of(small_files, routing=Routing(generator="deepseek_chat"))
    inputs = RoutingInputs(scenario, streams=Streams(0))
    pool = scenario.document.deployment.aggregated
    counts = [
        routed(inputs.source(pool, role=role), 100_000).expert_counts
        for role in ("prefill", "decode")
    ]
    assert (counts[0] != counts[1]).any()
    assert np.corrcoef(counts[0].ravel(), counts[1].ravel())[0, 1] > 0.9


def test_a_balancer_copies_the_busiest_expert(small_files):
    source = source_of(
        small_files,
        routing=Routing(generator="deepseek_chat"),
        experts=Experts(placement="eplb"),
    )
    counts = routed(source, 100_000).expert_counts
    busiest = counts.argmax(axis=1)
    copies = source.placement.n_replicas[np.arange(3), busiest]
    assert (copies > 1).all()
    plain = source_of(small_files, routing=Routing(generator="deepseek_chat"))
    assert routed(source, 1000).imbalance().mean() < routed(plain, 1000).imbalance().mean()


def test_a_balancer_of_balanced_loads_copies_no_expert_twice(small_files):
    source = source_of(
        small_files, routing=Routing(balanced=True), experts=Experts(placement="eplb")
    )
    assert source.placement.n_replicas.max() == 2


def test_a_balancer_may_see_the_start_of_a_trace_only(small_files):
    routing = Routing(generator="deepseek_chat", source="block", tokens=2048)
    slots = [
        source_of(
            small_files,
            routing=routing,
            experts=Experts(placement="eplb", balance_on_frac=share),
        ).placement.slots
        for share in (0.01, 1.0)
    ]
    assert (slots[0] != slots[1]).any()


@pytest.mark.parametrize("placement", ["contiguous", "round_robin"])
def test_split_experts_have_one_place(small_files, placement):
    source = source_of(
        small_files,
        routing=Routing(uniform=True),
        experts=Experts(placement=placement),
        shape=Shape(attention_dp=2),
    )
    assert source.placement.n_ranks == 1


def test_the_seed_decides_the_popularity(small_files):
    routing = Routing(generator="deepseek_chat")
    counts = [
        routed(source_of(small_files, seed=seed, routing=routing)).expert_counts
        for seed in (0, 0, 1)
    ]
    assert (counts[0] == counts[1]).all()
    assert (counts[0] != counts[2]).any()


def test_an_unknown_trace_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"workload.routing.trace: .*nowhere"):
        find_routing_trace("nowhere")
    assert find_routing_trace(str(tmp_path)) == tmp_path


MIX = DomainMix(
    names=("chat", "code", None),
    of_request=np.array([0, 1, 2]),
    share_frac=np.array([0.5, 0.3, 0.2]),
)


def domain_counts(inputs, pool, *, n_tokens=50_000):
    """Return the assignments of each domain to each expert."""
    source = inputs.source(pool, role="aggregated")
    found = []
    for domain in range(3):
        source.begin()
        source.add(np.full(4, n_tokens), phase="prefill", domain=domain)
        found.append(source.finish().expert_counts.copy())
    return np.array(found)


@pytest.mark.parametrize("kind", ["sampled", "block", "replay"])
def test_domains_have_their_own_experts(small_files, kind):
    routing = Routing(generator="deepseek_chat", source=kind, tokens=2048)
    scenario = scenario_of(small_files, routing=routing)
    pool = scenario.document.deployment.aggregated
    counts = domain_counts(RoutingInputs(scenario, streams=Streams(0), domains=MIX), pool)
    assert counts.sum(axis=2).tolist() == [[4 * 50_000 * 4] * 3] * 3
    alike = np.corrcoef(counts.reshape(3, -1))
    assert np.triu(alike, 1).max() < 0.9
    again = domain_counts(RoutingInputs(scenario, streams=Streams(0), domains=MIX), pool)
    assert (again == counts).all()


def test_what_is_popular_in_a_domain_does_not_depend_on_the_other_domains(small_files):
    scenario = scenario_of(small_files, routing=Routing(generator="deepseek_chat"))
    pool = scenario.document.deployment.aggregated
    turned = replace(MIX, names=("code", None, "chat"))
    counts, others = (
        domain_counts(RoutingInputs(scenario, streams=Streams(0), domains=mix), pool)
        for mix in (MIX, turned)
    )
    for at, place in enumerate((2, 0, 1)):
        pair = counts[at].ravel(), others[place].ravel()
        assert np.corrcoef(*pair)[0, 1] > 0.95


def test_a_domain_may_differ_little(small_files):
    alike = []
    for specific_frac in (0.05, 0.75):
        routing = Routing(generator="deepseek_chat", domains=Domains(specific_frac=specific_frac))
        scenario = scenario_of(small_files, routing=routing)
        inputs = RoutingInputs(scenario, streams=Streams(0), domains=MIX)
        counts = domain_counts(inputs, scenario.document.deployment.aggregated)
        alike.append(np.corrcoef(counts[0].ravel(), counts[1].ravel())[0, 1])
    assert alike[0] > alike[1] + 0.2


@pytest.mark.parametrize("kind", ["sampled", "block"])
def test_a_placement_for_one_domain_is_worse_for_another(small_files, kind):
    shape = Shape(attention_dp=4, ep=4, redundant_experts=16)
    routing = Routing(generator="qwen3_narrow", source=kind, tokens=8192)

    def imbalance(seen, domain):
        scenario = scenario_of(
            small_files,
            routing=routing,
            experts=Experts(placement="eplb", balance_on_domain=seen),
            shape=shape,
        )
        inputs = RoutingInputs(scenario, streams=Streams(3), domains=MIX)
        source = inputs.source(scenario.document.deployment.aggregated, role="aggregated")
        source.begin()
        source.add(np.full(4, 100_000), phase="prefill", domain=domain)
        return float(source.finish().imbalance().mean())

    own, other, mixed = imbalance("chat", 0), imbalance("code", 0), imbalance(None, 0)
    assert own < mixed < other
    assert other - 1 > 2 * (own - 1)


def test_every_domain_drifts(small_files):
    drift = Drift(memory_s=10.0, mix_sd=3.0, domain_sd=1.5)
    scenario = scenario_of(small_files, routing=Routing(generator="deepseek_chat", drift=drift))
    pool = scenario.document.deployment.aggregated
    inputs = RoutingInputs(scenario, streams=Streams(0), domains=MIX)
    source = inputs.source(pool, role="aggregated")

    def counts():
        source.begin()
        source.add(np.full(4, 50_000), phase="decode", domain=1)
        return source.finish().expert_counts.ravel().copy()

    before, still = counts(), counts()
    inputs.drift(1000.0)
    after = counts()
    assert np.corrcoef(before, after)[0, 1] < np.corrcoef(before, still)[0, 1] - 0.02
