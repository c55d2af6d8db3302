"""Exchanges over NVLink, NICs, leaves and spines: the bound of the busiest link is reached.

Paths and capacities come from the graph of HGX H200. The closed form, the largest of bytes
over capacity of all links, is held to max-min fair flows and to packets that queue first in,
first out at every link of their path. 320 GPUs are in tests/benchmarks/test_tiers_bench.py.
"""

from itertools import product

import numpy as np
import pytest
from two_level_cases import by_rail, direct, make_two_level, packet_makespan_s

from rackmoe.hardware.profile import load_machine
from rackmoe.network.fluid import flow_finish_s, link_bound_s, one_fill_finish_s

MEDIAN, WORST = 0.01, 0.05


@pytest.fixture(scope="module")
def machine():
    return load_machine("hgx_h200")


@pytest.mark.parametrize("way", [direct, by_rail])
def test_busiest_link_decides_at_every_level_of_detail(machine, way):
    found = []
    for n_gpus, zipf in product((16, 32), (0.0, 0.6)):
        exchange = make_two_level(machine, n_gpus=n_gpus, zipf=zipf, way=way)
        closed_s = link_bound_s(**exchange.flows)
        coflow_s = one_fill_finish_s(**exchange.flows).max()
        assert coflow_s == pytest.approx(closed_s, rel=1e-9)
        weight = exchange.flows["size_bytes"]
        others = (
            flow_finish_s(**exchange.flows, weight=weight, batch_frac=0.002).max(),
            flow_finish_s(**exchange.flows, batch_frac=0.01).max(),
            packet_makespan_s(exchange),
        )
        found.append([abs(closed_s / end_s - 1) for end_s in others])
    assert np.median(found) <= MEDIAN
    assert np.max(found) <= WORST


@pytest.mark.parametrize("n_live", [1, 2])
def test_leaf_that_lost_uplinks_decides_although_its_nics_do_not(machine, n_live):
    # a leaf of 4 NICs with 1 or 2 of its 32 uplinks left
    exchange = make_two_level(machine, n_gpus=32, zipf=0.0, way=direct)
    healthy_s = link_bound_s(**exchange.flows)
    for uplink in exchange.links.leaf[:, 0]:
        exchange.capacity_bytes_per_s[uplink] *= n_live / 32
    closed_s = link_bound_s(**exchange.flows)
    # 7 of 8 remote copies cross the spines; its NICs are not the busiest of all by chance
    assert closed_s == pytest.approx(healthy_s * 4 / n_live * 7 / 8, rel=0.1)
    assert packet_makespan_s(exchange) == pytest.approx(closed_s, rel=WORST)
    assert one_fill_finish_s(**exchange.flows).max() == pytest.approx(closed_s, rel=1e-9)


def test_copies_by_rail_cross_no_spine_and_so_miss_its_failures(machine):
    exchange = make_two_level(machine, n_gpus=32, zipf=0.0, way=by_rail)
    healthy_s = link_bound_s(**exchange.flows)
    exchange.capacity_bytes_per_s[exchange.links.leaf[:, 0]] *= 1 / 32
    assert link_bound_s(**exchange.flows) == healthy_s
