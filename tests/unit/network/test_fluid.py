"""Finishing times of flows that share links, against SimGrid, packets and closed forms."""

import json
from pathlib import Path

import numpy as np
import pytest

from rackmoe.network.fluid import flow_finish_s, link_bound_s, one_fill_finish_s
from rackmoe.network.packet import packet_receive_ends_s
from rackmoe.network.sharing import FlowLinks

CAPACITY = 900e9
COPY_BYTES = 7392.0
SIMGRID = json.loads(
    (Path(__file__).parents[2] / "data/network/simgrid_finish_times.json").read_text("utf-8")
)


def crossbar(traffic):
    copies = traffic.copies
    source, destination = np.nonzero(copies)
    links = FlowLinks.of_crossbar(source, destination=destination, n_ranks=traffic.n_ranks)
    return links, copies[source, destination] * COPY_BYTES, source


def test_rates_change_when_a_flow_finishes():
    # both at 1 until 2; then the longer one alone at 2 for 2 bytes
    links = FlowLinks.of_paths([[0], [0]], n_links=1)
    assert flow_finish_s(
        links, capacity_bytes_per_s=np.array([2.0]), size_bytes=np.array([2.0, 4.0])
    ).tolist() == [2.0, 3.0]


def test_a_later_start_slows_the_flows_under_way():
    # alone at 2 until 1; then both at 1: 4 more bytes until 5, and the newcomer's last at 6
    links = FlowLinks.of_paths([[0], [0]], n_links=1)
    finish = flow_finish_s(
        links,
        capacity_bytes_per_s=np.array([2.0]),
        size_bytes=np.array([6.0, 5.0]),
        start_s=np.array([0.0, 1.0]),
    )
    assert finish.tolist() == [5.0, 5.5]


def test_weights_hold_while_flows_share():
    # 3 and 1 of 4; after 1 s the heavy one is done, the other has 3 left at 4
    links = FlowLinks.of_paths([[0], [0]], n_links=1)
    finish = flow_finish_s(
        links,
        capacity_bytes_per_s=np.array([4.0]),
        size_bytes=np.array([3.0, 4.0]),
        weight=np.array([3.0, 1.0]),
    )
    assert finish.tolist() == [1.0, 1.75]


def test_an_empty_flow_ends_at_its_start():
    links = FlowLinks.of_paths([[0], [0]], n_links=1)
    finish = flow_finish_s(
        links,
        capacity_bytes_per_s=np.array([1.0]),
        size_bytes=np.array([0.0, 2.0]),
        start_s=np.array([0.5, 0.0]),
    )
    assert finish.tolist() == [0.5, 2.0]


@pytest.mark.parametrize("case", SIMGRID["cases"], ids=lambda case: case["name"])
def test_finishing_times_equal_those_of_simgrid(case):
    n_ranks = case["n"]
    links = FlowLinks.of_crossbar(
        np.array(case["src"]), destination=np.array(case["dst"]), n_ranks=n_ranks
    )
    start_s = np.array(case.get("start", np.zeros(len(case["src"]))))
    finish = flow_finish_s(
        links,
        capacity_bytes_per_s=np.full(2 * n_ranks, case["cap"]),
        size_bytes=np.array(case["size"]),
        start_s=start_s,
    )
    assert finish == pytest.approx(np.array(case["finish"]), rel=1e-9)


@pytest.mark.parametrize("zipf", [0.0, 0.6])
@pytest.mark.parametrize("n_ranks", [8, 16])
def test_one_filling_equals_the_event_loop_with_weights_of_bytes(route, n_ranks, zipf):
    links, size, _ = crossbar(route(n_ranks, zipf=zipf, seed=1))
    capacity = np.full(2 * n_ranks, CAPACITY)
    once = one_fill_finish_s(links, capacity_bytes_per_s=capacity, size_bytes=size)
    assert flow_finish_s(
        links, capacity_bytes_per_s=capacity, size_bytes=size, weight=size
    ) == pytest.approx(once, rel=1e-9)
    assert once.max() == pytest.approx(
        link_bound_s(links, capacity_bytes_per_s=capacity, size_bytes=size), rel=1e-12
    )


@pytest.mark.parametrize("zipf", [0.0, 0.6])
@pytest.mark.parametrize("n_ranks", [8, 16, 72])
def test_makespan_agrees_with_closed_form_and_packets(route, n_ranks, zipf):
    traffic = route(n_ranks, zipf=zipf, seed=2)
    links, size, _ = crossbar(traffic)
    capacity = np.full(2 * n_ranks, CAPACITY)
    fair_s = flow_finish_s(
        links,
        capacity_bytes_per_s=capacity,
        size_bytes=size,
        batch_frac=0.0 if n_ranks < 20 else 0.002,
    ).max()
    bound_s = link_bound_s(links, capacity_bytes_per_s=capacity, size_bytes=size)
    order = np.random.default_rng(0).permutation(traffic.source.size)
    packet_s = packet_receive_ends_s(
        traffic.source[order],
        destination=traffic.destination[order],
        size_bytes=COPY_BYTES,
        egress_bytes_per_s=capacity[:n_ranks],
        ingress_bytes_per_s=capacity[:n_ranks],
    ).max()
    assert bound_s == pytest.approx(fair_s, rel=0.01)
    assert bound_s == pytest.approx(packet_s, rel=0.05)


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
def test_staggered_flows_with_weights_of_bytes_agree_with_packets(route, spread):
    n_ranks = 16
    traffic = route(n_ranks, zipf=0.6, seed=3)
    links, size, source = crossbar(traffic)
    rng = np.random.default_rng(1)
    scale_s = size.sum() / n_ranks / CAPACITY
    start_s = np.abs(spread * scale_s * rng.standard_normal(n_ranks))
    capacity = np.full(2 * n_ranks, CAPACITY)
    finish = flow_finish_s(
        links, capacity_bytes_per_s=capacity, size_bytes=size, start_s=start_s[source], weight=size
    )
    order = rng.permutation(traffic.source.size)
    packet_s = packet_receive_ends_s(
        traffic.source[order],
        destination=traffic.destination[order],
        size_bytes=COPY_BYTES,
        egress_bytes_per_s=capacity[:n_ranks],
        ingress_bytes_per_s=capacity[:n_ranks],
        start_s=start_s,
    )
    assert finish.max() == pytest.approx(packet_s.max(), rel=0.02)


N_PLANES = 18


def striped(traffic, is_alive):
    """Flows over the planes that both ends can use, and their sub-packets."""
    n_ranks = traffic.n_ranks
    copies = traffic.copies
    source, destination = np.nonzero(copies)
    shared = is_alive[source] & is_alive[destination]
    paths, fracs = [], []
    for s, d, planes in zip(source, destination, shared, strict=True):
        alive = np.flatnonzero(planes)
        ports = [(2 * n_ranks * p + s, 2 * n_ranks * p + n_ranks + d) for p in alive]
        paths.append([port for pair in ports for port in pair])
        fracs.append([1.0 / alive.size] * (2 * alive.size))
    links = FlowLinks.of_paths(paths, n_links=2 * n_ranks * N_PLANES, crossing_frac=fracs)
    return links, copies[source, destination] * COPY_BYTES


@pytest.mark.parametrize("zipf", [0.0, 0.6])
@pytest.mark.parametrize("failed", ["hot link", "cold link", "chip", "tray"])
def test_port_scaled_by_live_links_is_enough_for_failures(route, failed, zipf):
    n_ranks = 16
    traffic = route(n_ranks, zipf=zipf, seed=4)
    into = traffic.copies.sum(axis=0)
    is_alive = np.ones((n_ranks, N_PLANES), bool)
    if failed in ("chip", "tray"):
        is_alive[:, : 1 if failed == "chip" else 2] = False
    else:
        is_alive[into.argmax() if failed == "hot link" else into.argmin(), 0] = False
    links, size = striped(traffic, is_alive)
    plane_capacity = np.full(2 * n_ranks * N_PLANES, CAPACITY / N_PLANES)
    bound_s = link_bound_s(links, capacity_bytes_per_s=plane_capacity, size_bytes=size)
    fluid_s = flow_finish_s(
        links, capacity_bytes_per_s=plane_capacity, size_bytes=size, batch_frac=0.002
    ).max()
    live = is_alive.mean(axis=1)
    plain, plain_size, _ = crossbar(traffic)
    scaled_s = link_bound_s(
        plain,
        capacity_bytes_per_s=CAPACITY * np.concatenate((live, live)),
        size_bytes=plain_size,
    )
    order = np.random.default_rng(0).permutation(traffic.source.size)
    source, destination = traffic.source[order], traffic.destination[order]
    shared = is_alive[source] & is_alive[destination]
    packet_s = 0.0
    for plane in range(N_PLANES):
        uses = shared[:, plane]
        if uses.any():
            ends_s = packet_receive_ends_s(
                source[uses],
                destination=destination[uses],
                size_bytes=COPY_BYTES / shared.sum(axis=1)[uses],
                egress_bytes_per_s=np.full(n_ranks, CAPACITY / N_PLANES),
                ingress_bytes_per_s=np.full(n_ranks, CAPACITY / N_PLANES),
            )
            packet_s = max(packet_s, ends_s.max())
    assert scaled_s == pytest.approx(bound_s, rel=0.01)
    assert bound_s == pytest.approx(fluid_s, rel=0.01)
    assert bound_s == pytest.approx(packet_s, rel=0.05)
    if failed == "tray":
        healthy_s = link_bound_s(
            plain,
            capacity_bytes_per_s=np.full(2 * n_ranks, CAPACITY),
            size_bytes=plain_size,
        )
        assert bound_s == pytest.approx(healthy_s * 18 / 16, rel=1e-9)
