"""The points of each kind of validation, in the units that people read."""

from dataclasses import dataclass

from rackmoe.study.validation.kernels import KernelValidation
from rackmoe.study.validation.network import NetworkValidation
from rackmoe.study.validation.power import PowerValidation

__all__ = ["LawPoint", "kernel_points", "network_points", "power_points"]

_US, _GB = 1e-6, 1e9
_SHOWN_UNITS = {"s": (_US, "us"), "B/s": (_GB, "GB/s")}


@dataclass(frozen=True, slots=True, kw_only=True)
class LawPoint:
    """A measured point beside what a law says.

    Attributes
    ----------
    name, group : str
        What it is, and with which others it is drawn.
    measured, predicted : float or None
        In `unit`.
    unit : str
        For people, such as ``us`` or ``W``.
    reason : str
        Why there is no prediction, or empty.
    is_left_out : bool
        Whether strata leave it out, as figures then do.
    """

    name: str
    group: str
    measured: float | None
    predicted: float | None
    unit: str
    reason: str = ""
    is_left_out: bool = False

    @property
    def error(self) -> float | None:
        """Signed relative error; None where there is none."""
        if not self.measured or self.predicted is None:
            return None
        return self.predicted / self.measured - 1


def kernel_points(found: KernelValidation) -> list[LawPoint]:
    """Return the points of a table of kernels, in microseconds.

    Parameters
    ----------
    found : KernelValidation
        A validation.

    Returns
    -------
    list of LawPoint
        Grouped by operator, source and format.
    """
    return [
        LawPoint(
            name=f"row {one.row}",
            group=f"{one.operator} {one.source} {one.dtype}",
            measured=_scaled(one.measured_s, _US),
            predicted=_scaled(one.predicted_s, _US),
            unit="us",
            reason=one.reason,
            is_left_out=one.excluded,
        )
        for one in found.points
    ]


def network_points(found: NetworkValidation) -> list[LawPoint]:
    """Return the points of a table of communication, in microseconds or GB/s.

    Parameters
    ----------
    found : NetworkValidation
        A validation.

    Returns
    -------
    list of LawPoint
        Grouped by machine and role: whether the constants rest on a row.
    """
    points = []
    for one in found.points:
        scale, unit = _SHOWN_UNITS[one.unit]
        points.append(
            LawPoint(
                name=f"row {one.row}, {one.stratum}",
                group=f"{one.stratum.split()[0] if one.stratum else 'unknown'}, {one.role}",
                measured=_scaled(one.measured, scale),
                predicted=_scaled(one.predicted, scale),
                unit=unit,
                reason=one.reason,
            )
        )
    return points


def power_points(found: PowerValidation) -> list[LawPoint]:
    """Return the points of a file of power, in watts, joules or as ratios.

    Parameters
    ----------
    found : PowerValidation
        A validation.

    Returns
    -------
    list of LawPoint
        Grouped by family and role.
    """
    return [
        LawPoint(
            name=one.id,
            group=f"{one.family} ({one.role})",
            measured=one.measured,
            predicted=one.predicted,
            unit=one.unit,
            reason=one.reason,
            is_left_out=not one.is_scored,
        )
        for one in found.points
    ]


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value / scale
