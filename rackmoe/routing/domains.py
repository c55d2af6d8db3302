"""How popular experts are in each of several domains, and steps that hold tokens of them all."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from rackmoe.routing.step import Phase, StepRouting
from rackmoe.routing.step_source import StepSource

__all__ = ["DomainSource", "domain_popularity"]


def domain_popularity(
    share: NDArray[np.float64], *, deviates: NDArray[np.float64], specific_frac: float
) -> NDArray[np.float64]:
    r"""Return the popularity of the experts in a domain, as skewed as the common one.

    Parameters
    ----------
    share : ndarray of shape (L, E)
        Part of a layer's assignments of each expert, common to all domains.
    deviates : ndarray of shape (L, E)
        Standard normal numbers, those of the domain.
    specific_frac : float
        Part of the variance of log popularity that a domain has for itself.

    Returns
    -------
    ndarray of shape (L, E)
        The values of each layer in another order.

    Notes
    -----
    A Gaussian copula [1]_ between the common order and that of a domain: with the normal
    scores :math:`z` of the ranks of `share`, experts of a domain are in the order of

    .. math:: z_d = \sqrt{1 - f}\, z + \sqrt{f}\, \epsilon_d

    Where log popularity is normal, it correlates between domains by :math:`1 - f`.

    References
    ----------
    .. [1] R. B. Nelsen, "An introduction to copulas," 2nd ed., Springer, 2006.
    """
    n_experts = share.shape[1]
    rank = np.argsort(np.argsort(share, axis=1, kind="stable"), axis=1, kind="stable")
    score = ndtri((rank + 0.5) / n_experts)
    mixed = np.sqrt(1.0 - specific_frac) * score + np.sqrt(specific_frac) * deviates
    order = np.argsort(mixed, axis=1, kind="stable")
    found = np.empty_like(share)
    np.put_along_axis(found, order, np.sort(share, axis=1), axis=1)
    return found


class DomainSource:
    """A source of steps whose tokens belong to several domains.

    Parameters
    ----------
    sources : sequence of StepSource
        Of each domain, all under one placement.
    followed : StepSource, optional
        Follows the decode tokens of all domains through one trace.
    spans : sequence of ndarray of shape (n, 2), int64, optional
        First row and number of rows of the recorded outputs of each domain, with `followed`.

    Attributes
    ----------
    span_domain : ndarray of shape (n,), int64, or None
        Domain of each of `spans`.
    """

    def __init__(
        self,
        sources: Sequence[StepSource],
        *,
        followed: StepSource | None = None,
        spans: Sequence[NDArray[np.int64]] = (),
    ) -> None:
        first = sources[0] if followed is None else followed
        self.placement = first.placement
        self.provenance = f"{first.provenance}; each of {len(sources)} domains by itself"
        self.needs_rows = followed is not None
        self.spans: NDArray[np.int64] | None = None
        self.span_domain: NDArray[np.int64] | None = None
        if spans:
            self.spans = np.concatenate(spans)
            self.span_domain = np.repeat(np.arange(len(spans)), [len(one) for one in spans])
        self._sources = tuple(sources)
        self._load = first.load
        self._followed = followed

    def begin(self) -> None:
        """Start a step without tokens."""
        self._load.begin()

    def add(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
        domain: int = 0,
    ) -> None:
        """Add tokens of one domain to the step, or of all where rows say which."""
        source = self._sources[domain]
        if self._followed is not None and rows is not None:
            source = self._followed
        source.add_to(
            self._load, tokens_per_rank=tokens_per_rank, phase=phase, rows=rows, row_rank=row_rank
        )

    def finish(self) -> StepRouting:
        """Return the routing of the step; its arrays are reused."""
        return self._load.finish()

    def route(
        self,
        tokens_per_rank: NDArray[np.int64],
        *,
        phase: Phase,
        rows: NDArray[np.int64] | None = None,
        row_rank: NDArray[np.int32] | None = None,
    ) -> StepRouting:
        """Return the routing of a step of one phase and the first domain."""
        self.begin()
        self.add(tokens_per_rank, phase=phase, rows=rows, row_rank=row_rank)
        return self.finish()
