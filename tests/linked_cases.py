"""All-to-alls of expert traffic over ports, NICs and the uplinks of leaves."""

import numpy as np
from exchange_cases import copies_between

from rackmoe.network.exchange_tiers import ExchangeTier
from rackmoe.network.link_loads import LinkLoads
from rackmoe.network.link_state import LinkState
from rackmoe.network.linked_exchange import LinkedExchanges
from rackmoe.network.slowdown import Slowdown

DOMAIN_RANKS = 8
NEAR_FRAC = 1 / 9


def make_linked(n_ranks, *, zipf=0.0, seed=0, tokens_per_rank=128, n_layers=1):
    """Each copy by itself, over NICs where it leaves the domain."""
    copies = copies_between(n_ranks, zipf=zipf, seed=seed, tokens_per_rank=tokens_per_rank)
    domain = np.arange(n_ranks) // DOMAIN_RANKS
    far_mask = 1.0 * (domain[:, None] != domain)
    near_mask = 1.0 - np.eye(n_ranks) - far_mask
    near, far = (np.repeat((copies * mask)[None], n_layers, 0) for mask in (near_mask, far_mask))
    loads = LinkLoads(
        near=(near.sum(axis=2), near.sum(axis=1)),
        far=(far.sum(axis=2), far.sum(axis=1)),
        near_mask=near_mask,
        far_mask=far_mask,
        near_frac=(NEAR_FRAC, NEAR_FRAC),
    )
    return LinkedExchanges(loads=loads, tier=ExchangeTier.PLAN, pairs=(near, far))


def rank_times_s(linked, layer=0):
    """What a law would say: the busier of port and NIC, a second for each copy."""
    near, far = linked.loads.near, linked.loads.far
    return tuple(np.maximum(NEAR_FRAC * near[k][layer], far[k][layer]) for k in range(2))


def rails(n_ranks, *, per_leaf):
    """Leaves by rail whose uplinks carry as much as this many ranks."""
    leaf = (np.arange(n_ranks) % DOMAIN_RANKS)[:, None]
    ones = np.ones(n_ranks)
    frac = np.full((2, DOMAIN_RANKS), 1 / per_leaf)
    return LinkState(far_out=ones, far_in=ones, leaf=leaf, uplink_frac=frac)


def under(n_ranks, *, per_leaf):
    """The slowdown of a group under such leaves; None never bind."""
    if per_leaf is None:
        return Slowdown.none(n_ranks)
    return Slowdown.steady(n_ranks, links=rails(n_ranks, per_leaf=per_leaf))
