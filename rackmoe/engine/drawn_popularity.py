"""What the generator draws once for all runs of a study: popularity and samples of tokens."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.domains import domain_popularity
from rackmoe.routing.families import RoutingStatistics
from rackmoe.routing.generator import popularity
from rackmoe.routing.shape import MoeShape
from rackmoe.routing.sources import routing_sample
from rackmoe.streams import Streams

__all__ = ["domain_deviates", "domain_sample", "drawn_popularity"]

Drawn = tuple[NDArray[np.float64], NDArray[np.unsignedinteger]]


@lru_cache(maxsize=4)
def drawn_popularity(statistics: RoutingStatistics, *, shape: MoeShape, seed: int) -> Drawn:
    """Return popularity and a sample of tokens; pure, and the same for every run of a study.

    Parameters
    ----------
    statistics : RoutingStatistics
        Parameters.
    shape : MoeShape
        Layers, experts, top-k and groups of the model.
    seed : int
        Seed of the run.

    Returns
    -------
    share : ndarray of shape (L, E)
        Popularity; not to be written to.
    sample : ndarray of shape (n, L, K)
        Experts of some tokens; not to be written to.
    """
    streams = Streams(seed)
    share = popularity(statistics, shape=shape, rng=streams.rng("routing popularity"))
    sample = routing_sample(
        statistics, shape=shape, rng=streams.rng("routing sample"), share=share
    )
    for array in (share, sample):
        array.setflags(write=False)
    return share, sample


def domain_deviates(shape: MoeShape, *, seed: int, domain: str) -> NDArray[np.float64]:
    """Return what makes a domain's popularity its own, whichever other domains there are.

    Parameters
    ----------
    shape : MoeShape
        Layers and experts of the model.
    seed : int
        Seed of the run.
    domain : str
        Its name.

    Returns
    -------
    ndarray of shape (L, E)
        Standard normal numbers.
    """
    rng = Streams(seed).rng(f"routing domain {domain}")
    return rng.standard_normal((shape.n_layers, shape.n_experts))


@lru_cache(maxsize=8)
def domain_sample(
    statistics: RoutingStatistics,
    *,
    shape: MoeShape,
    seed: int,
    domain: str,
    specific_frac: float,
) -> NDArray[np.unsignedinteger]:
    """Return a sample of tokens about a domain; pure, as `drawn_popularity`.

    Parameters
    ----------
    statistics : RoutingStatistics
        Parameters.
    shape : MoeShape
        Layers, experts, top-k and groups of the model.
    seed : int
        Seed of the run.
    domain : str
        Its name.
    specific_frac : float
        Part of the variance of log popularity that it has for itself.

    Returns
    -------
    ndarray of shape (n, L, K)
        Experts; not to be written to.
    """
    share = domain_popularity(
        drawn_popularity(statistics, shape=shape, seed=seed)[0],
        deviates=domain_deviates(shape, seed=seed, domain=domain),
        specific_frac=specific_frac,
    )
    rng = Streams(seed).rng(f"routing sample {domain}")
    sample = routing_sample(statistics, shape=shape, rng=rng, share=share)
    sample.setflags(write=False)
    return sample
