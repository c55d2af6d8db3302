"""Files that a calibration on serving points writes."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rackmoe.schema.shipped import shipped_path
from rackmoe.study.calibration.backend_yaml import backend_text, with_comments
from rackmoe.study.calibration.serving import ServingCalibration
from rackmoe.study.validation.serving_rows import row_backend
from rackmoe.study.validation.serving_score import METRICS

__all__ = ["write_backend_files"]

_STAGES: Final = ("simulated", "fitted", "left_out")
_DIGITS: Final = 4


def write_backend_files(found: ServingCalibration, *, folder: str | Path) -> tuple[Path, ...]:
    """Write the profiles of a calibration, and its errors beside them.

    Parameters
    ----------
    found : ServingCalibration
        The calibration.
    folder : path-like
        Where to; made if it is not there.

    Returns
    -------
    tuple of Path
        One file for each profile, ``serving_accuracy.json`` by stratum, and
        ``serving_residuals.csv`` by row.
    """
    paths = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, profile in found.profiles.items():
        path = Path(folder) / f"{name}.yaml"
        title = "Fitted constants are written by `rackmoe calibrate serving`; the rest by people."
        shipped = shipped_path("scenarios/backends", name=name).read_text(encoding="utf-8")
        text = with_comments(backend_text(profile, title=title), of=shipped)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    accuracy = Path(folder) / "serving_accuracy.json"
    strata = {name: [asdict(one) for one in strata] for name, strata in found.strata.items()}
    data = {"file": found.file, "date": found.date, "strata": strata}
    accuracy.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return (*paths, accuracy, _write_residuals(found, Path(folder) / "serving_residuals.csv"))


def _write_residuals(found: ServingCalibration, path: Path) -> Path:
    """Write the signed relative errors of every row by figure and stage."""
    columns = [f"{metric}_{stage}" for metric in METRICS for stage in _STAGES]
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["id", "curve", "backend", *columns])
        for row in found.rows:
            errors = [
                found.errors[stage][row.id].get(metric) for metric in METRICS for stage in _STAGES
            ]
            cells = ["" if one is None else f"{one:.{_DIGITS}g}" for one in errors]
            out.writerow([row.id, row.curve, row_backend(row), *cells])
    return path
