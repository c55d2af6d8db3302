"""The compiled updates of the state of flows, on arrays made by hand."""

import numpy as np
import pytest

from rackmoe.network.flow_table import FlowTable
from rackmoe.network.flow_updates import (
    AFTER,
    CLASS_ON,
    FINISH_PS,
    FIRST,
    MAX_HOPS,
    NEVER_PS,
    RATE,
    admit_flow,
    pop_due_flows,
    remove_flow,
)

SECOND_PS = 10**12


@pytest.fixture
def state():
    return FlowTable.of_links(np.array([4.0, 2.0]), n_classes=2, n_slots=3)


def links_of(state):
    return state.link_values, state.link_counts, state.class_counts, state.class_busy_s


def flows_of(state):
    return state.flow_values, state.flow_counts, state.hops, state.chain, state.active


def admit(state, slot, path, *, klass=0, now_ps=0):
    links = state.link_counts, state.class_counts
    admit_flow(slot, np.array(path), 8.0, 1.0, klass, now_ps, *links, *flows_of(state))


def test_flows_of_a_link_are_chained_the_latest_first(state):
    admit(state, 0, [0])
    admit(state, 2, [0, 1])
    first = state.link_counts[FIRST, 0]
    assert first == 2 * MAX_HOPS
    assert state.chain[AFTER, first] == 0
    assert state.chain[AFTER, 0] == -1


def test_a_flow_that_leaves_early_counts_what_it_carried_for_its_class(state):
    admit(state, 1, [1], klass=1)
    state.flow_values[RATE, 1] = 2.0
    remove_flow(1, 3 * SECOND_PS, *links_of(state), *flows_of(state), state.moved_bytes)
    assert state.moved_bytes.tolist() == [[0.0, 0.0], [0.0, 6.0]]
    assert state.class_busy_s.tolist() == [[0.0, 0.0], [0.0, 3.0]]
    assert not state.class_counts[CLASS_ON].any()


def test_only_flows_whose_finish_has_come_are_popped(state):
    for slot, finish_ps in enumerate((500, 900, NEVER_PS)):
        admit(state, slot, [0])
        state.flow_counts[FINISH_PS, slot] = finish_ps
    due = np.empty(3, np.int64)
    found = pop_due_flows(700, *links_of(state), *flows_of(state), state.moved_bytes, due)
    assert found == (1, 900)
    assert due[0] == 0
    assert sorted(state.active[: state.active[-1]].tolist()) == [1, 2]
