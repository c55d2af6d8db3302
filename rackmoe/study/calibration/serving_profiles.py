"""Backend profiles with the constants that a fit to serving points found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rackmoe.backend.profile import BackendProfile
from rackmoe.schema.quantities import Kind
from rackmoe.study.calibration.serving_fit import (
    WEIGHTS_LEVEL,
    EngineFit,
    GroupKey,
    engine_of,
)
from rackmoe.study.calibration.serving_surrogate import CONSTANTS, HOST_CONSTANTS, Point

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
_FACTOR_DECIMALS: Final = 3
_OF_ALL_GPUS: Final = ("by_gpu", "weights_stretch")


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
    point : ndarray of shape (8,)
        In the order of `CONSTANTS`, for weights of no format in particular.
    n_rows, n_curves : int
        What they rest on.
    errors : mapping of str to MetricErrors
        By ``tpot``, ``throughput`` and ``ttft``.
    """

    backend: str
    family: str
    point: Point
    n_rows: int
    n_curves: int
    errors: Mapping[str, MetricErrors]


def fitted_profiles(
    profiles: Mapping[str, BackendProfile],
    *,
    engines: Mapping[str, EngineFit],
    groups: Mapping[GroupKey, GroupFit],
    origin: str,
) -> dict[str, BackendProfile]:
    """Return the profiles with the fitted constants.

    Parameters
    ----------
    profiles : mapping of str to BackendProfile
        By name.
    engines : mapping of str to EngineFit
        By engine; profiles of other engines stay as they are.
    groups : mapping of GroupKey to GroupFit
        What each fit rests on, by backend and family; a family that has none takes the
        constants of the nearest group.
    origin : str
        File and date of the fit.

    Returns
    -------
    dict of str to BackendProfile
        By name; `hosts` of every GPU of a family hold its constants.
    """
    found: dict[str, BackendProfile] = {}
    for name, profile in profiles.items():
        plain: dict[str, Any] = profile.model_dump(mode="python")
        engine = engines.get(engine_of(name))
        if engine is not None:
            for gpu, family in FAMILIES.items():
                source = f"serving-{family}"
                point = engine.point((name, family))
                plain["sources"][source] = _group_source(groups.get((name, family)), origin)
                plain["host"]["by_gpu"][gpu] = _host(plain["host"], point, source=source)
            n_rows = sum(
                group.n_rows for (other, _), group in groups.items() if _alike(other, name)
            )
            _set_shared(plain, engine, f"{n_rows} points of {origin}")
        _drop_unused(plain)
        found[name] = BackendProfile.model_validate(plain)
    return found


def _group_source(group: GroupFit | None, origin: str) -> str:
    if group is None:
        return f"no points; what was fitted to {origin} at other dates or beside other GPUs"
    words = [
        f"{_WORDS[name]} {_PERCENT * one.fitted:.1f} % ({_PERCENT * one.held_out:.1f} %)"
        for name, one in group.errors.items()
        if one.fitted == one.fitted
    ]
    return (
        f"fitted to {group.n_rows} points on {group.n_curves} curves of {origin}, and to all "
        "others of the engine where these say little; median error, and in brackets that of "
        f"curves left out: {', '.join(words)}"
    )


def _host(general: Mapping[str, Any], point: Point, *, source: str) -> dict[str, Any]:
    plain = {name: value for name, value in general.items() if name not in _OF_ALL_GPUS}
    for name, value in zip(HOST_CONSTANTS, point.tolist(), strict=False):
        rounded = float(f"{round(value, _DECIMALS):.3g}")
        # what the points do not move stays the assumption that it was
        if rounded != general[name]["value"]:
            plain[name] = {"value": rounded, "kind": Kind.FITTED, "source": source}
    return plain


def _alike(one: str, other: str) -> bool:
    return engine_of(one) == engine_of(other)


def _set_shared(plain: dict[str, Any], engine: EngineFit, origin: str) -> None:
    """Set what an engine has on all GPUs and at all dates."""
    at = dict(zip(CONSTANTS, engine.point(("", "")).tolist(), strict=True))
    acceptance, setup_s = at["acceptance_frac"], at["setup_s"]
    plain["speculation"]["acceptance_frac"] = {
        "value": (round(acceptance, 3),),
        "kind": Kind.FITTED,
        "source": "serving-drafts",
    }
    plain["sources"]["serving-drafts"] = (
        f"fitted to {origin}, those with drafts among them: one chance for every draft"
    )
    plain["kv"]["setup_s"] = {
        "value": float(f"{setup_s:.3g}"),
        "kind": Kind.FITTED,
        "source": "serving-setup",
    }
    plain["sources"]["serving-setup"] = (
        f"fitted to {origin}: how much later first tokens of split runs come, beside transfers "
        "and queues; a second frontend is in it"
    )
    _set_weights(plain, engine, origin)


def _set_weights(plain: dict[str, Any], engine: EngineFit, origin: str) -> None:
    """Set how kernels of each format stretch beside the others."""
    at = CONSTANTS.index("weights_stretch")
    formats = sorted(level[1] for level in engine.shifts if level[0] == WEIGHTS_LEVEL)
    plain["host"]["weights_stretch"] = {
        name: {
            "value": round(float(engine.point(("", ""), weights=name)[at]), _FACTOR_DECIMALS),
            "kind": Kind.FITTED,
            "source": "serving-weights",
        }
        for name in formats
    }
    plain["sources"]["serving-weights"] = (
        f"fitted to {origin}: kernels of a format as served beside those of the others, where "
        "only sequences decode; laws measured on single kernels miss by other shares"
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
