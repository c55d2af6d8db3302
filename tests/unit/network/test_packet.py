"""Packets through FIFO ports."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.network import reference
from rackmoe.network.packet import packet_receive_ends_s


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
