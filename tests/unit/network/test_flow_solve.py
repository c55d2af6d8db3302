"""Rates of flows after a change, component by component."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.network.arbitration import Arbitration
from rackmoe.network.flow_solve import RateSolver
from rackmoe.network.flow_table import FlowTable
from rackmoe.network.flow_updates import CAPACITY, FINISH_PS, IS_WATCHED, NEVER_PS, RATE
from rackmoe.network.sharing import FlowLinks, max_min_rates_bytes_per_s


def build(capacity, flows, *, arbitration=Arbitration.PER_FLOW, class_weight=(1.0, 1.0)):
    """Table with flows (path, class) of 12 bytes, solved on all links."""
    table = FlowTable.of_links(np.array(capacity, float), n_classes=2, n_slots=max(len(flows), 1))
    for slot, (path, klass) in enumerate(flows):
        links = np.array(path, np.int64)
        table.admit(slot, path=links, n_bytes=12.0, weight=1.0, klass=klass, now_ps=0)
    solver = RateSolver(arbitration, class_weight=np.array(class_weight))
    solved = solver.solve(table, changed=np.arange(len(capacity)), now_ps=0)
    return table, solver, solved


def rates(*args, **options):
    table, _, _ = build(*args, **options)
    return table.flow_values[RATE].tolist()


@settings(max_examples=100)
@given(
    paths=st.lists(
        st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True), min_size=1, max_size=12
    ),
    capacity=st.lists(st.integers(1, 20), min_size=6, max_size=6),
)
def test_rates_equal_those_of_the_batch_solver(paths, capacity):
    result = rates(capacity, [(path, 0) for path in paths])
    links = FlowLinks.of_paths(paths, n_links=6)
    expected = max_min_rates_bytes_per_s(links, capacity_bytes_per_s=np.array(capacity, float))
    assert result == pytest.approx(expected.tolist(), rel=1e-12)


def test_classes_share_a_link_whatever_their_numbers():
    flows = [([0], 0), ([0], 1), ([0], 1), ([0], 1)]
    assert rates([12.0], flows) == [3.0] * 4
    assert rates([12.0], flows, arbitration=Arbitration.CLASSES) == [6.0, 2.0, 2.0, 2.0]
    weighted = rates([12.0], flows, arbitration=Arbitration.CLASSES, class_weight=(3.0, 1.0))
    assert weighted == [9.0, 1.0, 1.0, 1.0]


def test_what_a_class_cannot_use_goes_to_the_others():
    # class 0 is held to 3 by link 1; class 1 takes the other 9
    result = rates([12.0, 3.0], [([0, 1], 0), ([0], 1)], arbitration=Arbitration.CLASSES)
    assert result == [3.0, 9.0]


def test_priority_serves_the_first_class_first():
    flows = [([0, 1], 0), ([0], 1), ([0], 1)]
    assert rates([12.0, 4.0], flows, arbitration=Arbitration.PRIORITY) == [4.0, 4.0, 4.0]
    assert rates([12.0, 99.0], flows, arbitration=Arbitration.PRIORITY) == [12.0, 0.0, 0.0]


def test_only_the_component_of_a_change_is_solved():
    table, solver, _ = build([4.0, 4.0, 6.0], [([0], 0), ([2], 0)])
    table.link_values[CAPACITY] = 1.0  # everywhere, but only link 0 is reported
    next_ps, _ = solver.solve(table, changed=np.array([0]), now_ps=10**12)
    assert table.flow_values[RATE].tolist() == [1.0, 6.0]
    # 8 bytes are left of the first flow at 1 B/s; the second ends at 2 s
    assert table.flow_counts[FINISH_PS].tolist() == [9 * 10**12, 2 * 10**12]
    assert next_ps == 2 * 10**12


def test_an_unchanged_rate_keeps_its_finish_to_the_tick():
    table, solver, _ = build([3.0], [([0], 0), ([0], 0), ([0], 0)])
    before = table.flow_counts[FINISH_PS].tolist()
    for now_ps in (1, 7, 123_456_789):
        solver.solve(table, changed=np.array([0]), now_ps=now_ps)
    assert table.flow_counts[FINISH_PS].tolist() == before


def test_a_finish_is_rounded_up_to_a_tick():
    _, _, (next_ps, _) = build([7.0], [([0], 0)])
    assert next_ps == int(np.ceil(12.0 / 7.0 * 1e12))


def test_flows_without_rate_never_finish():
    table, _, (next_ps, _) = build([0.0], [([0], 0)])
    assert table.flow_values[RATE].tolist() == [0.0]
    assert next_ps == NEVER_PS


def test_watched_links_are_reported_when_their_rate_changes():
    table, solver, _ = build([4.0, 4.0], [([0], 0), ([1], 0)])
    table.link_counts[IS_WATCHED] = 1
    assert solver.solve(table, changed=np.array([0, 1]), now_ps=0)[1] == []
    table.link_values[CAPACITY, 1] = 2.0
    assert solver.solve(table, changed=np.array([0, 1]), now_ps=0)[1] == [1]
