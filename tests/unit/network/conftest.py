"""Expert traffic and step durations for the network tests."""

from dataclasses import dataclass

import numpy as np
import pytest

from rackmoe.network.layer_times import LayerTimes

TOP_K = 8
PORT_BYTES_PER_S = 900e9
DISPATCH_BYTES = 7392.0
COMBINE_BYTES = 14336.0


@dataclass(frozen=True)
class Ports:
    egress_s: np.ndarray
    ingress_s: np.ndarray
    latency_s: float = 3e-6


@dataclass(frozen=True)
class Traffic:
    """Copies of tokens between ranks, one per token and destination rank."""

    source: np.ndarray
    destination: np.ndarray
    n_ranks: int

    @property
    def copies(self):
        flat = np.bincount(
            self.source * self.n_ranks + self.destination, minlength=self.n_ranks**2
        )
        return flat.reshape(self.n_ranks, self.n_ranks).astype(float)


def _route(n_ranks, *, zipf, seed, tokens_per_rank=128):
    rng = np.random.default_rng(seed)
    n_slots = {8: 256, 16: 256, 72: 288}[n_ranks]
    log_popularity = rng.permutation(-zipf * np.log(np.arange(1, n_slots + 1)))
    n_tokens = n_ranks * tokens_per_rank
    gumbel = -np.log(-np.log(rng.random((n_tokens, n_slots))))
    chosen = np.argpartition(-(log_popularity + gumbel), TOP_K, axis=1)[:, :TOP_K]
    ranks = np.sort(chosen // (n_slots // n_ranks), axis=1)
    is_first = np.ones_like(ranks, bool)
    is_first[:, 1:] = ranks[:, 1:] != ranks[:, :-1]
    source = np.repeat(np.arange(n_tokens) // tokens_per_rank, TOP_K).reshape(ranks.shape)
    keep = is_first & (ranks != source)
    return Traffic(source[keep], ranks[keep], n_ranks)


@pytest.fixture
def route():
    """Function from (n_ranks, zipf, seed) to the copies of one layer's dispatch."""
    return _route


@pytest.fixture
def random_times():
    """Function from (n_layers, n_ranks, seed) to skewed durations of a step."""

    def build(n_layers, n_ranks, *, seed=0, spread=0.2, overlap_shared=True):
        rng = np.random.default_rng(seed)

        def vary(mean_s):
            return mean_s * np.exp(spread * rng.standard_normal((n_layers, n_ranks)))

        return LayerTimes(
            pre_s=vary(80e-6),
            shared_s=vary(10e-6),
            expert_s=vary(50e-6),
            dispatch=Ports(vary(8e-6), vary(8e-6)),
            combine=Ports(vary(16e-6), vary(16e-6), 4e-6),
            overlap_shared=overlap_shared,
        )

    return build


@pytest.fixture
def uniform_times():
    """Function from (n_layers, n_ranks) and durations to a step of equal ranks."""

    def build(n_layers, n_ranks, *, pre, shared, expert, dispatch, combine, **options):
        def full(value):
            return np.full((n_layers, n_ranks), value)

        def ports(egress, ingress, latency):
            return Ports(full(egress), full(ingress), latency)

        return LayerTimes(
            pre_s=full(pre),
            shared_s=full(shared),
            expert_s=full(expert),
            dispatch=None if dispatch is None else ports(*dispatch),
            combine=None if combine is None else ports(*combine),
            **options,
        )

    return build
