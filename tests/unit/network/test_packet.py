"""Packets through FIFO ports."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.network import reference
from rackmoe.network.packet import packet_chain_ends_s, packet_receive_ends_s


def ends(pairs, size, egress, ingress, start=None):
    source, destination = np.array(pairs).T
    return packet_receive_ends_s(
        source,
        destination=destination,
        size_bytes=np.asarray(size, float),
        egress_bytes_per_s=np.array(egress, float),
        ingress_bytes_per_s=np.array(ingress, float),
        start_s=None if start is None else np.array(start, float),
    ).tolist()


def test_one_packet_takes_its_size_over_the_slower_port():
    assert ends([(0, 1)], 4.0, [2.0, 2.0], [2.0, 2.0])[1] == 2.0
    assert ends([(0, 1)], 4.0, [2.0, 2.0], [2.0, 1.0])[1] == 4.0
    assert ends([(0, 1)], 4.0, [1.0, 2.0], [2.0, 8.0])[1] == 4.0


def test_packets_of_one_source_leave_one_after_the_other():
    assert ends([(0, 1), (0, 2)], 1.0, [1.0] * 3, [1.0] * 3)[1:] == [1.0, 2.0]


def test_packets_for_one_port_wait_for_each_other():
    assert ends([(0, 2), (1, 2)], 1.0, [1.0] * 3, [1.0] * 3)[2] == 2.0


def test_a_port_idles_between_packets_of_a_late_source():
    assert ends([(0, 2), (1, 2)], 1.0, [1.0] * 3, [1.0] * 3, start=[0.0, 5.0, 0.0])[2] == 6.0


def test_a_rank_without_packets_has_no_end():
    assert ends([(0, 1)], 1.0, [1.0, 1.0], [1.0, 1.0])[0] == -np.inf


@settings(max_examples=100)
@given(data=st.data(), n_packets=st.integers(1, 60))
def test_kernel_equals_its_numpy_twin(data, n_packets):
    n_ranks = 5

    def draw(low, high, size):
        return np.array(data.draw(st.lists(st.integers(low, high), min_size=size, max_size=size)))

    source = draw(0, n_ranks - 1, n_packets)
    destination = (source + draw(1, n_ranks - 1, n_packets)) % n_ranks
    size_bytes = draw(1, 9, n_packets).astype(float)
    ports = {
        "egress_bytes_per_s": draw(8, 16, n_ranks).astype(float),
        "ingress_bytes_per_s": draw(1, 8, n_ranks).astype(float),
        "start_s": draw(0, 5, n_ranks).astype(float),
    }
    result = packet_receive_ends_s(source, destination=destination, size_bytes=size_bytes, **ports)
    expected = reference.packet_receive_ends_s(
        source, destination=destination, size_bytes=size_bytes, **ports
    )
    assert result == pytest.approx(expected, rel=1e-12)


def chain(source, destination, middle, *, middle_rate, size=1.0, rate=1.0, n_ranks=2):
    ports = np.full(n_ranks, rate)
    return packet_chain_ends_s(
        np.array(source),
        destination=np.array(destination),
        size_bytes=np.full(len(source), size),
        ports_bytes_per_s=(ports, ports),
        middle=np.array(middle),
        middle_bytes_per_s=np.array(middle_rate),
        start_s=np.zeros(n_ranks),
    )


def test_packets_cut_through_a_link_in_between_that_is_as_fast():
    assert chain([0, 0], [1, 1], [[0, 0]], middle_rate=[1.0])[1] == 2.0


def test_packets_queue_at_a_slow_link_in_between():
    # four packets at half of the speed, the last one read by its port while it comes
    assert chain([0] * 4, [1] * 4, [[0] * 4], middle_rate=[0.5])[1] == 8.0


def test_packets_of_two_sources_share_a_link_in_between():
    ends_s = chain([0, 1], [2, 3], [[0, 0], [1, -1]], middle_rate=[1.0, 1.0], n_ranks=4)
    assert ends_s[2:].tolist() == [1.0, 2.0]


def test_packets_without_a_link_in_between_only_take_their_ports():
    rng = np.random.default_rng(0)
    source, shift = rng.integers(0, 4, 50), rng.integers(1, 4, 50)
    ports = rng.uniform(1.0, 2.0, (2, 4))
    known = {"destination": (source + shift) % 4, "size_bytes": np.ones(50)}
    expected = packet_receive_ends_s(
        source, egress_bytes_per_s=ports[0], ingress_bytes_per_s=ports[1], **known
    )
    found = packet_chain_ends_s(
        source,
        ports_bytes_per_s=(ports[0], ports[1]),
        middle=np.full((2, 50), -1),
        middle_bytes_per_s=np.ones(1),
        start_s=np.zeros(4),
        **known,
    )
    assert found.tolist() == expected.tolist()
