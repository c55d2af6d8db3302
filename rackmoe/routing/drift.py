"""How the popularity of experts changes while the mix of texts does."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.routing.refinements import Refinements, refined_log_weights

__all__ = ["PopularityDrift"]


class PopularityDrift:
    r"""The popularity of experts in a mix of domains whose weights wander.

    Parameters
    ----------
    share : ndarray of shape (L, E)
        Part of a layer's assignments of each expert, common to all domains.
    n_domains : int
        Kinds of text.
    domain_sd : float
        Spread of log popularity between them.
    mix_sd : float
        Spread of the log weights of the domains over time.
    memory_s : float
        Time after which the mix has forgotten (1/e) what it was. [s]
    rng : numpy.random.Generator
        Source of randomness.

    Notes
    -----
    The log weights are Ornstein-Uhlenbeck processes [1]_, sampled exactly: after a time
    :math:`\Delta t`, with :math:`a = e^{-\Delta t / \tau}`,

    .. math:: x' = a x + \sqrt{1 - a^2}\, \epsilon, \qquad
       p_e = \sum_d \frac{e^{s x_d}}{\sum_{d'} e^{s x_{d'}}} \, p_{de}

    References
    ----------
    .. [1] G. E. Uhlenbeck, L. S. Ornstein, "On the theory of the Brownian motion,"
       Physical Review, vol. 36, pp. 823-841, 1930.
    """

    def __init__(
        self,
        share: NDArray[np.float64],
        *,
        n_domains: int,
        domain_sd: float,
        mix_sd: float,
        memory_s: float,
        rng: np.random.Generator,
    ) -> None:
        refinements = Refinements(n_domains=n_domains, domain_sd=domain_sd)
        weight = np.exp(
            refined_log_weights(share, sharpening=1.0, refinements=refinements, rng=rng)
        )
        self._by_domain = weight / weight.sum(axis=2, keepdims=True)
        self._mix_sd = mix_sd
        self._memory_s = memory_s
        self._rng = rng
        self._level = rng.standard_normal(n_domains)

    @property
    def mix(self) -> NDArray[np.float64]:
        """Part of the tokens of each domain now, shape (n_domains,)."""
        weight = np.exp(self._mix_sd * self._level)
        return np.asarray(weight / weight.sum())

    @property
    def share(self) -> NDArray[np.float64]:
        """Part of a layer's assignments of each expert now, shape (L, E)."""
        return np.asarray(np.tensordot(self.mix, self._by_domain, axes=1))

    def advance(self, time_s: float) -> None:
        """Let some time go by.

        Parameters
        ----------
        time_s : float
            How much. [s]
        """
        keep = np.exp(-time_s / self._memory_s)
        fresh = self._rng.standard_normal(self._level.size)
        self._level = keep * self._level + np.sqrt(1.0 - keep * keep) * fresh
