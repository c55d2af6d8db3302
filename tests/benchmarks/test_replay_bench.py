"""A token trace of 2 GB is replayed from disk: in bounded memory, many assignments per second."""

import tracemalloc

import numpy as np
import pytest

from rackmoe.routing.eplb import eplb
from rackmoe.routing.sources import replay_source
from rackmoe.routing.traces import TokenTrace, TraceHeader

N_LAYERS, N_EXPERTS, TOP_K = 58, 256, 8
N_TOKENS = 2 * 10**9 // (N_LAYERS * TOP_K)
WRITTEN = 65_536  # rows with choices; the rest is a hole of zeros in a sparse file
STEP_TOKENS = 18_432
PEAK_BYTES_MAX = 1e9


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "routed_experts.npy"
    rows = np.lib.format.open_memmap(
        path,
        mode="w+",
        dtype=np.uint8,
        shape=(N_TOKENS, N_LAYERS, TOP_K),
    )
    rng = np.random.default_rng(0)
    for first in range(0, WRITTEN, 4096):
        start = rng.integers(0, N_EXPERTS, (4096, N_LAYERS, 1))
        rows[first : first + 4096] = (start + 31 * np.arange(TOP_K)) % N_EXPERTS
    rows.flush()
    del rows
    return path


def mapped_trace(path):
    ends = np.append(np.arange(0, N_TOKENS, 1000), N_TOKENS)
    return TokenTrace(
        routed_experts=np.load(path, mmap_mode="r"),
        req_offsets=ends,
        n_prompt_rows=np.zeros(ends.size - 1, np.int32),
        header=TraceHeader(
            model="large",
            n_experts=N_EXPERTS,
            top_k=TOP_K,
            moe_layer_ids=tuple(range(3, 3 + N_LAYERS)),
            phase="decode",
            source="made by a benchmark",
            licence="Apache-2.0",
        ),
    )


@pytest.mark.parametrize("n_ranks", [8, 72])
def test_large_trace_is_replayed_from_disk(benchmark, path, n_ranks):
    tracemalloc.start()
    trace = mapped_trace(path)
    rng = np.random.default_rng(1)
    load = rng.uniform(1, 2, (N_LAYERS, N_EXPERTS))
    n_redundant = -N_EXPERTS % n_ranks
    source = replay_source(
        trace, placement=eplb(load, n_ranks=n_ranks, n_redundant=n_redundant), rng=rng
    )
    tokens = np.full(n_ranks, STEP_TOKENS // n_ranks)
    senders = np.repeat(np.arange(n_ranks), tokens).astype(np.int32)
    n_spread = senders.size // 16

    def step():
        # a few rows from all over the file, the rest from where there are choices
        rows = rng.integers(0, WRITTEN, senders.size)
        rows[:n_spread] = rng.integers(0, N_TOKENS, n_spread)
        return source.route(tokens, phase="decode", rows=rows, row_rank=senders)

    step()
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    done = benchmark.pedantic(step, rounds=5)
    n_assignments = senders.size * N_LAYERS * TOP_K
    assert done.expert_counts.sum() == n_assignments
    assert peak_bytes < PEAK_BYTES_MAX
    benchmark.extra_info["peak_bytes"] = peak_bytes
    if not benchmark.disabled:
        rate = n_assignments / benchmark.stats.stats.min
        benchmark.extra_info["assignments_per_s"] = rate
