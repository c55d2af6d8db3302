"""A rack that lost one of its nine switch trays: 2 of 18 planes."""

import numpy as np
import pytest

from rackmoe.backend.collective_files import load_collectives
from rackmoe.backend.collectives import Family
from rackmoe.hardware.cuts import min_cut_bytes_per_s_per_direction, scale_up_graph
from rackmoe.hardware.profile import load_machine
from rackmoe.hardware.topology import build_topology
from rackmoe.network.build import ExchangeChoice, build_exchange
from rackmoe.network.traffic import ExpertGroup, balanced_traffic

N_RANKS = 64


@pytest.fixture(scope="module")
def machine():
    return load_machine("gb200_nvl72")


def test_every_gpu_keeps_800_gb_per_s(machine):
    graph = scale_up_graph(build_topology(machine, n_gpus=72)).copy()
    graph.remove_nodes_from([name for name, tray in graph.nodes(data="tray") if tray == 4])
    for gpu in ("gpu0", "gpu71"):
        assert min_cut_bytes_per_s_per_direction(graph, lower=[gpu], upper=["gpu35"]) == 800e9


@pytest.fixture(scope="module")
def duration_s(machine):
    """Function from tokens of a rank and the working share of ports to a dispatch's time."""
    choice = ExchangeChoice(
        family=Family.NVLINK_ONE_SIDED,
        n_ranks=N_RANKS,
        top_k=8,
        hidden=7168,
        dispatch_dtype="bf16",
        combine_dtype="bf16",
    )
    book = load_collectives(machine.gpu.name)
    dispatch = build_exchange(machine, book=book, choice=choice).dispatch
    group = ExpertGroup(n_ranks=N_RANKS, ranks_per_domain=72, top_k=8, n_experts=256)

    def compute(tokens, *, port_frac=1.0):
        traffic = balanced_traffic(tokens, group=group, spread=dispatch.constants.spread)
        times = dispatch.port_times(traffic, tokens=traffic.tokens, port_frac=port_frac)
        return float(times.total_s().max())

    return compute


def test_a_dispatch_bound_by_bandwidth_takes_18_over_16(duration_s):
    failed_s = duration_s(65536.0, port_frac=np.full(N_RANKS, 16 / 18))
    assert failed_s / duration_s(65536.0) == pytest.approx(18 / 16, rel=0.01)


def test_a_small_dispatch_hardly_feels_it(duration_s):
    assert duration_s(1.0, port_frac=16 / 18) / duration_s(1.0) < 1.01
