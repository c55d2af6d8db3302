"""Weighted max-min fair rates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import ShapeError
from rackmoe.network import reference
from rackmoe.network.sharing import FlowLinks, max_min_rates_bytes_per_s


def rates(paths, capacity, weight=None, crossing_frac=None):
    links = FlowLinks.of_paths(paths, n_links=len(capacity), crossing_frac=crossing_frac)
    weights = None if weight is None else np.array(weight, float)
    return max_min_rates_bytes_per_s(
        links, capacity_bytes_per_s=np.array(capacity, float), weight=weights
    ).tolist()


def test_flows_on_one_link_share_it_equally():
    assert rates([[0]] * 4, [8.0]) == [2.0] * 4


def test_a_flow_bound_elsewhere_leaves_its_share_to_the_others():
    # flow 0 is held to 1 by link 1; flows 1 and 2 share the 9 left on link 0
    assert rates([[0, 1], [0], [0]], [10.0, 1.0]) == [1.0, 4.5, 4.5]


def test_line_of_links_has_the_textbook_solution():
    # Bertsekas and Gallager: a long flow over all links and one flow on each
    assert rates([[0, 1, 2], [0], [1], [2]], [1.0, 2.0, 4.0]) == [0.5, 0.5, 1.5, 3.5]


def test_three_bottlenecks_fill_one_after_the_other():
    # link 0 (3 flows): 1 each; link 1 then has 5 for flows 3 and 4, of which link 2 allows 2
    paths = [[0], [0], [0, 1], [1], [1, 2]]
    assert rates(paths, [3.0, 6.0, 2.0]) == [1.0, 1.0, 1.0, 3.0, 2.0]


def test_weights_divide_a_link_in_proportion():
    assert rates([[0], [0]], [9.0], weight=[1.0, 2.0]) == [3.0, 6.0]


def test_striped_flow_takes_its_share_of_each_link():
    # flow 0 sends half over each of two links of 1; flow 1 is alone with link 1
    result = rates([[0, 1], [1]], [1.0, 1.0], crossing_frac=[[0.5, 0.5], [1.0]])
    assert result == pytest.approx([2 / 3, 2 / 3])


def test_a_link_without_capacity_stops_its_flows():
    assert rates([[0], [0, 1]], [4.0, 0.0]) == [4.0, 0.0]


def test_crossbar_numbers_egress_before_ingress():
    links = FlowLinks.of_crossbar(np.array([0, 2]), destination=np.array([1, 0]), n_ranks=3)
    assert links.link.tolist() == [0, 4, 2, 3]
    assert links.flow[links.link_start[4] : links.link_start[5]].tolist() == [0]


paths_strategy = st.lists(
    st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True), min_size=1, max_size=12
)


@settings(max_examples=150)
@given(
    paths=paths_strategy,
    capacity=st.lists(st.integers(1, 20), min_size=6, max_size=6),
    weight=st.lists(st.integers(1, 5), min_size=12, max_size=12),
)
def test_kernel_equals_its_numpy_twin(paths, capacity, weight):
    links = FlowLinks.of_paths(paths, n_links=6)
    capacities, weights = np.array(capacity, float), np.array(weight[: len(paths)], float)
    result = max_min_rates_bytes_per_s(links, capacity_bytes_per_s=capacities, weight=weights)
    expected = reference.max_min_rates_bytes_per_s(
        links, capacity_bytes_per_s=capacities, weight=weights
    )
    assert result == pytest.approx(expected, rel=1e-12)
    # no link above its capacity, and each flow on a full link where no rate per weight is higher
    load = np.bincount(
        links.link, weights=np.repeat(result, np.diff(links.flow_start)), minlength=6
    )
    assert (load <= capacities * (1 + 1e-12)).all()
    level = result / weights
    for flow, path in enumerate(paths):
        full = [m for m in path if load[m] >= capacities[m] * (1 - 1e-9)]
        tops = [max(level[k] for k, other in enumerate(paths) if m in other) for m in full]
        assert any(level[flow] >= top * (1 - 1e-9) for top in tops)


@pytest.mark.parametrize(("paths", "crossing_frac"), [([[0], []], None), ([[0, 1]], [[1.0]])])
def test_paths_without_links_or_shares_are_refused(paths, crossing_frac):
    with pytest.raises(ShapeError, match="expected one share per link and at least one link"):
        FlowLinks.of_paths(paths, n_links=2, crossing_frac=crossing_frac)


def test_a_table_of_links_is_as_paths():
    paths = [[0, 2], [1], [2, 1]]
    frac = [[1.0, 0.5], [1.0], [0.25, 1.0]]
    expected = FlowLinks.of_paths(paths, n_links=3, crossing_frac=frac)
    found = FlowLinks.of_table(
        np.array([[0, 2], [1, -1], [2, 1]]),
        crossing_frac=np.array([[1.0, 0.5], [1.0, 9.0], [0.25, 1.0]]),
        n_links=3,
    )
    for name in ("flow_start", "link", "crossing_frac", "link_start", "flow"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
