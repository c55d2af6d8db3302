"""How far simulated power is from measured power."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import numpy as np

from rackmoe.engine.run import run_engine
from rackmoe.errors import ConfigError, RackmoeError
from rackmoe.hardware.profile import load_machine
from rackmoe.metrics.rack_power import machine_power
from rackmoe.metrics.window import Window
from rackmoe.scenario.resolved import Scenario, resolve_scenario
from rackmoe.scenario.traffic import build_traffic
from rackmoe.streams import Streams
from rackmoe.study.validation.power_rows import (
    NEW,
    NO_POWER,
    PowerRow,
    constant_of,
    power_document,
    read_power_points,
)

__all__ = ["PowerPoint", "PowerStratum", "PowerValidation", "serving_power", "validate_power"]

_KILO: Final = 1e3
_SCORED_TRUST: Final = ("A", "B")
_ALL_NEW: Final = f"all, {NEW}"
_PERCENTILE: Final = 90
# Simulated seconds of a stationary state; long enough for tens of steps of any batch.
_SIMULATED_S: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPoint:
    """One row and what the simulator says about it.

    Attributes
    ----------
    id, trust, hardware, family, role : str
        Cells of the row; what kind of power it is, and whether profiles rest on it.
    answered : bool
        Whether there is a prediction.
    reason : str
        Why there is none.
    measured, predicted : float or None
        In `unit`: watts of one GPU, one node or one part, joules, or a ratio.
    unit : str
        ``W``, ``J/request`` or ``PUE``.
    error : float or None
        Signed relative error.
    is_scored : bool
        Whether the strata count it: not rows of trust C, nor what is no power.
    """

    id: str
    trust: str
    hardware: str
    family: str
    role: str
    answered: bool
    reason: str
    measured: float
    predicted: float | None
    unit: str
    error: float | None
    is_scored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerStratum:
    """The errors of a family of rows.

    Attributes
    ----------
    name, role : str
        Family, and whether profiles rest on its rows (``input``) or not (``held out``).
    n, n_answered : int
        Scored rows, and those with a prediction, counts.
    error_median, error_mean, error_p90 : float or None
        Absolute relative errors of answered rows; None without any.
    bias : float or None
        Median of the signed errors.
    """

    name: str
    role: str
    n: int
    n_answered: int
    error_median: float | None
    error_mean: float | None
    error_p90: float | None
    bias: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerValidation:
    """A file of power points beside the predictions.

    Attributes
    ----------
    file : str
        Name of the file.
    points : tuple of PowerPoint
        One for each row, in the order of the file.
    strata : tuple of PowerStratum
        Measurements that nothing was fitted to first, inputs of profiles last.
    """

    file: str
    points: tuple[PowerPoint, ...]
    strata: tuple[PowerStratum, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the validation as plain values that JSON can hold."""
        return asdict(self)


def validate_power(
    csv_path: str | Path,
    *,
    only: str | None = None,
    jobs: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> PowerValidation:
    """Compare simulated power with the rows of a file.

    Parameters
    ----------
    csv_path : str or pathlib.Path
        A CSV file with the columns of ``scenarios/calibration/power_points.csv``.
    only : str, optional
        Pattern with wildcards that the id of a row has to match.
    jobs : int, optional
        Processes; the figures do not depend on it.
    progress : callable, optional
        Told about every row that is done.

    Returns
    -------
    PowerValidation
        Points and strata; rows without a prediction say why.

    Raises
    ------
    ConfigError
        If the file cannot be read, or no row is selected.
    """
    rows = read_power_points(csv_path)
    chosen = [row for row in rows if only is None or fnmatchcase(row.text("id"), only)]
    if not chosen:
        raise ConfigError(
            f"only: '{only}': matches none of {len(rows)} rows; expected a pattern of ids; "
            "write for example 'mle-*'"
        )
    points = []
    for point in _answered(chosen, jobs=jobs):
        points.append(point)
        if progress is not None:
            progress(len(points), len(chosen))
    return PowerValidation(
        file=Path(csv_path).name, points=tuple(points), strata=tuple(_strata(points))
    )


def _answered(rows: Sequence[PowerRow], *, jobs: int) -> Iterator[PowerPoint]:
    if jobs == 1:
        yield from map(_point, rows)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as executor:
        try:
            yield from executor.map(_point, rows)
        finally:
            # after an interrupt, rows that have not begun are left out
            executor.shutdown(wait=False, cancel_futures=True)


def _point(row: PowerRow) -> PowerPoint:
    unit = row.text("unit")
    scale = _KILO if unit.startswith("kW") else 1.0
    measured = scale * row.number("value")
    predicted: float | None = None
    reason = ""
    if row.role == NO_POWER:
        reason = f"{row.text('metric')} in {unit}: {NO_POWER}"
    else:
        try:
            predicted = _prediction(row)
        except (RackmoeError, ValueError) as error:
            reason = " ".join(str(error).split())
    return PowerPoint(
        id=row.text("id"),
        trust=row.text("trust"),
        hardware=row.text("hardware"),
        family=row.family,
        role=row.role,
        answered=predicted is not None,
        reason=reason,
        measured=measured,
        predicted=predicted,
        unit=unit if unit in {"J/request", "PUE"} else "W" if row.role != NO_POWER else unit,
        error=None if predicted is None or not measured else predicted / measured - 1,
        is_scored=row.text("trust") in _SCORED_TRUST and row.role != NO_POWER,
    )


def _prediction(row: PowerRow) -> float:
    machine = load_machine(row.text("hardware"))
    if row.role != NEW:
        return constant_of(row, machine=machine)
    scenario = resolve_scenario(power_document(row), name=row.text("id"))
    power_w, requests_per_s = serving_power(scenario)
    if row.text("unit") == "J/request":
        return power_w * row.number("n_gpus") / requests_per_s
    return power_w


def serving_power(scenario: Scenario, *, seed: int = 0) -> tuple[float, float]:
    """Return the mean board power of the GPUs at work, and the requests they finish.

    Parameters
    ----------
    scenario : Scenario
        An aggregated deployment of one replica in its stationary state.
    seed : int, optional
        Seed of all random streams.

    Returns
    -------
    tuple of two float
        Power of one GPU [W], and requests per second by Little's law [1/s].
    """
    traffic = build_traffic(scenario.document, streams=Streams(seed))
    run = run_engine(
        scenario,
        requests=traffic.requests,
        is_measured=traffic.is_measured,
        seed=seed,
        until_s=_SIMULATED_S,
    )
    steps = run.records.to_frame("steps")
    end_s = float((steps["start_s"] + steps["duration_s"]).max())
    (pool,) = scenario.document.deployment.pools.values()
    power = machine_power(
        steps,
        machine=scenario.machine,
        gpus_of_replica=np.array([pool.n_gpus_per_replica], dtype=np.int64),
        n_gpus=scenario.n_gpus,
        window=Window(start_s=0.0, end_s=end_s),
    )
    others = scenario.n_gpus - pool.n_gpus
    used_w = float(power.mean.gpu_w) - others * scenario.machine.gpu.idle_power_w
    tokens_per_s = float(steps["n_decode_tokens"].sum()) / end_s
    lengths = scenario.document.workload.lengths
    mean_output = 1.0 if lengths is None else float(np.mean(traffic.requests.output_tokens))
    return used_w / pool.n_gpus, tokens_per_s / mean_output


def _strata(points: Sequence[PowerPoint]) -> list[PowerStratum]:
    groups: dict[tuple[str, str], list[PowerPoint]] = {}
    for one in points:
        if one.is_scored:
            groups.setdefault((one.role, one.family), []).append(one)
    new = [one for (role, _), some in groups.items() if role == NEW for one in some]
    strata = [_stratum(_ALL_NEW, NEW, new)] if new else []
    return strata + [
        _stratum(family, role, some) for (role, family), some in sorted(groups.items())
    ]


def _stratum(name: str, role: str, points: Sequence[PowerPoint]) -> PowerStratum:
    errors = np.array([one.error for one in points if one.error is not None])
    sizes = np.abs(errors)
    has = len(errors) > 0
    return PowerStratum(
        name=name,
        role=role,
        n=len(points),
        n_answered=len(errors),
        error_median=float(np.median(sizes)) if has else None,
        error_mean=float(np.mean(sizes)) if has else None,
        error_p90=float(np.percentile(sizes, _PERCENTILE)) if has else None,
        bias=float(np.median(errors)) if has else None,
    )
