"""What a generated trace can have beyond its parameter set: domains that drift, cold experts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.routing.affinity import PairCounts

__all__ = ["Refinements", "domain_of_requests", "log_lifts", "refined_log_weights"]

_PRIOR = 8.0  # pairs that are assumed by chance beside those counted
_COLD_RATIO = 0.01  # measured Qwen3 layers hold experts with 1e-4 to 1e-2 of the mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinements:
    """Parts of the routing that most studies can leave out.

    Attributes
    ----------
    n_domains : int
        Kinds of text, each with a popularity of its own around the common one.
    domain_sd : float
        Spread of log popularity between domains.
    drift_sd : float
        Spread of the log weights of the domains over time; 0 keeps an equal mix.
    drift_requests : float
        Requests after which the mix has forgotten (1/e) what it was.
    cold_frac : float
        Part of the experts of a layer that hardly anything chooses.
    early_boost : float
        Factor on log popularity for the first tokens of a request.
    early_tokens : int
        How many tokens these are.
    log_lift : ndarray of shape (L - 1, E, E) or None
        What each expert of a token adds to the log weights of the next layer.
    """

    n_domains: int = 1
    domain_sd: float = 0.0
    drift_sd: float = 0.0
    drift_requests: float = 100.0
    cold_frac: float = 0.0
    early_boost: float = 1.0
    early_tokens: int = 128
    log_lift: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Refuse what no text can be."""
        ranges = {
            "n_domains": (self.n_domains, 1),
            "domain_sd": (self.domain_sd, 0),
            "drift_sd": (self.drift_sd, 0),
            "drift_requests": (self.drift_requests, 1),
            "cold_frac": (self.cold_frac, 0),
            "early_boost": (self.early_boost, 0),
            "early_tokens": (self.early_tokens, 0),
        }
        for name, (value, least) in ranges.items():
            if not (np.isfinite(value) and value >= least):
                raise ConfigError(
                    f"routing: {name} {value}; expected at least {least}; correct the value"
                )
        if self.cold_frac >= 1:
            raise ConfigError(
                f"routing: cold_frac {self.cold_frac}; expected less than 1; "
                "0.03 makes 3 % of the experts cold"
            )


def refined_log_weights(
    share: NDArray[np.float64],
    *,
    sharpening: float,
    refinements: Refinements,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the log weights of the experts in each domain.

    Parameters
    ----------
    share : ndarray of shape (L, E)
        Long-run popularity, common to all domains.
    sharpening : float
        Factor on log popularity.
    refinements : Refinements
        Domains and cold experts.
    rng : numpy.random.Generator
        Source of randomness; not used where there is one domain and no cold expert.

    Returns
    -------
    ndarray of shape (n_domains, L, E)
        Log weights, up to a constant.
    """
    common = sharpening * np.log(share)
    n_cold = round(refinements.cold_frac * share.shape[1])
    if n_cold:
        order = np.argsort(rng.random(share.shape), axis=1, kind="stable")
        np.put_along_axis(
            common,
            order[:, :n_cold],
            np.take_along_axis(common, order[:, :n_cold], axis=1) + np.log(_COLD_RATIO),
            axis=1,
        )
    if refinements.n_domains == 1:
        return np.ascontiguousarray(common[None])
    own = rng.standard_normal((refinements.n_domains, *share.shape))
    # the mean over domains stays the common popularity
    return np.ascontiguousarray(common + refinements.domain_sd * own)


def domain_of_requests(
    n_requests: int, *, refinements: Refinements, rng: np.random.Generator
) -> NDArray[np.int64]:
    r"""Return the domain of each request, of a mix that drifts.

    Parameters
    ----------
    n_requests : int
        Requests in the order of their arrival.
    refinements : Refinements
        Number of domains and drift.
    rng : numpy.random.Generator
        Source of randomness; not used where there is one domain.

    Returns
    -------
    ndarray of shape (n_requests,), int64
        Domains.

    Notes
    -----
    The log weights of the domains are independent Ornstein-Uhlenbeck processes [1]_
    over the requests, sampled exactly: with :math:`a = e^{-1/\tau}`,

    .. math:: x_{i+1} = a x_i + s \sqrt{1 - a^2}\, \epsilon

    References
    ----------
    .. [1] G. E. Uhlenbeck, L. S. Ornstein, "On the theory of the Brownian motion,"
       Physical Review, vol. 36, pp. 823-841, 1930.
    """
    n_domains = refinements.n_domains
    domain = np.zeros(n_requests, np.int64)
    if n_domains == 1:
        return domain
    keep = np.exp(-1.0 / refinements.drift_requests)
    fresh = np.sqrt(1.0 - keep * keep)
    level = rng.standard_normal(n_domains)
    for request in range(n_requests):
        weight = np.exp(refinements.drift_sd * level)
        edges = np.cumsum(weight)
        domain[request] = min(
            int(np.searchsorted(edges, rng.random() * edges[-1], side="right")), n_domains - 1
        )
        level = keep * level + fresh * rng.standard_normal(n_domains)
    return domain


def log_lifts(pairs: PairCounts) -> NDArray[np.float64]:
    """Return how much more often an expert follows another than their popularity says.

    Parameters
    ----------
    pairs : PairCounts
        From a trace.

    Returns
    -------
    ndarray of shape (L - 1, E, E)
        Logarithms; rare pairs are drawn towards 0.
    """
    load = pairs.load.astype(np.float64)
    per_layer = pairs.across.sum(axis=(1, 2), dtype=np.float64)[:, None, None]
    total = np.maximum(load.sum(axis=1), 1.0)[:, None]
    part = load / total
    expected = per_layer * part[:-1, :, None] * part[1:, None, :]
    return np.asarray(np.log((pairs.across + _PRIOR) / (expected + _PRIOR)))
