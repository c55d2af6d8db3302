"""Flows that come and go on shared links."""

import numpy as np
import pytest

from rackmoe.network.flow_table import FlowTable
from rackmoe.network.flow_updates import FINISH_PS, N_ON, NEVER_PS, RATE


@pytest.fixture
def table():
    return FlowTable.of_links(np.array([4.0, 2.0, 1.0]), n_classes=2, n_slots=2)


def admit(table, slot, path, *, klass=0, now_ps=0, n_bytes=8.0):
    path = np.array(path, np.int64)
    table.admit(slot, path=path, n_bytes=n_bytes, weight=1.0, klass=klass, now_ps=now_ps)


def test_links_count_their_flows(table):
    admit(table, 0, [0, 1])
    admit(table, 1, [1, 2])
    assert table.link_counts[N_ON].tolist() == [1, 2, 1]
    table.remove(0, now_ps=0)
    assert table.link_counts[N_ON].tolist() == [0, 1, 1]
    assert table.path(1) == [1, 2]


def test_a_new_flow_has_no_rate_and_no_finish(table):
    admit(table, 0, [0])
    assert table.pop_due(10**15) == ([], NEVER_PS)


def test_finished_flows_are_counted_in_full_by_class(table):
    admit(table, 0, [0, 2], klass=1)
    table.flow_counts[FINISH_PS, 0] = 500
    admit(table, 1, [0], klass=0)
    table.flow_counts[FINISH_PS, 1] = 900
    assert table.pop_due(500) == ([0], 900)
    assert table.moved_bytes.tolist() == [[0.0, 0.0, 0.0], [8.0, 0.0, 8.0]]


def test_a_flow_under_way_counts_with_what_it_has_carried(table):
    admit(table, 0, [1], n_bytes=8.0)
    table.flow_values[RATE, 0] = 2.0
    assert table.moved_until_bytes(3 * 10**12)[0].tolist() == [0.0, 6.0, 0.0]
    table.remove(0, now_ps=3 * 10**12)
    assert table.moved_bytes[0].tolist() == [0.0, 6.0, 0.0]


def test_busy_time_is_the_union_of_the_flows_on_a_link(table):
    admit(table, 0, [0], now_ps=10**12)
    admit(table, 1, [0], now_ps=2 * 10**12)
    table.remove(0, now_ps=3 * 10**12)
    assert table.busy_until_s(4 * 10**12).tolist() == [3.0, 0.0, 0.0]
    table.remove(1, now_ps=5 * 10**12)
    assert table.busy_until_s(9 * 10**12).tolist() == [4.0, 0.0, 0.0]


def test_growing_keeps_the_flows(table):
    admit(table, 0, [0, 1])
    admit(table, 1, [1])
    table.grow()
    admit(table, 2, [1])
    assert table.n_slots == 4
    assert table.link_counts[N_ON].tolist() == [1, 3, 0]
    table.remove(1, now_ps=0)
    assert table.active[: table.active[-1]].tolist() == [0, 2]


def test_busy_time_is_counted_for_each_class(table):
    admit(table, 0, [0, 1], klass=1, now_ps=0)
    admit(table, 1, [0], klass=0, now_ps=2 * 10**12)
    assert table.class_busy_until_s(3 * 10**12).tolist() == [[1.0, 0.0, 0.0], [3.0, 3.0, 0.0]]
    table.remove(0, now_ps=4 * 10**12)
    table.remove(1, now_ps=5 * 10**12)
    assert table.class_busy_until_s(9 * 10**12).tolist() == [[3.0, 0.0, 0.0], [4.0, 4.0, 0.0]]
