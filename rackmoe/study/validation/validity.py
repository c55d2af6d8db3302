"""How far the figures of a run can be trusted: the nearest measured points and their errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from rackmoe.model.dtypes import weight_bits
from rackmoe.simulation import Result
from rackmoe.study.validation.anchors import (
    ERRORS_FILE,
    KINDS,
    QUANTITIES,
    Anchor,
    OperatingPoint,
    measured_anchors,
)
from rackmoe.study.validation.serving_score import METRICS

__all__ = ["Validity", "run_point", "run_validity", "validity_at"]

N_ANCHORS: Final = 3
"""Anchors that a result names."""

# Less than this beyond the measured range is within the noise of what a range is.
_FACTOR: Final = 1.25
# Between 4, 8 and 16 bits, shares of scales included.
_WHOLE: Final = 100.0
_NIBBLE, _BYTE = 6.0, 12.0
_HARDWARE_MISSING: Final = "not validated on this hardware"
_NAMES: Final = {"tpot": "TPOT", "throughput": "throughput", "ttft": "TTFT"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """What stands behind the figures of a run.

    Attributes
    ----------
    status : str
        ``validated``: measured points with the same hardware, model, engine, mode and
        speculation surround it; ``extrapolated``: it is outside of them, or they differ in a
        kind; ``not validated``: nothing was measured on this hardware, or no error is known.
    statement : str
        The same in a sentence.
    point : OperatingPoint
        Where the run operates.
    anchors : tuple of Anchor
        The nearest measured points.
    errors : mapping of str to float
        Median absolute relative error of the anchors, by figure.
    outside : tuple of str
        What is outside the measured range, and between which bounds that is.
    """

    status: str
    statement: str
    point: OperatingPoint
    anchors: tuple[Anchor, ...]
    errors: Mapping[str, float]
    outside: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, ready for JSON.

        Returns
        -------
        dict
            ``status``, ``statement``, the ``point``, ``anchors`` with distance, ratios and
            errors, ``error_medians``, ``outside``, and the ``source`` of the errors.
        """
        return {
            "status": self.status,
            "statement": self.statement,
            "point": self.point,
            "anchors": [
                {
                    "id": one.id,
                    "curve": one.curve,
                    "differs": list(one.differs),
                    "distance": one.distance,
                    "ratios": dict(one.ratios),
                    "errors": dict(one.errors),
                }
                for one in self.anchors
            ],
            "error_medians": dict(self.errors),
            "outside": list(self.outside),
            "source": f"scenarios/calibration/{ERRORS_FILE}",
        }


def run_validity(result: Result) -> Validity:
    """Return what stands behind the figures of a run.

    Parameters
    ----------
    result : Result
        From `simulate`.

    Returns
    -------
    Validity
        Nearest measured points, their errors, and what is outside the measured range.
    """
    return validity_at(run_point(result))


def validity_at(at: OperatingPoint, *, anchors: Sequence[Anchor] | None = None) -> Validity:
    """Return what stands behind figures at an operating point.

    Parameters
    ----------
    at : OperatingPoint
        Where the simulator is asked.
    anchors : sequence of Anchor, optional
        Measured points, the best first; the shipped ones by default.

    Returns
    -------
    Validity
        By the measured points that have the most in common with it.
    """
    known = measured_anchors(at) if anchors is None else tuple(anchors)
    alike = [one for one in known if known and one.differs == known[0].differs]
    nearest = tuple(alike[:N_ANCHORS])
    errors = {
        metric: float(np.median(sizes))
        for metric in METRICS
        if (sizes := [abs(one.errors[metric]) for one in nearest if metric in one.errors])
    }
    differs = nearest[0].differs if nearest else KINDS
    outside = (
        *(f"{kind} '{getattr(at, kind)}': {_differing(kind, known)}" for kind in differs),
        *([] if "engine" in differs else _other_date(at, nearest)),
        *_beyond(at, alike),
    )
    status = "extrapolated" if outside else "validated"
    if "hardware" in differs or not errors:
        status = "not validated"
    return Validity(
        status=status,
        statement=_statement(status, errors=errors, outside=outside, nearest=nearest),
        point=at,
        anchors=nearest,
        errors=errors,
        outside=outside,
    )


def _differing(kind: str, known: Sequence[Anchor]) -> str:
    if kind == "hardware":
        return _HARDWARE_MISSING
    is_known = any(kind not in one.differs for one in known)
    return "measured only in other combinations" if is_known else "never measured"


def _other_date(at: OperatingPoint, nearest: Sequence[Anchor]) -> list[str]:
    """Say so where the nearest points were measured with the engine at other dates."""
    measured = sorted({one.point.backend for one in nearest})
    if not nearest or at.backend in measured:
        return []
    return [f"backend '{at.backend}': measured with {', '.join(measured)}"]


def _beyond(at: OperatingPoint, alike: Sequence[Anchor]) -> list[str]:
    found = []
    for name, words in QUANTITIES.items():
        here = getattr(at, name)
        values = [getattr(one.point, name) for one in alike]
        values = [value for value in values if math.isfinite(value) and value > 0]
        if not values or not math.isfinite(here) or here <= 0:
            continue
        low, high = min(values), max(values)
        if not low / _FACTOR <= here <= high * _FACTOR:
            found.append(f"{_show(here)} {words}: measured from {_show(low)} to {_show(high)}")
    return found


def _show(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE else f"{value:.3g}"


def _statement(
    status: str,
    *,
    errors: Mapping[str, float],
    outside: Sequence[str],
    nearest: Sequence[Anchor],
) -> str:
    parts = [status]
    if errors:
        sizes = ", ".join(f"{_NAMES[name]} {size:.0%}" for name, size in errors.items())
        which = (
            "measured point was" if len(nearest) == 1 else f"{len(nearest)} measured points were"
        )
        parts.append(f"the nearest {which} off by {sizes}")
    elif nearest:
        parts.append("the nearest measured points have no known error")
    if outside:
        parts.append("outside what was measured: " + "; ".join(outside))
    return ". ".join(part[0].upper() + part[1:] for part in parts)


def run_point(result: Result) -> OperatingPoint:
    """Return where a run operates.

    Parameters
    ----------
    result : Result
        From `simulate`.

    Returns
    -------
    OperatingPoint
        Its batch and context are means over the run.
    """
    scenario = result.scenario
    deployment, workload = scenario.document.deployment, scenario.document.workload
    pools = deployment.pools
    decode = pools.get("decode") or pools.get("aggregated") or next(iter(pools.values()))
    requests, steps = result.to_frame("requests"), result.to_frame("steps")
    decoding = steps[steps["n_sequences"] > 0]
    spent_s = decoding["duration_s"].to_numpy(np.float64)
    batch = math.nan
    if spent_s.sum() > 0:
        mean = np.average(decoding["n_sequences"].to_numpy(np.float64), weights=spent_s)
        batch = float(mean) / decode.n_gpus_per_replica
    mode = "disagg" if deployment.prefill is not None else "agg"
    if workload.is_prefilled:
        mode = "decode_only"
    elif deployment.prefill is None and not len(decoding):
        mode = "prefill_only"
    return OperatingPoint(
        hardware=scenario.machine.name,
        model=scenario.arch.name,
        engine=scenario.backend.engine,
        mode=mode,
        speculation="on" if decode.draft_tokens else "off",
        batch_per_gpu=batch,
        context_tokens=_context_tokens(requests),
        n_gpus=float(decode.n_gpus_per_replica),
        weight_bits=_bits(scenario.arch.dtypes.routed_expert),
        backend=scenario.backend.name,
    )


def _context_tokens(requests: pd.DataFrame) -> float:
    """Return the mean prompt and half the mean output of the requests that are done."""
    done = requests[requests["last_token_s"].notna()]
    if not len(done):
        return math.nan
    return float(done["n_input_tokens"].mean() + done["n_output_tokens"].mean() / 2)


def _bits(dtype: str) -> float:
    """Return the width of a weight without its share of the scales. [bit]."""
    stored = weight_bits(dtype)
    if stored < _NIBBLE:
        return 4.0
    return 8.0 if stored < _BYTE else 16.0
