"""Which measured serving points are nearest to an operating point, and the errors there."""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from rackmoe.errors import ConfigError
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.validation.serving_rows import ServingRow, read_serving_points, row_backend
from rackmoe.study.validation.serving_score import METRICS

__all__ = [
    "ERRORS_FILE",
    "KINDS",
    "QUANTITIES",
    "Anchor",
    "OperatingPoint",
    "anchor_errors",
    "measured_anchors",
    "row_point",
]

ERRORS_FILE: Final = "serving_validation.csv"
"""Errors of the last validation of the shipped points, in scenarios/calibration.

Written by ``rackmoe validate serving scenarios/calibration/serving_points.csv --format csv``.
"""

_FOLDER: Final = "scenarios/calibration"
_POINTS_FILE: Final = "serving_points.csv"
_SCORED_TRUST: Final = ("A", "B")
# Formats of the weights by the width of an expert's weight.
_FOUR_BITS: Final = ("nvfp4", "nvfp4_wo", "mxfp4", "w4a8_mxfp4", "int4")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What decides how a deployment performs, as far as measured points tell it.

    Attributes
    ----------
    hardware, model, engine : str
        Names of the profile, the model and the serving engine.
    mode : str
        ``agg``, ``disagg``, ``decode_only`` or ``prefill_only``.
    speculation : str
        ``on`` or ``off``.
    batch_per_gpu : float
        Sequences at a time over GPUs that decode; NaN where unknown.
    context_tokens : float
        Mean prompt and half the mean output.
    n_gpus : float
        GPUs of a decoding replica; of a prefilling one where nothing decodes.
    weight_bits : float
        Width of an expert's weight: 4, 8 or 16. [bit]
    backend : str
        Profile of the engine, which has a date; empty where nobody asks.
    """

    hardware: str
    model: str
    engine: str
    mode: str
    speculation: str
    batch_per_gpu: float
    context_tokens: float
    n_gpus: float
    weight_bits: float
    backend: str = ""


KINDS: Final = ("hardware", "model", "mode", "engine", "speculation")
"""What two points have in common or not, the most important first."""

QUANTITIES: Mapping[str, str] = MappingProxyType(
    {
        "batch_per_gpu": "sequences per GPU",
        "context_tokens": "tokens of context",
        "n_gpus": "GPUs of a replica",
        "weight_bits": "bits of a weight",
    }
)
"""In what two points are nearer or farther, and how people call it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A measured point beside an operating point.

    Attributes
    ----------
    id, curve : str
        Cells of the measured row.
    point : OperatingPoint
        Where it was measured.
    differs : tuple of str
        Which of `KINDS` are others there.
    ratios : mapping of str to float
        The operating point over the anchor, for each of `QUANTITIES` that both have.
    errors : mapping of str to float
        Signed relative errors of ``tpot``, ``throughput`` and ``ttft`` at the anchor.
    """

    id: str
    curve: str
    point: OperatingPoint
    differs: tuple[str, ...]
    ratios: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def distance(self) -> float:
        """Sum of the logarithms of the ratios, 0 for the same point."""
        return sum(abs(math.log(ratio)) for ratio in self.ratios.values())


def measured_anchors(at: OperatingPoint, *, errors_csv: Path | None = None) -> tuple[Anchor, ...]:
    """Return the measured points that an operating point may be judged by, the best first.

    Parameters
    ----------
    at : OperatingPoint
        Where the simulator is asked.
    errors_csv : pathlib.Path, optional
        Errors of a validation, as CSV; the shipped ones by default.

    Returns
    -------
    tuple of Anchor
        All scored points: those with the most in common first (hardware before model, mode,
        engine and speculation), then by distance.
    """
    errors = anchor_errors(errors_csv)
    anchors = [
        Anchor(
            id=row.id,
            curve=row.curve,
            point=point,
            differs=tuple(k for k in KINDS if getattr(point, k) != getattr(at, k)),
            ratios=_ratios(at, point),
            errors=errors.get(row.id, {}),
        )
        for row, point in _measured()
    ]
    return tuple(sorted(anchors, key=_order))


def _order(anchor: Anchor) -> tuple[object, ...]:
    return ([kind in anchor.differs for kind in KINDS], anchor.distance, anchor.id)


def _ratios(at: OperatingPoint, point: OperatingPoint) -> dict[str, float]:
    ratios = {}
    for name in QUANTITIES:
        here, there = getattr(at, name), getattr(point, name)
        if here > 0 and there > 0 and math.isfinite(here / there):
            ratios[name] = here / there
    return ratios


@cache
def _measured() -> tuple[tuple[ServingRow, OperatingPoint], ...]:
    rows = read_serving_points(shipped_folder(_FOLDER) / _POINTS_FILE)
    return tuple((row, row_point(row)) for row in rows if row.text("trust") in _SCORED_TRUST)


def row_point(row: ServingRow) -> OperatingPoint:
    """Return where a row was measured.

    Parameters
    ----------
    row : ServingRow
        A measured row.

    Returns
    -------
    OperatingPoint
        Its cells; NaN for a batch that the source does not give.
    """
    phase = "prefill" if row.text("mode") == "prefill_only" else "decode"
    n_gpus = max(row.gpus(phase), 1)
    users = row.number("concurrency")
    batch = row.number("batch_per_gpu")
    if phase == "prefill":
        batch = math.nan  # what the file gives are tokens of a step
    elif batch is None:
        batch = math.nan if users is None or math.isinf(users) else users / n_gpus
    weights = row.text("weights_dtype")
    bits = 4.0 if weights in _FOUR_BITS else 8.0 if "fp8" in weights else 16.0
    shorter = 0.9 if row.text("length_model") == "uniform_0.8_1.0" else 1.0
    tokens = (row.number("isl") or 0.0) + (row.number("osl") or 0.0) / 2
    return OperatingPoint(
        hardware=row.text("hardware"),
        model=row.text("model"),
        engine=row.text("engine"),
        mode=row.text("mode"),
        speculation=row.text("mtp") or "off",
        batch_per_gpu=batch,
        context_tokens=shorter * tokens,
        n_gpus=n_gpus / max(row.count(f"{phase}_workers", default=1), 1),
        weight_bits=bits,
        backend=row_backend(row),
    )


def anchor_errors(errors_csv: Path | None = None) -> dict[str, dict[str, float]]:
    """Return the errors of a validation by row.

    Parameters
    ----------
    errors_csv : pathlib.Path, optional
        What ``rackmoe validate serving FILE --format csv`` wrote; the shipped file by default.

    Returns
    -------
    dict of str to dict
        Signed relative errors of the scored figures by id; empty without a file.

    Raises
    ------
    ConfigError
        If the file has another layout.
    """
    path = errors_csv or shipped_folder(_FOLDER) / ERRORS_FILE
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {f"error_{metric}": metric for metric in METRICS}
    if rows and not {"id", *names} <= rows[0].keys():
        raise ConfigError(
            f"{path}: columns {', '.join(rows[0])}; expected id, {', '.join(names)}; write it with"
            " 'rackmoe validate serving FILE --format csv'"
        )
    return {
        row["id"]: {metric: float(row[name]) for name, metric in names.items() if row[name]}
        for row in rows
    }
