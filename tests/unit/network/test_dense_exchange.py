"""How long experts wait when a dense collective moves the tokens."""

from types import SimpleNamespace

import numpy as np
import pytest

from rackmoe.backend.collectives import (
    Algorithm,
    AlgorithmConstants,
    CollectiveConstants,
    CollectiveKey,
    FitReport,
    Knots,
)
from rackmoe.hardware.profile import load_machine
from rackmoe.network.collectives import CollectiveLaw
from rackmoe.network.dense_exchange import GatherExchange, PairwiseExchange

PORT = 450e9
TRAFFIC = SimpleNamespace(
    copies_out=np.array([[100.0, 300.0]]), copies_in=np.array([[350.0, 50.0]])
)
TOKENS = np.array([100.0, 400.0])


def law(operation, *, n_ranks=2):
    algorithm = Algorithm.PAIRWISE if operation == "all_to_all" else Algorithm.RING
    constants = CollectiveConstants(
        key=CollectiveKey(library="lib", kernel="lib", operation=operation),
        algorithms=(
            AlgorithmConstants(
                algorithm=algorithm,
                latency_s=Knots(sizes=(2,), values=(5e-6,)),
                port_efficiency=Knots(sizes=(2,), values=(1.0,)),
                nic_efficiency=1.0,
                ramp=1.0,
            ),
        ),
        report=FitReport(kind="fitted", file="t.csv", n_rows=1),
    )
    return CollectiveLaw(constants, machine=load_machine("hgx_h200"), n_ranks=n_ranks)


def test_gather_pads_every_rank_to_the_longest():
    times = GatherExchange(law("all_gather"), payload_bytes=4500.0).port_times(
        TRAFFIC, tokens=TOKENS
    )
    # each of two ranks receives 400 tokens of the other
    assert times.egress_s == pytest.approx(np.full((1, 2), 400 * 4500 / PORT))
    assert times.latency_s == pytest.approx(5e-6)


def test_reduction_in_the_switches_only_thins_what_arrives():
    options = {"payload_bytes": 4500.0, "combine_in_network": True}
    eight = law("reduce_scatter", n_ranks=8)
    plain = GatherExchange(eight, payload_bytes=4500.0).port_times(TRAFFIC, tokens=TOKENS)
    thin = GatherExchange(eight, **options).port_times(TRAFFIC, tokens=TOKENS)
    assert thin.ingress_s == pytest.approx(plain.ingress_s / 7)
    assert thin.total_s() == pytest.approx(plain.total_s())


def test_pairwise_exchange_follows_the_routing():
    times = PairwiseExchange(law("all_to_all"), payload_bytes=4500.0).port_times(
        TRAFFIC, tokens=TOKENS
    )
    assert times.egress_s == pytest.approx(np.array([[100, 300]]) * 4500 / PORT)
    assert times.ingress_s == pytest.approx(np.array([[350, 50]]) * 4500 / PORT)


def test_pairwise_combine_goes_the_other_way():
    combine = PairwiseExchange(law("all_to_all"), payload_bytes=4500.0, is_combine=True)
    times = combine.port_times(TRAFFIC, tokens=TOKENS)
    assert times.egress_s == pytest.approx(np.array([[350, 50]]) * 4500 / PORT)


@pytest.mark.parametrize("exchange", [GatherExchange, PairwiseExchange])
def test_half_of_the_links_double_the_time(exchange):
    operation = "all_gather" if exchange is GatherExchange else "all_to_all"
    one = exchange(law(operation), payload_bytes=4500.0)
    whole = one.port_times(TRAFFIC, tokens=TOKENS)
    half = one.port_times(TRAFFIC, tokens=TOKENS, port_frac=0.5)
    assert half.egress_s == pytest.approx(2 * whole.egress_s)
