"""How long prompts and answers are: length models, sampled jointly."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.serving.histograms import Histograms

__all__ = [
    "FixedLengths",
    "HistogramLengths",
    "LengthModel",
    "LognormalLengths",
    "TraceLengths",
    "UniformLengths",
]

IntArray = NDArray[np.int64]

# decimal places at which 0.8 x nominal counts as whole, so that 0.8 x 35 is 28, not 29
_ROUNDING_PLACES = 9


class LengthModel(Protocol):
    """A joint distribution of input and output lengths."""

    def sample(self, n_requests: int, *, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw lengths.

        Parameters
        ----------
        n_requests : int
            How many pairs to draw.
        rng : Generator
            The stream named ``lengths``.

        Returns
        -------
        tuple of ndarray of shape (n_requests,)
            Input and output tokens, each at least 1.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedLengths:
    """Every request has the same lengths.

    Parameters
    ----------
    input_tokens, output_tokens : int
        Prompt and answer length, at least 1.
    """

    input_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        _check_nominal(self.input_tokens, self.output_tokens)

    def sample(self, n_requests: int, *, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Return `n_requests` equal pairs; see `LengthModel.sample`."""
        del rng
        return (
            np.full(n_requests, self.input_tokens, np.int64),
            np.full(n_requests, self.output_tokens, np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UniformLengths:
    """Each length is uniform on a range of its nominal value, independently.

    With 0.8 to 1.0 this is the ``uniform_0.8_1.0`` of public serving
    benchmarks, whose mean is 0.9 of nominal.

    Parameters
    ----------
    input_tokens, output_tokens : int
        Nominal lengths, at least 1.
    low_frac, high_frac : float
        Ends of the range relative to nominal, both included.
    """

    input_tokens: int
    output_tokens: int
    low_frac: float = 0.8
    high_frac: float = 1.0

    def __post_init__(self) -> None:
        _check_nominal(self.input_tokens, self.output_tokens)
        if not 0 < self.low_frac <= self.high_frac < math.inf:
            raise ConfigError(
                f"lengths.spread: [{self.low_frac}, {self.high_frac}]; expected"
                " 0 < low <= high; write for example [0.8, 1.0]"
            )

    def sample(self, n_requests: int, *, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw the pairs; see `LengthModel.sample`."""
        return (
            self._draw(self.input_tokens, n_requests, rng),
            self._draw(self.output_tokens, n_requests, rng),
        )

    def _draw(self, nominal: int, n_requests: int, rng: np.random.Generator) -> IntArray:
        low = max(1, math.ceil(round(self.low_frac * nominal, _ROUNDING_PLACES)))
        high = max(low, math.floor(round(self.high_frac * nominal, _ROUNDING_PLACES)))
        return rng.integers(low, high, size=n_requests, dtype=np.int64, endpoint=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalLengths:
    """Lengths are log-normal, their logarithms correlated.

    Parameters
    ----------
    input_tokens, output_tokens : float
        Means of the distributions, at least 1.
    input_cv, output_cv : float
        Coefficients of variation, standard deviation / mean.
    correlation : float
        Correlation of the two logarithms, -1 to 1.
    """

    input_tokens: float
    output_tokens: float
    input_cv: float = 1.0
    output_cv: float = 1.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        _check_nominal(self.input_tokens, self.output_tokens)
        for name, cv in (("input_cv", self.input_cv), ("output_cv", self.output_cv)):
            if not 0 <= cv < math.inf:
                raise ConfigError(f"lengths.{name}: {cv}; expected 0 or more; write for example 1")
        if not -1 <= self.correlation <= 1:
            raise ConfigError(
                f"lengths.correlation: {self.correlation}; expected -1 to 1; write for example 0"
            )

    def sample(self, n_requests: int, *, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        r"""Draw the pairs; see `LengthModel.sample`.

        Notes
        -----
        A log-normal variable of mean :math:`m` and coefficient of variation
        :math:`c` has :math:`\sigma^2 = \ln(1 + c^2)` and
        :math:`\mu = \ln m - \sigma^2 / 2`; values are rounded to whole
        tokens and at least 1.
        """
        normal = rng.standard_normal((2, n_requests))
        own = math.sqrt(1 - self.correlation**2)
        return (
            _lognormal(normal[0], mean=self.input_tokens, cv=self.input_cv),
            _lognormal(
                self.correlation * normal[0] + own * normal[1],
                mean=self.output_tokens,
                cv=self.output_cv,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceLengths:
    """Pairs drawn with replacement from a trace, input and output kept together.

    Parameters
    ----------
    input_tokens, output_tokens : ndarray of shape (n_pairs,)
        The recorded pairs, for example of a `RequestTable`.
    """

    input_tokens: IntArray
    output_tokens: IntArray

    def __post_init__(self) -> None:
        if self.input_tokens.shape != self.output_tokens.shape or not self.input_tokens.size:
            raise ShapeError(
                f"lengths: {self.input_tokens.size} inputs and {self.output_tokens.size} outputs;"
                " expected as many of each, at least one"
            )

    def sample(self, n_requests: int, *, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw the pairs; see `LengthModel.sample`."""
        rows = rng.integers(0, self.input_tokens.size, size=n_requests)
        return self.input_tokens[rows], self.output_tokens[rows]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HistogramLengths:
    """Input and output drawn independently, each from a histogram.

    Parameters
    ----------
    input_tokens, output_tokens : Histograms
        One histogram each; see `build_histograms`.
    """

    input_tokens: Histograms
    output_tokens: Histograms

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            histograms: Histograms = getattr(self, name)
            if len(histograms) != 1 or histograms.is_empty.any() or histograms.values.min() < 1:
                raise ShapeError(
                    f"lengths.{name}: {len(histograms)} histograms; expected one, of values of at"
                    " least 1 token"
                )

    def sample(self, n_requests: int, *, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Draw the pairs; see `LengthModel.sample`."""
        which = np.zeros(n_requests, np.int64)
        return self.input_tokens.sample(which, rng=rng), self.output_tokens.sample(which, rng=rng)


def _lognormal(normal: NDArray[np.float64], *, mean: float, cv: float) -> IntArray:
    variance = math.log1p(cv**2)
    lengths = mean * np.exp(math.sqrt(variance) * normal - variance / 2)
    return np.maximum(np.rint(lengths), 1).astype(np.int64)


def _check_nominal(input_tokens: float, output_tokens: float) -> None:
    problems = [
        f"lengths.{name}: {value}; expected at least 1 token; write for example 1024"
        for name, value in (("input", input_tokens), ("output", output_tokens))
        if not 1 <= value < math.inf
    ]
    if problems:
        raise ConfigError(*problems)
