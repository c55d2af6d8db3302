"""How many tokens a sequence gets in a step that verifies drafts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError

__all__ = ["Speculation", "mean_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Speculation:
    """Drafted tokens, and how often the model agrees with them.

    A step drafts `n_drafts` tokens one after the other and verifies all of them in its
    next forward pass; a draft counts only where all drafts before it were accepted
    [1]_.

    Attributes
    ----------
    n_drafts : int
        Drafts of a step, at least 1.
    acceptance_frac : tuple of float
        Chance of each draft to be accepted after all before it were; the last value holds
        for further ones.
    rng : Generator
        The stream that decides.

    References
    ----------
    .. [1] Y. Leviathan, M. Kalman and Y. Matias, "Fast Inference from Transformers via
       Speculative Decoding," ICML 2023, algorithm 1.
    """

    n_drafts: int
    acceptance_frac: tuple[float, ...]
    rng: np.random.Generator

    def __post_init__(self) -> None:
        if self.n_drafts < 1 or not self.acceptance_frac:
            raise ConfigError(
                f"speculation: {self.n_drafts} drafts with {len(self.acceptance_frac)} rates; "
                "expected at least one of each; lower draft_tokens to 0 to switch it off"
            )

    @property
    def by_position(self) -> NDArray[np.float64]:
        """Chance of each draft, shape (n_drafts,)."""
        return _by_position(self.acceptance_frac, self.n_drafts)

    @property
    def mean_tokens(self) -> float:
        """Expected tokens of a sequence in a step: one, and the accepted drafts."""
        return mean_tokens(self.acceptance_frac, n_drafts=self.n_drafts)

    def draw(self, n_steps: int, *, n_sequences: int) -> NDArray[np.int64]:
        """Return the tokens of every sequence in every step.

        Parameters
        ----------
        n_steps, n_sequences : int
            Steps in a row, and sequences of each.

        Returns
        -------
        ndarray of shape (n_steps, n_sequences)
            From 1 to 1 + n_drafts.
        """
        hit = self.rng.random((n_steps, n_sequences, self.n_drafts)) < self.by_position
        accepted: NDArray[np.int64] = np.cumprod(hit, axis=2, dtype=np.int64).sum(axis=2)
        return accepted + 1


def mean_tokens(acceptance_frac: Sequence[float], *, n_drafts: int) -> float:
    """Return the expected tokens of a sequence in a step.

    Parameters
    ----------
    acceptance_frac : sequence of float
        Chance of each draft after all before it; the last value holds for further ones.
    n_drafts : int
        Drafts of a step.

    Returns
    -------
    float
        One, and the accepted drafts.
    """
    return 1.0 + float(np.cumprod(_by_position(acceptance_frac, n_drafts)).sum())


def _by_position(rates: Sequence[float], n_drafts: int) -> NDArray[np.float64]:
    return np.array([rates[min(i, len(rates) - 1)] for i in range(n_drafts)])
