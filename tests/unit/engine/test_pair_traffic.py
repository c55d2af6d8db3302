"""Who sends to whom: sums of the step, structure of the kernels, tokens that are followed."""

import numpy as np
import pytest

from rackmoe.backend.collectives import Family
from rackmoe.engine.pair_traffic import PairTraffic
from rackmoe.hardware.profile import load_machine
from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.linked_exchange import LinkedExchanges
from rackmoe.network.paired_exchange import PairedExchanges
from rackmoe.routing.load import StepLoad
from rackmoe.routing.parts import ReplayPart
from rackmoe.routing.placement import contiguous
from rackmoe.routing.step import StepRouting
from rackmoe.routing.step_source import StepSource

N_RANKS, N_LAYERS, N_EXPERTS, TOP_K = 4, 2, 16, 3
EQUAL = np.array([[0.0, 2, 2, 2], [2, 0, 2, 2], [2, 2, 0, 2], [2, 2, 2, 0]])


def routed(**sums):
    step = StepRouting.zeros(n_layers=1, n_experts=4, n_ranks=N_RANKS)
    for name, value in sums.items():
        getattr(step, name)[:] = value
    return step


def test_every_sender_has_the_same_share_where_tokens_are_not_followed():
    traffic = PairTraffic(Family.NVLINK_ONE_SIDED, n_ranks=N_RANKS, domain_ranks=72)
    near, far = traffic.pairs(routed(copies_out=6.0, copies_in=6.0))
    assert near[0] == pytest.approx(EQUAL)
    assert not far.any()


def test_copies_per_assignment_are_counted_by_family():
    step = routed(copies_out=6, copies_in=6, assignments_out=12, assignments_in=12)
    for family, factor in ((Family.NVLINK_TWO_SIDED, 1), (Family.IDEAL, 2)):
        pairs = PairTraffic(family, n_ranks=N_RANKS, domain_ranks=72).pairs(step)
        assert pairs[0][0] == pytest.approx(factor * EQUAL)


def test_low_latency_kernels_take_nics_between_domains_and_ports_inside():
    step = routed(
        assignments_out=12.0,
        assignments_in=12.0,
        remote_assignments_out=8.0,
        remote_assignments_in=8.0,
    )
    traffic = PairTraffic(Family.DEEPEP_LOW_LATENCY, n_ranks=N_RANKS, domain_ranks=2)
    near, far = traffic.pairs(step)
    assert near[0, 0] == pytest.approx([0.0, 4.0, 0.0, 0.0])
    assert far[0, 0] == pytest.approx([0.0, 0.0, 4.0, 4.0])


def test_normal_kernels_send_once_to_a_domain_and_forward_there():
    step = routed(copies_out=6.0, copies_in=6.0, node_copies_out=3.0, node_copies_in=3.0)
    traffic = PairTraffic(Family.DEEPEP_NORMAL, n_ranks=N_RANKS, domain_ranks=2)
    near, far = traffic.pairs(step)
    assert near[0, 0] == pytest.approx([0.0, 2.0, 2.0, 2.0])
    # its own counterpart of the other domain is rank 2
    assert far[0, 0] == pytest.approx([0.0, 0.0, 3.0, 0.0])


@pytest.mark.parametrize("family", [None, Family.ALLGATHER_REDUCESCATTER])
def test_dense_collectives_load_all_pairs_alike(family):
    pairs, none = PairTraffic(family, n_ranks=N_RANKS, domain_ranks=72).pairs(routed())
    assert pairs.shape == (1, N_RANKS, N_RANKS)
    assert len(set(pairs[pairs > 0].tolist())) == 1
    assert np.diagonal(pairs[0]).tolist() == [0.0] * N_RANKS
    assert not none.any()


def test_dense_collectives_go_around_each_domain_and_on_by_rail():
    near, far = PairTraffic(None, n_ranks=N_RANKS, domain_ranks=2).pairs(routed())
    assert (far[0] > 0).tolist() == np.roll(np.eye(N_RANKS, dtype=bool), 2, axis=1).tolist()
    # three parts of a ring over four ranks, one of them to the other domain
    assert near[0].sum() == pytest.approx(2 * far[0].sum())


def test_only_groups_over_several_domains_have_links_of_their_own():
    one = PairTraffic(Family.DEEPEP_LOW_LATENCY, n_ranks=N_RANKS, domain_ranks=4)
    two = PairTraffic(Family.DEEPEP_LOW_LATENCY, n_ranks=N_RANKS, domain_ranks=2)
    step = routed(assignments_out=3.0, assignments_in=3.0, remote_assignments_out=1.0)
    assert one.far_mask is None
    assert one.exchanges(step, tier=None) is None
    assert isinstance(one.exchanges(step, tier=ExchangeTier.FLOW), PairedExchanges)
    closed = two.exchanges(step, tier=None)
    assert isinstance(closed, LinkedExchanges)
    assert closed.tier is ExchangeTier.PLAN
    assert closed.pairs is None
    assert closed.loads.near[0][0].tolist() == [2.0] * N_RANKS
    # NICs reach the ranks of the other domain
    assert two.far_mask[0].tolist() == [0.0, 0.0, 1.0, 1.0]


def replay():
    rng = np.random.default_rng(0)
    trace = np.argsort(rng.random((64, N_LAYERS, N_EXPERTS)), axis=2)[:, :, :TOP_K]
    place = contiguous(n_layers=N_LAYERS, n_experts=N_EXPERTS, n_ranks=N_RANKS)
    return trace.astype(np.uint8), place


def test_followed_tokens_say_themselves_where_they_go():
    trace, place = replay()
    rows = np.arange(20)
    sender = (rows % N_RANKS).astype(np.int32)
    expected = np.zeros((N_LAYERS, N_RANKS, N_RANKS))
    for row, rank in zip(rows, sender, strict=True):
        for layer in range(N_LAYERS):
            to = np.unique(trace[row, layer] // (N_EXPERTS // N_RANKS))
            expected[layer, rank, to] += 1
    for layer in expected:
        np.fill_diagonal(layer, 0.0)
    source = StepSource(
        StepLoad(place, top_k=TOP_K),
        parts={"decode": lambda: ReplayPart(trace, place, choice="random")},
        provenance="random",
        spans=np.array([[0, 64]]),
    )

    def route(chosen):
        source.begin()
        tokens = np.bincount(sender[chosen], minlength=N_RANKS)
        source.add(tokens, phase="decode", rows=rows[chosen], row_rank=sender[chosen])
        return source.finish()

    traffic = PairTraffic(Family.NVLINK_ONE_SIDED, n_ranks=N_RANKS, domain_ranks=72)
    whole = route(np.ones(20, bool))
    pairs, _ = traffic.pairs(whole, sent_by=lambda rank: route(sender == rank))
    assert pairs == pytest.approx(expected)


def test_a_machine_says_how_much_faster_its_ports_are_than_its_nics():
    traffic = PairTraffic.on_machine(
        Family.DEEPEP_LOW_LATENCY, n_ranks=16, machine=load_machine("hgx_h200")
    )
    assert traffic._near_frac == pytest.approx((50.0 / 450.0,) * 2)
    assert traffic.n_ranks == 16
