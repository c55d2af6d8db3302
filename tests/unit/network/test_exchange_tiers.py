"""One all-to-all at four levels of detail."""

import numpy as np
import pytest

from rackmoe.errors import ShapeError
from rackmoe.network.exchange_tiers import ExchangeTier, PairExchange, exchange_ends_s


def pair_exchange(payload, *, start=None, port=1.0, copy=0.01):
    n_ranks = len(payload)
    return PairExchange(
        payload_bytes=np.array(payload, float),
        egress_bytes_per_s=np.full(n_ranks, port),
        ingress_bytes_per_s=np.full(n_ranks, port),
        start_s=np.zeros(n_ranks) if start is None else np.array(start, float),
        copy_bytes=copy,
    )


@pytest.mark.parametrize("tier", ExchangeTier)
def test_balanced_exchange_takes_what_one_port_carries(tier):
    # two others get 1 byte each
    ends = exchange_ends_s(pair_exchange(np.ones((3, 3)), port=2.0), tier=tier)
    assert ends == pytest.approx([1.0] * 3, rel=0.02)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_hot_receiver_ends_last_and_the_others_with_the_last_sender(tier):
    # rank 0 gets 2 + 2; ranks 1 and 2 send 2 each and get nothing
    payload = [[0, 0, 0], [2, 0, 0], [2, 0, 0]]
    ends = exchange_ends_s(pair_exchange(payload), tier=tier)
    assert ends[0] == pytest.approx(4.0, rel=0.02)
    if tier is not ExchangeTier.FLOW:  # where the senders themselves are held back
        assert ends[1:] == pytest.approx([2.0, 2.0], rel=0.02)


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        (ExchangeTier.PHASE, 7.0),
        (ExchangeTier.PLAN, 5.0),
        (ExchangeTier.FLOW, 5.0),
        (ExchangeTier.PACKET, 5.0),
    ],
)
def test_only_the_barrier_lets_early_senders_wait(tier, expected):
    # rank 0 gets 2 from rank 1 at 0 and 1 from rank 2 at 4: early bytes need not wait
    payload = [[0, 0, 0], [2, 0, 0], [1, 0, 0]]
    ends = exchange_ends_s(pair_exchange(payload, start=[0, 0, 4]), tier=tier)
    assert ends.max() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_own_data_stay_where_they_are(tier):
    payload = np.ones((3, 3)) + 50.0 * np.eye(3)
    assert exchange_ends_s(pair_exchange(payload), tier=tier).max() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("tier", ExchangeTier)
def test_exchange_of_nothing_ends_with_the_last_start(tier):
    ends = exchange_ends_s(pair_exchange(np.zeros((3, 3)), start=[1, 2, 3]), tier=tier)
    assert ends.tolist() == [3.0] * 3


def test_ports_of_another_group_are_refused():
    with pytest.raises(ShapeError, match=r"payload_bytes: shape \(2, 2\).*expected one row"):
        pair_exchange(np.ones((2, 2)), start=[0.0, 0.0, 0.0])


def test_copies_without_size_are_refused():
    with pytest.raises(ShapeError, match=r"copy_bytes: 0\.0; expected a positive size"):
        pair_exchange(np.ones((2, 2)), copy=0.0)
