"""Which constants of a collective of dense buffers explain its measured times."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rackmoe.backend.collectives import (
    Algorithm,
    AlgorithmConstants,
    CollectiveBook,
    CollectiveConstants,
    CollectiveKey,
    FitReport,
    Knots,
)
from rackmoe.hardware.machine import Machine
from rackmoe.network.collectives import wire_bytes
from rackmoe.network.startup import ramped_s
from rackmoe.streams import Streams
from rackmoe.study.calibration.exchange_fit import scaled_residuals
from rackmoe.study.network_cases import CollectiveCase, Measurement, predict_collective

__all__ = ["fit_collective", "fit_share"]

Floats = NDArray[np.float64]

# The library switches once with size: low-latency kernels, then those for bandwidth.
_N_WAYS = 2
# For each way, as logarithms: latency [us] and port share at the largest group and their
# change towards the smallest, and the ramp.
_START = np.array([2.0, -0.3, -2.3, 0.0, 0.0, 3.0, -0.3, -0.4, 0.0, 0.0])
_PRIOR_WEIGHT = 0.2
_N_STARTS = 8
_START_SPREAD = 0.7
_US = 1e-6
_SEED = 0
# NIC share of NCCL: 45.5 of 50 GB/s in an all-to-all over two racks (OCI quickstart
# README-GB200, 89.6 GB/s on 128 GPUs; kind: derived). No row of the tables uses a NIC.
_NIC_EFFICIENCY = 0.91
_MAX_PORT = 1.0


def fit_collective(
    rows: Sequence[Measurement], *, key: CollectiveKey, machine: Machine, file: str
) -> CollectiveConstants:
    """Return the constants of a collective with many rows.

    Parameters
    ----------
    rows : sequence of Measurement
        Times with a `CollectiveCase`.
    key : CollectiveKey
        What the constants are called.
    machine : Machine
        Where they were measured, in one scale-up domain.
    file : str
        Name of the table, for the report.

    Returns
    -------
    CollectiveConstants
        Two ways, each with start-up time and port share at the smallest and largest
        number of ranks (a power law between them) and a ramp.
    """
    problem = _Problem(rows, key=key, machine=machine)
    rng = Streams(_SEED).rng("calibration/collectives")
    starts = [_START] + [
        _START + _START_SPREAD * rng.standard_normal(_START.size) for _ in range(_N_STARTS - 1)
    ]
    fits = [
        least_squares(problem.residuals, start, loss="soft_l1", max_nfev=200) for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.cost))
    return CollectiveConstants(
        key=key,
        algorithms=problem.ways(best.x),
        report=FitReport(kind="fitted", file=file, n_rows=len(rows)),
    )


def fit_share(
    rows: Sequence[Measurement],
    *,
    key: CollectiveKey,
    parent: CollectiveConstants,
    machine: Machine,
    file: str,
) -> CollectiveConstants:
    """Return a parent's constants with all port shares scaled to a few rows.

    Parameters
    ----------
    rows : sequence of Measurement
        Times with a `CollectiveCase`.
    key : CollectiveKey
        What the constants are called.
    parent : CollectiveConstants
        The same operation of a library with many rows.
    machine : Machine
        Where the rows were measured.
    file : str
        Name of the table, for the report.

    Returns
    -------
    CollectiveConstants
        One free factor.
    """

    def scaled(logs: Floats) -> CollectiveConstants:
        ways = tuple(_scaled_way(way, factor=float(np.exp(logs[0]))) for way in parent.algorithms)
        return replace(parent, key=key, algorithms=ways)

    def residuals(logs: Floats) -> Floats:
        book = CollectiveBook(gpu=machine.gpu.name, exchanges=(), collectives=(scaled(logs),))
        return np.array(
            [
                np.log(predict_collective(row.case, machine=machine, book=book)[0] / row.measured)
                for row in rows
                if isinstance(row.case, CollectiveCase)
            ]
        )

    found = least_squares(residuals, np.zeros(1), loss="soft_l1")
    report = FitReport(kind="fitted", file=file, n_rows=len(rows))
    return replace(scaled(found.x), report=report)


def _scaled_way(way: AlgorithmConstants, *, factor: float) -> AlgorithmConstants:
    values = tuple(min(_MAX_PORT, one * factor) for one in way.port_efficiency.values)
    return replace(way, port_efficiency=replace(way.port_efficiency, values=values))


class _Problem:
    """Logarithms of the constants of one operation, and their residuals."""

    def __init__(
        self, rows: Sequence[Measurement], *, key: CollectiveKey, machine: Machine
    ) -> None:
        cases = [row.case for row in rows if isinstance(row.case, CollectiveCase)]
        self._measured_s = np.array([row.measured for row in rows])
        self._is_large = np.array([case.is_large for case in cases])
        ranks = np.array([case.n_ranks for case in cases])
        self._sizes = tuple(int(one) for one in sorted({ranks.min(), ranks.max()}))
        span = np.log(ranks.max() / ranks.min()) or 1.0
        self._to_small = np.log(ranks.max() / ranks) / span  # 0 at the largest, 1 at the smallest
        is_custom = key.operation == "all_reduce" and not key.library.startswith("nccl")
        general = Algorithm.PAIRWISE if key.operation == "all_to_all" else Algorithm.RING
        self._algorithms = (
            (Algorithm.ONE_SHOT, Algorithm.TWO_SHOT) if is_custom else (general,) * 2
        )
        port = machine.scale_up.gpu_bandwidth_bytes_per_s
        self._port_s = [
            np.array(
                [
                    float(
                        wire_bytes(
                            case.n_bytes,
                            operation=key.operation,
                            algorithm=algorithm,
                            n_ranks=case.n_ranks,
                        )
                    )
                    for case in cases
                ]
            )
            / port
            for algorithm in self._algorithms
        ]

    def residuals(self, logs: Floats) -> Floats:
        """Return the errors of the rows, then the distances from the priors."""
        times_s = [
            self._way_time_s(i, logs=part) for i, part in enumerate(np.split(logs, _N_WAYS))
        ]
        errors = scaled_residuals(
            np.min(times_s, axis=0), measured_s=self._measured_s, is_large=self._is_large
        )
        return np.concatenate([errors, _PRIOR_WEIGHT * (logs - _START)])

    def ways(self, logs: Floats) -> tuple[AlgorithmConstants, ...]:
        """Return the constants of both ways."""
        found = []
        for algorithm, part in zip(self._algorithms, np.split(logs, _N_WAYS), strict=True):
            log_us, log_us_change, log_share, log_share_change, log_ramp = part
            changes = (1.0, 0.0)[-len(self._sizes) :]
            latency = [_US * np.exp(log_us + one * log_us_change) for one in changes]
            share = [
                min(_MAX_PORT, float(np.exp(log_share + one * log_share_change)))
                for one in changes
            ]
            found.append(
                AlgorithmConstants(
                    algorithm=algorithm,
                    latency_s=Knots(sizes=self._sizes, values=tuple(float(x) for x in latency)),
                    port_efficiency=Knots(sizes=self._sizes, values=tuple(share)),
                    nic_efficiency=_NIC_EFFICIENCY,
                    ramp=float(np.exp(log_ramp)),
                )
            )
        return tuple(found)

    def _way_time_s(self, way: int, *, logs: Floats) -> Floats:
        log_us, log_us_change, log_share, log_share_change, log_ramp = logs
        latency_s = _US * np.exp(log_us + self._to_small * log_us_change)
        share = np.minimum(_MAX_PORT, np.exp(log_share + self._to_small * log_share_change))
        return ramped_s(
            self._port_s[way] / share, latency_s=latency_s, ramp=float(np.exp(log_ramp))
        )
