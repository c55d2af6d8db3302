"""The compiled loop over layers, against its twin."""

import numpy as np
import pytest

from rackmoe.network.layers import compute_tail, run_layers, run_local_layers
from rackmoe.network.link_ends import NO_LINKS
from rackmoe.network.reference import layered_clocks_s
from rackmoe.network.slowdown import Slowdown


@pytest.mark.parametrize("overlap_shared", [True, False])
@pytest.mark.parametrize("n_ranks", [2, 8, 24])
def test_kernel_equals_its_numpy_twin(random_times, n_ranks, overlap_shared):
    times = random_times(4, n_ranks, seed=n_ranks, spread=0.5, overlap_shared=overlap_shared)
    slow = Slowdown.steady(n_ranks, compute=1.25)
    slow = slow.changed(200e-6, egress=np.linspace(1.0, 2.0, n_ranks), ingress=1.5)
    slow = slow.changed(230e-6, compute=np.linspace(2.0, 1.0, n_ranks), egress=1.0)
    clock_s = np.linspace(0.0, 20e-6, n_ranks)
    tail_s = np.linspace(5e-6, 0.0, n_ranks)
    expected = layered_clocks_s(times, start_s=clock_s, tail_s=tail_s, slowdown=slow)
    clocks_s, layer_end_s, parts_s = np.empty((4, n_ranks)), np.empty(4), np.zeros((8, n_ranks))
    run_layers(
        times.rows(first=0, last=4),
        times.latencies_s,
        overlap_shared,
        True,  # noqa: FBT003  as the kernel takes it
        slow.change_s,
        slow.compute,
        slow.egress,
        slow.ingress,
        (NO_LINKS, NO_LINKS),
        clock_s,
        clocks_s,
        layer_end_s,
        parts_s,
    )
    compute_tail(clock_s, tail_s, slow.change_s, slow.compute, parts_s[7:])
    assert clocks_s == pytest.approx(expected[:-1], rel=1e-12)
    assert layer_end_s == pytest.approx(expected[:-1].max(axis=1), rel=1e-12)
    assert clock_s == pytest.approx(expected[-1], rel=1e-12)


@pytest.mark.parametrize("n_parts", [0, 8])
def test_ranks_that_exchange_nothing_take_the_same_steps_by_the_short_kernel(
    random_times, n_parts
):
    times = random_times(4, 3, seed=1, spread=0.5)
    slow = Slowdown.steady(3, compute=np.array([1.0, 1.5, 2.0]))
    entry_s = np.linspace(0.0, 20e-6, 3)
    results = []
    for kernel in (run_layers, run_local_layers):
        clock_s, parts_s = entry_s.copy(), np.zeros((n_parts, 3))
        out = (clock_s, np.empty((4, 3)), np.empty(4), parts_s)
        rows = times.rows(first=0, last=4)
        if kernel is run_layers:
            steady = (slow.change_s, slow.compute, slow.egress, slow.ingress)
            links = (NO_LINKS, NO_LINKS)
            kernel(rows, (0.0, 0.0), times.overlap_shared, False, *steady, links, *out)  # noqa: FBT003
        else:
            kernel(*rows[:3], slow.compute[0], *out)
        results.append(out)
    for general, short in zip(*results, strict=True):
        assert (general == short).all()
