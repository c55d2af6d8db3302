"""The oracles themselves, on cases worked by hand."""

import numpy as np
import pytest

from rackmoe.network import reference
from rackmoe.network.sharing import FlowLinks
from rackmoe.network.slowdown import Slowdown


def test_work_is_split_at_a_change_of_speed():
    end_s = reference.work_ends_s(
        np.array([0.0, 3.0]),
        work_s=np.array([2.0, 1.0]),
        change_s=np.array([1.0]),
        factor=np.array([[1.0, 1.0], [3.0, 2.0]]),
    )
    assert end_s.tolist() == [4.0, 5.0]


def test_backlog_grows_while_arrivals_outpace_the_port():
    # ranks 1 and 2 each send 2 s of data to rank 0, which takes half as fast
    sent_s, taken_s, held_s = reference.receive_ends_s(
        np.zeros(3),
        egress_s=np.array([0.0, 2.0, 2.0]),
        ingress_s=np.array([4.0, 0.0, 0.0]),
        slowdown=Slowdown.none(3),
    )
    assert sent_s.tolist() == [0.0, 2.0, 2.0]
    assert taken_s.tolist() == [4.0, -np.inf, -np.inf]
    assert held_s.tolist() == [4.0, 2.0, 2.0]


def test_a_port_that_slows_down_builds_its_backlog_then():
    slow = Slowdown.none(2).changed(1.0, ingress=np.array([4.0, 1.0]))
    _, taken_s, held_s = reference.receive_ends_s(
        np.zeros(2), egress_s=np.array([0.0, 2.0]), ingress_s=np.array([2.0, 0.0]), slowdown=slow
    )
    assert taken_s[0] == pytest.approx(5.0)
    assert held_s[0] == pytest.approx(5.0)


def test_step_of_one_layer_adds_its_parts(uniform_times):
    times = uniform_times(
        1, 2, pre=1.0, shared=0.5, expert=2.0, dispatch=(1.0, 1.0, 0.5), combine=(1.0, 1.0, 0.5)
    )
    clocks_s = reference.layered_clocks_s(
        times, start_s=np.zeros(2), tail_s=np.full(2, 0.25), slowdown=Slowdown.none(2)
    )
    assert clocks_s[:, 0].tolist() == [6.0, 6.25]


def test_two_batches_alternate_on_compute(uniform_times):
    times = uniform_times(
        1, 2, pre=1.0, shared=0.0, expert=1.0, dispatch=(1.0, 1.0, 0.0), combine=(1.0, 1.0, 0.0)
    )
    end_s, overlaps = reference.two_batch_clocks_s((times, times), slowdown=Slowdown.none(2))
    assert end_s.tolist() == [5.0, 5.0]
    assert overlaps.tolist() == [0, 0]


def test_dense_filling_has_the_textbook_solution():
    links = FlowLinks.of_paths([[0, 1], [0], [1]], n_links=2)
    result = reference.max_min_rates_bytes_per_s(
        links, capacity_bytes_per_s=np.array([1.0, 2.0]), weight=np.ones(3)
    )
    assert result.tolist() == [0.5, 0.5, 1.5]


def test_packets_queue_at_the_port():
    result = reference.packet_receive_ends_s(
        np.array([0, 1]),
        destination=np.array([2, 2]),
        size_bytes=np.array([1.0, 1.0]),
        egress_bytes_per_s=np.ones(3),
        ingress_bytes_per_s=np.ones(3),
        start_s=np.array([0.0, 0.5, 0.0]),
    )
    assert result[2] == 2.0
