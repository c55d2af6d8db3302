"""All-to-alls of expert traffic: skewed, staggered, on ports with failures."""

import numpy as np

from rackmoe.network.exchange_tiers import PairExchange

COPY_BYTES = 7392.0
PORT_BYTES_PER_S = 900e9
N_LINKS = 18
TOP_K = 8
FAILURES = ("none", "link", "chip", "tray")


def copies_between(n_ranks, *, zipf, seed, tokens_per_rank=128):
    """Copies from rank to rank, one per token and destination; popularity as a power law."""
    rng = np.random.default_rng(seed)
    n_experts = n_ranks * -(-256 // n_ranks)
    logits = rng.permutation(-zipf * np.log(np.arange(1, n_experts + 1)))
    copies = np.zeros((n_ranks, n_ranks))
    for source in range(n_ranks):
        gumbel = -np.log(-np.log(rng.random((tokens_per_rank, n_experts))))
        chosen = np.argpartition(-(logits + gumbel), TOP_K, axis=1)[:, :TOP_K]
        ranks = chosen // (n_experts // n_ranks)
        has_copy = np.zeros((tokens_per_rank, n_ranks), bool)
        np.put_along_axis(has_copy, ranks, values=True, axis=1)
        copies[source] = has_copy.sum(axis=0)
    np.fill_diagonal(copies, 0.0)
    return copies


def live_links(n_ranks, *, failure, copies):
    """Links of each rank that work: one of the hottest rank, a chip or a tray of two fails."""
    live = np.full(n_ranks, float(N_LINKS))
    if failure == "link":
        live[copies.sum(axis=0).argmax()] -= 1
    else:
        live -= {"none": 0, "chip": 1, "tray": 2}[failure]
    return live


def make_exchange(n_ranks, *, zipf=0.0, spread=0.0, failure="none", seed=0):
    """An all-to-all whose starts spread over this multiple of its balanced duration."""
    copies = copies_between(n_ranks, zipf=zipf, seed=seed)
    rng = np.random.default_rng(seed + 1)
    balanced_s = copies.sum() / n_ranks * COPY_BYTES / PORT_BYTES_PER_S
    live = live_links(n_ranks, failure=failure, copies=copies)
    port = PORT_BYTES_PER_S * live / N_LINKS
    return PairExchange(
        payload_bytes=copies * COPY_BYTES,
        egress_bytes_per_s=port,
        ingress_bytes_per_s=port,
        start_s=np.abs(spread * balanced_s * rng.standard_normal(n_ranks)),
        copy_bytes=COPY_BYTES,
    )
