"""The compiled loop over the layers of two micro-batches, against its twin."""

import numpy as np
import pytest

from rackmoe.network.link_ends import NO_LINKS
from rackmoe.network.reference import two_batch_clocks_s
from rackmoe.network.slowdown import Slowdown
from rackmoe.network.two_batch_layers import run_two_batches


@pytest.mark.parametrize("overlap_shared", [True, False])
def test_kernel_equals_its_numpy_twin(random_times, overlap_shared):
    n_ranks, n_layers = 8, 3
    batches = tuple(
        random_times(n_layers, n_ranks, seed=seed, spread=0.5, overlap_shared=overlap_shared)
        for seed in range(2)
    )
    slow = Slowdown.steady(n_ranks, compute=1.25, egress=1.5)
    state_s, clocks_s = np.zeros((4, n_ranks)), np.empty((n_layers, 4, n_ranks))
    busy_s, overlaps = np.zeros((2, n_ranks)), np.zeros(n_ranks, np.int64)
    rows = tuple(zip(*(one.rows(first=0, last=n_layers) for one in batches), strict=True))
    run_two_batches(
        rows,
        np.array([one.latencies_s for one in batches]),
        (overlap_shared, True),
        slow.change_s,
        (slow.compute, slow.egress, slow.ingress),
        ((NO_LINKS, NO_LINKS), (NO_LINKS, NO_LINKS)),
        state_s,
        clocks_s,
        busy_s,
        overlaps,
    )
    end_s, queued = two_batch_clocks_s(batches, slowdown=slow)
    assert clocks_s[-1].max(axis=0) == pytest.approx(end_s, rel=1e-12)
    assert overlaps.tolist() == queued.tolist()
    assert state_s.tolist() == clocks_s[-1].tolist()
    sent_s = sum(
        1.5 * (one.dispatch.egress_s + one.combine.egress_s).sum(axis=0) for one in batches
    )
    assert busy_s[0] == pytest.approx(sent_s, rel=1e-9)
