"""Which domain each request of a run is about, as far as it decides the experts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError
from rackmoe.scenario.workload import Workload
from rackmoe.serving.workload import RequestTable

__all__ = ["DomainMix", "find_domain_mix"]

_MOST = 64
"""Domains whose popularity is drawn apart (kind: assumed; bounds the memory of their noise)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainMix:
    """The domains of a run.

    Attributes
    ----------
    names : tuple of str or None
        What requests are about; None for those without a label.
    of_request : ndarray of shape (n_requests,), int64
        Index into `names`.
    share_frac : ndarray of shape (n_domains,)
        Part of all prompt and output tokens.
    """

    names: tuple[str | None, ...]
    of_request: NDArray[np.int64]
    share_frac: NDArray[np.float64]

    def weights(self, only: str | None = None) -> NDArray[np.float64]:
        """Return the part of each domain in what a balancer sees.

        Parameters
        ----------
        only : str, optional
            The only domain that it sees; the mix of all requests by default.

        Returns
        -------
        ndarray of shape (n_domains,)
            They add up to 1.

        Raises
        ------
        ConfigError
            If there is no such domain.
        """
        if only is None:
            return self.share_frac
        if only not in self.names:
            raise _unknown(only, known=self.names)
        return np.array([float(name == only) for name in self.names])


def find_domain_mix(
    workload: Workload, *, requests: RequestTable, only_seen: str | None = None
) -> DomainMix | None:
    """Return the domains of requests where they choose experts.

    Parameters
    ----------
    workload : Workload
        Says whether they do.
    requests : RequestTable
        The requests.
    only_seen : str, optional
        Domain that the balancer of the experts asks for; checked here.

    Returns
    -------
    DomainMix or None
        None where all requests are alike.

    Raises
    ------
    ConfigError
        If there are too many domains, or not the one that the balancer asks for.
    """
    found, of_request = np.unique(requests.domain, return_inverse=True)
    names = tuple(None if one < 0 else requests.domain_names[one] for one in found.tolist())
    is_recorded = workload.routing.trace is not None
    if workload.domains is None or names == (None,) or (len(names) == 1 and not is_recorded):
        if only_seen is not None and (workload.domains is None or only_seen not in names):
            raise _unknown(only_seen, known=names if workload.domains else ())
        return None
    if len(names) > _MOST:
        raise ConfigError(
            f"workload.routing.domains: {len(names)} domains of requests; expected at most "
            f"{_MOST}; write a domain for each application"
        )
    tokens = (requests.input_tokens + requests.output_tokens).astype(np.float64)
    weight = np.bincount(of_request, weights=tokens, minlength=len(names))
    return DomainMix(names=names, of_request=of_request, share_frac=weight / weight.sum())


def _unknown(name: str, *, known: tuple[str | None, ...]) -> ConfigError:
    named = ", ".join(one for one in known if one is not None) or "none"
    return ConfigError(
        f"experts.balance_on_domain: {name!r}; expected a domain of the requests ({named}); "
        "write workload.applications.NAME.domain, or remove it"
    )
