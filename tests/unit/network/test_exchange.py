"""Receive ends of one all-to-all with staggered starts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.network.exchange import busy_ends, receive_ends, sort_order
from rackmoe.network.packet import packet_receive_ends_s
from rackmoe.network.reference import receive_ends_s
from rackmoe.network.slowdown import Slowdown

NO_CHANGE = np.empty(0)


def ends_s(start_s, egress_s, ingress_s, slowdown=None):
    n_ranks = len(start_s)
    slow = slowdown or Slowdown.none(n_ranks)
    sent_s, held_s = np.empty(n_ranks), np.empty(n_ranks)
    receive_ends(
        np.asarray(start_s, float),
        np.asarray(egress_s, float),
        np.asarray(ingress_s, float),
        slow.change_s,
        slow.egress,
        slow.ingress,
        np.tile(np.arange(n_ranks), (3, 1)),
        sent_s,
        held_s,
        np.empty((7, n_ranks + slow.change_s.size)),
    )
    return sent_s, held_s


def test_all_ranks_wait_for_the_slowest_sender():
    sent_s, held_s = ends_s([0.0, 0.0, 1.0], [1.0, 3.0, 1.0], [0.1, 0.1, 0.1])
    assert sent_s.tolist() == [1.0, 3.0, 2.0]
    assert held_s.tolist() == [3.0, 3.0, 3.0]


def test_a_hot_receiver_works_off_its_backlog():
    # rank 0 gets 8 s of work from ranks 1 and 2 at twice its speed from 0 to 2, then at none
    _, held_s = ends_s([0.0, 0.0, 0.0], [0.0, 2.0, 2.0], [8.0, 1.0, 1.0])
    assert held_s.tolist() == [8.0, 2.0, 2.0]


def test_a_port_idles_while_too_few_ranks_send():
    # rank 0 gets 4 s of work: a quarter each second from rank 1 from 0 to 4, then, from 4,
    # three quarters of it within one second from rank 2: 3 s from 4 on, none left from before
    _, held_s = ends_s([0.0, 0.0, 4.0], [0.0, 4.0, 12.0], [16.0, 0.0, 0.0])
    assert held_s[0] == pytest.approx(16.0)
    _, held_s = ends_s([0.0, 0.0, 4.0], [0.0, 4.0, 12.0], [8.0, 0.0, 0.0])
    assert held_s[0] == pytest.approx(16.0)
    _, held_s = ends_s([0.0, 0.0, 4.0], [0.0, 4.0, 4.0], [12.0, 0.0, 0.0])
    assert held_s[0] == pytest.approx(12.0)


def test_own_data_do_not_count_as_arrivals():
    # all of rank 0's input comes from rank 1, which starts at 5 and sends for 1 s
    _, held_s = ends_s([0.0, 5.0], [3.0, 1.0], [2.0, 3.0])
    assert held_s.tolist() == [7.0, 6.0]


def test_ranks_without_data_still_take_part():
    _, held_s = ends_s([0.0, 4.0], [0.0, 0.0], [0.0, 0.0])
    assert held_s.tolist() == [4.0, 4.0]


def test_equal_starts_give_the_barrier_form():
    rng = np.random.default_rng(0)
    egress_s, ingress_s = rng.random(16), rng.random(16)
    _, held_s = ends_s(np.full(16, 2.0), egress_s, ingress_s)
    assert held_s == pytest.approx(2.0 + np.maximum(ingress_s, egress_s.max()), rel=1e-12)


# ties are frequent, and no draw is so small that rounding of the clock outweighs it
seconds = st.integers(0, 50).map(lambda value: value / 50)


@settings(max_examples=200)
@given(data=st.data(), n_ranks=st.integers(2, 12), changes=st.integers(0, 3))
def test_kernel_equals_its_numpy_twin(data, n_ranks, changes):
    vector = st.lists(seconds, min_size=n_ranks, max_size=n_ranks).map(np.array)
    start_s, egress_s, ingress_s = (data.draw(vector) for _ in range(3))
    slow = Slowdown.steady(n_ranks, ingress=1.0 + data.draw(vector))
    for at_s in sorted(data.draw(st.lists(seconds, min_size=changes, max_size=changes))):
        slow = slow.changed(at_s, egress=0.5 + data.draw(vector), ingress=0.5 + data.draw(vector))
    sent_s, held_s = ends_s(start_s, egress_s, ingress_s, slow)
    expected = receive_ends_s(start_s, egress_s=egress_s, ingress_s=ingress_s, slowdown=slow)
    assert sent_s == pytest.approx(expected[0], rel=1e-12, abs=1e-12)
    assert held_s == pytest.approx(expected[2], rel=1e-12, abs=1e-12)


def test_ends_before_the_floor_are_not_computed():
    start_s, egress_s = np.zeros(3), np.ones(3)
    result_s = np.empty(3)
    ones = np.ones((1, 3))
    ingress_s = np.array([1.5, 5.0, 2.0])
    orders, scratch = np.tile(np.arange(3), (3, 1)), np.empty((7, 3))
    args = (start_s, egress_s, egress_s, ingress_s, NO_CHANGE, ones, ones, orders, 4.5)
    busy_ends(*args, result_s, scratch)
    assert result_s.tolist() == [4.5, 5.0, 4.5]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_order_is_sorted_from_any_permutation(starts, random):
    start_s = np.array(starts)
    order = np.arange(len(starts))
    random.shuffle(order)
    sort_order(start_s, order)
    assert (np.diff(start_s[order]) >= 0).all()
    assert sorted(order) == list(range(len(starts)))


@pytest.mark.parametrize("n_ranks", [8, 16, 72])
@pytest.mark.parametrize("zipf", [0.0, 0.6])
def test_staggered_form_agrees_with_packets(route, n_ranks, zipf):
    port_bytes_per_s, copy_bytes = np.full(n_ranks, 900e9), 7392.0
    errors = []
    for seed in range(3):
        traffic = route(n_ranks, zipf=zipf, seed=seed)
        rng = np.random.default_rng(seed)
        shuffled = rng.permutation(traffic.source.size)
        source, destination = traffic.source[shuffled], traffic.destination[shuffled]
        copies = traffic.copies
        scale_s = copies.sum() / n_ranks * copy_bytes / 900e9
        for spread in (0.0, 0.1, 0.5, 2.0):
            start_s = np.abs(spread * scale_s * rng.standard_normal(n_ranks))
            packet_s = packet_receive_ends_s(
                source,
                destination=destination,
                size_bytes=copy_bytes,
                egress_bytes_per_s=port_bytes_per_s,
                ingress_bytes_per_s=port_bytes_per_s,
                start_s=start_s,
            )
            _, held_s = ends_s(
                start_s,
                copies.sum(axis=1) * copy_bytes / 900e9,
                copies.sum(axis=0) * copy_bytes / 900e9,
            )
            errors.append(abs(held_s.max() / packet_s.max() - 1.0))
    assert np.median(errors) <= 0.01
    assert max(errors) <= 0.05
