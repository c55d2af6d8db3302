"""Backend profiles with the constants that a fit to serving points found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rackmoe.backend.profile import BackendProfile, HostTimes
from rackmoe.schema.quantities import Kind
from rackmoe.study.calibration.serving_fit import HostFit
from rackmoe.study.calibration.serving_surrogate import HOST_CONSTANTS, HostPoint
from rackmoe.study.validation.serving_rows import DEFAULT_DRAFTS

__all__ = ["FAMILIES", "BackendFit", "GroupFit", "fitted_profiles"]

# GPUs whose hosts are alike share their constants: the same CPUs and the same engine builds.
FAMILIES: Final = {
    "gb200": "gb200",
    "gb300": "gb200",
    "b200": "b200",
    "b300": "b200",
    "h200": "h200",
    "h100": "h200",
    "h800": "h200",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFit:
    """The constants of a backend on a family of GPUs.

    Attributes
    ----------
    backend, family : str
        Whose they are.
    fit : HostFit
        The host times.
    tpot_before, tpot_fitted, tpot_held_out : float
        Median absolute error of the time per token: with the constants of the simulation,
        with the fitted ones, and of curves that a fit has not seen.
    ttft_before, ttft_fitted, ttft_held_out : float
        The same of the time to the first token.
    held_out : mapping of str to mapping
        Signed errors of each row of an unseen curve, by id and figure.
    """

    backend: str
    family: str
    fit: HostFit
    tpot_before: float
    tpot_fitted: float
    tpot_held_out: float
    ttft_before: float
    ttft_fitted: float
    ttft_held_out: float
    held_out: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFit:
    """What a backend has on all GPUs.

    Attributes
    ----------
    backend : str
        Name of the profile.
    acceptance_frac : float or None
        Chance of each draft to be accepted; None without rows.
    n_draft_rows : int
        Rows that it rests on.
    cold_start_s : float
        Time without transfers at the start of a run. [s]
    n_cold_rows : int
        Rows that it rests on.
    """

    backend: str
    acceptance_frac: float | None
    n_draft_rows: int
    cold_start_s: float
    n_cold_rows: int


def fitted_profiles(
    profiles: Mapping[str, BackendProfile],
    *,
    groups: Sequence[GroupFit],
    backends: Sequence[BackendFit],
    origin: str,
) -> dict[str, BackendProfile]:
    """Return the profiles with the fitted constants.

    Parameters
    ----------
    profiles : mapping of str to BackendProfile
        By name.
    groups : sequence of GroupFit
        By backend and family.
    backends : sequence of BackendFit
        By backend.
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
        sources = plain["sources"]
        for group in groups:
            if group.backend == name:
                source = f"serving-{group.family}"
                sources[source] = _group_source(group, origin)
                host = _fitted_host(profile.host, group.fit.point, source=source)
                for gpu in sorted(gpu for gpu, own in FAMILIES.items() if own == group.family):
                    plain["host"]["by_gpu"][gpu] = host.model_dump(mode="python")
        for one in backends:
            if one.backend == name:
                _set_backend(plain, one, origin)
        _drop_unused(plain)
        found[name] = BackendProfile.model_validate(plain)
    return found


def _group_source(group: GroupFit, origin: str) -> str:
    percent = [
        100 * value
        for value in (
            group.tpot_fitted,
            group.tpot_held_out,
            group.ttft_fitted,
            group.ttft_held_out,
        )
    ]
    return (
        f"fitted to {group.fit.n_rows} points on {group.fit.n_curves} curves of {origin}; median "
        f"error of TPOT {percent[0]:.1f} % ({percent[1]:.1f} % on curves left out), of TTFT "
        f"{percent[2]:.1f} % ({percent[3]:.1f} %)"
    )


def _fitted_host(host: HostTimes, point: HostPoint, *, source: str) -> HostTimes:
    plain = {name: host.model_dump(mode="python")[name] for name in HostTimes.model_fields}
    for name, value in zip(HOST_CONSTANTS, point.tolist(), strict=True):
        rounded = round(value) if name == "poll_steps" else float(f"{value:.3g}")
        plain[name] = {"value": rounded, "kind": Kind.FITTED, "source": source}
    return HostTimes.model_validate(plain)


def _set_backend(plain: dict[str, Any], one: BackendFit, origin: str) -> None:
    if one.acceptance_frac is not None:
        plain["speculation"]["acceptance_frac"] = {
            "value": (round(one.acceptance_frac, 3),),
            "kind": Kind.FITTED,
            "source": "serving-drafts",
        }
        plain["sources"]["serving-drafts"] = (
            f"fitted to {one.n_draft_rows} points of {origin}: one chance for every draft, of "
            f"{DEFAULT_DRAFTS} where the source names no number"
        )
    if one.cold_start_s:
        plain["kv"]["cold_start_s"] = {
            "value": float(f"{one.cold_start_s:.3g}"),
            "kind": Kind.FITTED,
            "source": "serving-cold-start",
        }
        plain["sources"]["serving-cold-start"] = (
            f"fitted to {one.n_cold_rows} points of {origin}: means of first tokens in split runs "
            "exceed their medians as if the first request of every user waited so long"
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
