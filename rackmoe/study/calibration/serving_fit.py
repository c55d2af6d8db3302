"""Fit the constants of engines to measured serving points, all that they share at once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rackmoe.study.calibration.serving_surrogate import CONSTANTS, Point, RowSurrogate
from rackmoe.study.validation.serving_score import measured_throughput, row_errors

__all__ = [
    "WEIGHTS_LEVEL",
    "EngineFit",
    "GroupKey",
    "Level",
    "engine_of",
    "fit_engines",
    "row_misses",
]

GroupKey = tuple[str, str]
"""Backend profile, which is an engine at a date, and family of GPUs."""

Level = tuple[str, ...]
"""Kind of what rows share, and which one: ``engine``; ``gpus`` and the family; ``date``, the
profile and the family; ``weights`` and the format of the experts."""

WEIGHTS_LEVEL: Final = "weights"

_MS: Final = 1e-3
# Smallest and largest values, in the order of CONSTANTS.
_LOW: Final = np.array([0.0, 0.0, 0.0, 0.85, 0.85, 0.7, 0.3, 0.0])
_HIGH: Final = np.array([6e-3, 8e-5, 0.4, 1.6, 2.0, 1.4, 0.95, 0.4])
# How far constants lie from those of the level above: an engine from what is assumed of it,
# hosts beside other GPUs from the rest of an engine, releases of half a year from each other,
# kernels of one format of weights from the others. Orders of magnitude are assumed; of the
# factors 0.7, 1, 1.4, 2 and 3.5 on all of them, and of 1/2, 1 and 2 on single levels, these
# have the least loss on curves left out.
_SPREADS: Final = MappingProxyType(
    {
        "engine": np.array([2e-3, 2e-5, 0.1, 0.2, 0.3, 0.0, 0.3, 0.1]),
        "gpus": np.array([1.2e-3, 1.2e-5, 0.08, 0.14, 0.2, 0.0, 0.0, 0.0]),
        "date": np.array([8e-4, 1.2e-5, 0.08, 0.2, 0.28, 0.0, 0.0, 0.0]),
        WEIGHTS_LEVEL: np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0]),
    }
)
# Errors that are taken for noise of the world: releases and nights differ by as much. First
# tokens of a burst depend on more than the hosts; 0.25, 0.4 and 0.6 were tried.
_NOISE: Final = MappingProxyType({"tpot": 0.1, "throughput": 0.15, "ttft": 0.6})
# Of batches sent at once nobody tells the limits of batch and tokens that the engine had.
_BATCH_NOISE: Final = 0.3
# Steps of numerical slopes; over kinks of medians and of steps that the host bounds.
_STEPS: Final = 0.025 * np.array([2e-3, 2e-5, 0.1, 0.2, 0.3, 0.2, 0.3, 0.1])


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFit:
    """The constants of an engine, and how they differ from case to case.

    Attributes
    ----------
    prior : ndarray of shape (8,)
        What is assumed of the engine, in the order of `CONSTANTS`.
    shifts : mapping of Level to ndarray of shape (8,)
        What each level adds.
    groups : tuple of GroupKey
        Where the rows were measured; those with most curves first.
    """

    prior: Point
    shifts: Mapping[Level, Point]
    groups: tuple[GroupKey, ...] = ()

    def point(self, key: GroupKey, *, weights: str = "") -> Point:
        """Return the constants of a case.

        A group without rows takes the constants of the nearest one: of the same GPUs at
        another date, else of the group with most curves.

        Parameters
        ----------
        key : GroupKey
            Profile and family of GPUs.
        weights : str, optional
            Format of the expert weights.

        Returns
        -------
        ndarray of shape (8,)
            In the order of `CONSTANTS`.
        """
        near = [group for group in self.groups if group[1] == key[1]]
        nearest = key if key in near else next(iter((*near, *self.groups)), key)
        point = self.prior.copy()
        for level in _levels(nearest, weights):
            point += self.shifts.get(level, 0.0)
        return np.clip(point, _LOW, _HIGH)


def engine_of(profile: str) -> str:
    """Return the engine of a profile, whose name ends with its date.

    Parameters
    ----------
    profile : str
        Such as ``trtllm-2026h1``.

    Returns
    -------
    str
        Such as ``trtllm``.
    """
    return profile.rpartition("-")[0]


def fit_engines(
    groups: Mapping[GroupKey, Sequence[RowSurrogate]], *, priors: Mapping[str, Point]
) -> dict[str, EngineFit]:
    r"""Return the constants of every engine.

    Parameters
    ----------
    groups : mapping of GroupKey to sequence of RowSurrogate
        The rows.
    priors : mapping of str to ndarray of shape (8,)
        What is assumed of each engine where nothing is measured.

    Returns
    -------
    dict of str to EngineFit
        By engine.

    Notes
    -----
    A hierarchy of normal priors, solved in one robust least squares (its mode): the constants
    of a row are what is assumed of its engine plus shifts :math:`\delta_l` of all levels
    :math:`l` of the row, and

    .. math::

        \sum_l |\delta_l / s_l|^2 + \sum_{c,m} \frac{1}{n_{cm}} \sum_{i \in c}
        2 (\sqrt{1 + z_{im}^2} - 1), \quad
        z_{im} = \ln(y_{im} / y_{im}^{measured}) / \sigma_m

    is least, with times per token, throughput and times to the first token as figures
    :math:`m`. Rows of a curve differ from the truth alike, so each curve :math:`c` counts once,
    and a single wild row is bounded before it is weighed. Rows thus move a shift as far as
    several curves ask for it: a family or date with few curves stays near what its engine has
    elsewhere. Which levels there are, their spreads and noises were chosen by one figure, the
    mean of the same loss on curves left out over all figures of all engines together, never by
    the error of a stratum. Choosing again without each of the 90 curves in turn chose the same,
    so that the errors on curves left out are not those of a choice made to fit them.
    """
    names = sorted({engine_of(profile) for profile, _ in groups})
    found = {}
    for name in names:
        own = [key for key in groups if engine_of(key[0]) == name]
        rows = [(key, one) for key in own for one in groups[key]]
        found[name] = _Problem(rows, prior=priors[name]).solved()
    return found


def row_misses(one: RowSurrogate, *, point: Point) -> dict[str, float]:
    """Return the errors of a row with other constants.

    Parameters
    ----------
    one : RowSurrogate
        The row.
    point : ndarray of shape (8,)
        The constants.

    Returns
    -------
    dict of str to float
        Signed relative errors of ``tpot``, ``throughput`` and ``ttft``, where scored.
    """
    predicted = one.predict(point)
    return {name: predicted[name] / value - 1 for name, value in _measured(one).items()}


def _levels(key: GroupKey, weights: str) -> tuple[Level, ...]:
    profile, family = key
    return (
        ("engine",),
        ("gpus", family),
        ("date", profile, family),
        (WEIGHTS_LEVEL, weights),
    )


def _measured(one: RowSurrogate) -> dict[str, float]:
    """Return what a row is scored on and the simulation has; times in seconds."""
    row = one.row
    values = {
        "tpot": (row.number("tpot_ms") or 0.0) * _MS,
        "ttft": (row.number("ttft_ms") or 0.0) * _MS,
        "throughput": row.number(measured_throughput(row) or "") or 0.0,
    }
    scored = row_errors(row, figures={})
    return {name: values[name] for name in scored if values[name] > 0 and name in one.figures}


class _Problem:
    """The least squares of one engine; shifts are scaled by their spreads."""

    def __init__(self, rows: Sequence[tuple[GroupKey, RowSurrogate]], *, prior: Point) -> None:
        self._prior = np.clip(prior, _LOW, _HIGH)
        self._columns: dict[Level, NDArray[np.int64]] = {}
        curves = Counter(key for key, _ in {(key, one.row.curve) for key, one in rows})
        self._groups = tuple(sorted(curves, key=lambda key: (-curves[key], key)))
        n_columns = 0
        for key, one in rows:
            for level in _levels(key, one.weights):
                if level not in self._columns:
                    n_free = int(np.count_nonzero(_SPREADS[level[0]]))
                    self._columns[level] = np.arange(n_columns, n_columns + n_free)
                    n_columns += n_free
        self._n_columns = n_columns
        counts = Counter((one.row.curve, name) for _, one in rows for name in _measured(one))
        self._terms = [
            _Term(one, design=self._design(_levels(key, one.weights)), counts=counts)
            for key, one in rows
        ]

    def solved(self) -> EngineFit:
        """Return the mode."""
        if not self._columns:
            return EngineFit(prior=self._prior, shifts={})
        fit = least_squares(
            self._residuals,
            np.zeros(self._n_columns),
            jac=self._slopes,
            max_nfev=30,
            xtol=1e-5,
            ftol=1e-5,
        )
        shifts = {level: self._design((level,)) @ fit.x for level in self._columns}
        return EngineFit(prior=self._prior, shifts=shifts, groups=self._groups)

    def _design(self, levels: Iterable[Level]) -> NDArray[np.float64]:
        """Return what the scaled shifts of some levels add to each constant."""
        design = np.zeros((len(CONSTANTS), self._n_columns))
        for level in levels:
            spread = _SPREADS[level[0]]
            free = np.flatnonzero(spread)
            design[free, self._columns[level]] = spread[free]
        return design

    def _residuals(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate(
            [scaled, *(one.residuals(self._prior + one.design @ scaled) for one in self._terms)]
        )

    def _slopes(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = [np.eye(len(scaled))]
        parts += [one.slopes(self._prior + one.design @ scaled) for one in self._terms]
        return np.concatenate(parts)


class _Term:
    """What one row adds to the squares."""

    def __init__(
        self,
        one: RowSurrogate,
        *,
        design: NDArray[np.float64],
        counts: Mapping[tuple[str, str], int],
    ) -> None:
        self.design = design
        self._one = one
        self._targets = _measured(one)
        is_batch = one.row.text("arrival") == "batch"
        self._noise = np.array([_BATCH_NOISE if is_batch else _NOISE[n] for n in self._targets])
        n_alike = np.array([counts[one.row.curve, name] for name in self._targets])
        self._weight = 1.0 / np.sqrt(n_alike)

    def residuals(self, point: Point) -> NDArray[np.float64]:
        """Return the bounded errors; half their squares is the soft L1 loss."""
        predicted = self._one.predict(np.clip(point, _LOW, _HIGH))
        ratios = np.array([predicted[name] / value for name, value in self._targets.items()])
        z = np.log(ratios) / self._noise
        bounded = np.sign(z) * np.sqrt(2 * (np.sqrt(1 + z * z) - 1))
        found: NDArray[np.float64] = self._weight * bounded
        return found

    def slopes(self, point: Point) -> NDArray[np.float64]:
        """Return the slopes of the bounded errors by the scaled shifts."""
        here = self.residuals(point)
        by_constant = np.zeros((len(here), len(point)))
        for index in np.flatnonzero(self.design.any(axis=1)).tolist():
            there = point.copy()
            fits = point[index] + _STEPS[index] < _HIGH[index]
            there[index] += _STEPS[index] if fits else -_STEPS[index]
            by_constant[:, index] = (self.residuals(there) - here) / (there[index] - point[index])
        found: NDArray[np.float64] = by_constant @ self.design
        return found
