"""Backend profiles with the constants that a fit to serving points found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rackmoe.backend.profile import BackendProfile
from rackmoe.schema.quantities import Kind
from rackmoe.study.calibration.serving_fit import GroupKey, PointFit, nearest_point
from rackmoe.study.calibration.serving_surrogate import HOST_CONSTANTS, Point

__all__ = ["FAMILIES", "GroupFit", "MetricErrors", "fitted_profiles"]

# GPUs whose hosts are alike share their constants: the same CPUs and the same engine builds.
FAMILIES: Final = {
    "gb200": "gb200",
    "gb300": "gb200",
    "b200": "b200",
    "b300": "b200",
    "h200": "h200",
    "h100": "h100",
    "h800": "h100",
}
_WORDS: Final = {"tpot": "TPOT", "throughput": "throughput", "ttft": "TTFT"}
_PERCENT: Final = 100
# Less than 10 ns is no time of a host.
_DECIMALS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricErrors:
    """Median absolute errors of a figure; every curve weighs the same.

    Attributes
    ----------
    before, fitted, held_out : float
        With the constants of the simulation, with the fitted ones, and of curves that a fit
        has not seen; NaN where nothing is scored.
    """

    before: float
    fitted: float
    held_out: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFit:
    """The constants of a backend beside a family of GPUs.

    Attributes
    ----------
    backend, family : str
        Whose they are.
    fit : PointFit
        The constants.
    errors : mapping of str to MetricErrors
        By ``tpot``, ``throughput`` and ``ttft``.
    """

    backend: str
    family: str
    fit: PointFit
    errors: Mapping[str, MetricErrors]


def fitted_profiles(
    profiles: Mapping[str, BackendProfile],
    *,
    groups: Mapping[GroupKey, GroupFit],
    priors: Mapping[str, Point],
    origin: str,
) -> dict[str, BackendProfile]:
    """Return the profiles with the fitted constants.

    Parameters
    ----------
    profiles : mapping of str to BackendProfile
        By name.
    groups : mapping of GroupKey to GroupFit
        By backend and family; a family that has none takes the nearest constants.
    priors : mapping of str to ndarray of shape (8,)
        What is assumed of each backend.
    origin : str
        File and date of the fit.

    Returns
    -------
    dict of str to BackendProfile
        By name; `hosts` of every GPU of a family hold its constants.
    """
    fits = {key: group.fit for key, group in groups.items()}
    found: dict[str, BackendProfile] = {}
    for name, profile in profiles.items():
        plain: dict[str, Any] = profile.model_dump(mode="python")
        if any(backend == name for backend, _ in groups):
            for gpu, family in FAMILIES.items():
                source = f"serving-{family}"
                point = nearest_point((name, family), fits=fits, priors=priors)
                group = groups.get((name, family))
                plain["sources"][source] = _group_source(group, origin)
                plain["host"]["by_gpu"][gpu] = _host(plain["host"], point, source=source)
            own = [fit for (backend, _), fit in fits.items() if backend == name]
            _set_shared(plain, own, origin)
        _drop_unused(plain)
        found[name] = BackendProfile.model_validate(plain)
    return found


def _group_source(group: GroupFit | None, origin: str) -> str:
    if group is None:
        return f"no points; what was fitted to {origin} beside other GPUs"
    words = [
        f"{_WORDS[name]} {_PERCENT * one.fitted:.1f} % ({_PERCENT * one.held_out:.1f} %)"
        for name, one in group.errors.items()
        if one.fitted == one.fitted
    ]
    return (
        f"fitted to {group.fit.n_rows} points on {group.fit.n_curves} curves of {origin}; median "
        f"error, and in brackets that of curves left out: {', '.join(words)}"
    )


def _host(general: Mapping[str, Any], point: Point, *, source: str) -> dict[str, Any]:
    plain = {name: value for name, value in general.items() if name != "by_gpu"}
    for name, value in zip(HOST_CONSTANTS, point.tolist(), strict=False):
        rounded = float(f"{round(value, _DECIMALS):.3g}")
        # what the points do not move stays the assumption that it was
        if rounded != general[name]["value"]:
            plain[name] = {"value": rounded, "kind": Kind.FITTED, "source": source}
    return plain


def _set_shared(plain: dict[str, Any], fits: list[PointFit], origin: str) -> None:
    """Set what a backend has on all GPUs."""
    acceptance, setup_s = fits[0].point[len(HOST_CONSTANTS) :].tolist()
    n_rows = sum(fit.n_rows for fit in fits)
    plain["speculation"]["acceptance_frac"] = {
        "value": (round(acceptance, 3),),
        "kind": Kind.FITTED,
        "source": "serving-drafts",
    }
    plain["sources"]["serving-drafts"] = (
        f"fitted to {n_rows} points of {origin}, those with drafts among them: one chance for "
        "every draft"
    )
    plain["kv"]["setup_s"] = {
        "value": float(f"{setup_s:.3g}"),
        "kind": Kind.FITTED,
        "source": "serving-setup",
    }
    plain["sources"]["serving-setup"] = (
        f"fitted to {n_rows} points of {origin}: how much later first tokens of split runs come, "
        "beside transfers and queues; a second frontend is in it"
    )


def _drop_unused(plain: dict[str, Any]) -> None:
    """Drop sources that nothing names any more."""
    used: set[str] = set()

    def walk(node: object) -> None:
        if isinstance(node, Mapping):
            if "source" in node and "kind" in node:
                used.add(str(node["source"]))
            for value in node.values():
                walk(value)

    walk({key: value for key, value in plain.items() if key != "sources"})
    plain["sources"] = {key: text for key, text in plain["sources"].items() if key in used}
