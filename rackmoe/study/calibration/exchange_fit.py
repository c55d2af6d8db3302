"""Which constants of a dispatch or combine kernel explain its measured times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from rackmoe.backend.collectives import (
    CollectiveBook,
    CollectiveKey,
    ExchangeConstants,
    Family,
    FitReport,
    Knots,
    Spread,
)
from rackmoe.hardware.machine import Machine
from rackmoe.model.costs import dispatch_bytes
from rackmoe.network.build import group_ports
from rackmoe.network.dispatch import family_copies
from rackmoe.network.startup import overlapped_s, ramped_s
from rackmoe.network.traffic import balanced_traffic
from rackmoe.study.network_cases import ExchangeCase, Measurement, exchange_group, predict_exchange

__all__ = ["fit_efficiencies", "fit_exchange", "scaled_residuals"]

Floats = NDArray[np.float64]

# A residual of 1 is what the targets allow in the median: 8 % of a large row, 5 us (or the same
# 8 %, if that is more) of a small one.
_LARGE_SCALE_FRAC = 0.08
_SMALL_SCALE_S = 5e-6
# Weak priors: what a constant is where the rows do not say, and how firmly: with a weight of 1,
# a row at the edge of its target moves a constant by a factor of e (kind: assumed).
_PRIOR_PORT, _PORT_WEIGHT = 0.7, 0.5
_PRIOR_NIC, _NIC_WEIGHT = 0.91, 0.3
_PRIOR_RAMP, _RAMP_WEIGHT = 1.0, 0.1
_PRIOR_TOKEN_S, _TOKEN_WEIGHT = 1e-8, 0.02
_PRIOR_SM_BYTES_PER_S, _SM_WEIGHT = 15e9, 0.02
# No port moves more than a large copy does, no NIC more than a RDMA write test.
_MAX_PORT, _MAX_NIC = 0.88, 0.97
_MIN_EFFICIENCY = 0.02
_MAX_RAMP, _MIN_RAMP = 10.0, 0.02
_MAX_LATENCY_S, _MIN_LATENCY_S = 1e-3, 1e-6
_MAX_TOKEN_S, _MIN_TOKEN_S = 1e-6, 1e-11
_MAX_SM_BYTES_PER_S, _MIN_SM_BYTES_PER_S = 300e9, 0.1e9
# So many rows for each number of nodes make a constant of its own; else two ends of a power law.
_ROWS_PER_KNOT = 8
_FREE_SM_FACTOR = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Measured rows of one kernel as columns.

    Attributes
    ----------
    measured_s : ndarray
        Times. [s]
    is_large : ndarray of bool
        Whether the relative error counts.
    nodes, sms : ndarray
        Nodes of the group; SMs of the kernel, 0 where not counted.
    port_s, nic_s : ndarray
        Time of the copies at full bandwidth. [s]
    sent_bytes, tokens : ndarray
        Bytes of all copies, and own tokens. [B]
    """

    measured_s: Floats
    is_large: NDArray[np.bool_]
    nodes: Floats
    sms: Floats
    port_s: Floats
    nic_s: Floats
    sent_bytes: Floats
    tokens: Floats


def scaled_residuals(
    predicted_s: Floats, *, measured_s: Floats, is_large: NDArray[np.bool_]
) -> Floats:
    """Return errors in units of the target: relative for large rows, absolute for small ones.

    Parameters
    ----------
    predicted_s, measured_s : ndarray of shape (n,)
        Times. [s]
    is_large : ndarray of shape (n,), bool
        Which error counts.

    Returns
    -------
    ndarray of shape (n,)
        Pure numbers.
    """
    relative = np.log(predicted_s / measured_s) / _LARGE_SCALE_FRAC
    scale_s = np.maximum(_SMALL_SCALE_S, _LARGE_SCALE_FRAC * measured_s)
    return np.where(is_large, relative, (predicted_s - measured_s) / scale_s)


def fit_exchange(
    rows: Sequence[Measurement], *, key: CollectiveKey, spread: Spread, machine: Machine, file: str
) -> ExchangeConstants:
    """Return all constants of a kernel with many rows.

    Parameters
    ----------
    rows : sequence of Measurement
        Times with an `ExchangeCase` of one family and format.
    key : CollectiveKey
        What the constants are called.
    spread : Spread
        How the benchmark chose experts.
    machine : Machine
        Where it ran.
    file : str
        Name of the table, for the report.

    Returns
    -------
    ExchangeConstants
        Least squares of `scaled_residuals` with a robust loss and weak priors.
    """
    case = _case(rows[0])
    columns = _columns(rows, machine=machine, spread=spread)
    problem = _Problem(columns, family=case.family)
    fits = [
        least_squares(problem.residuals, start, bounds=(problem.low, problem.high), loss="soft_l1")
        for start in problem.starts()
    ]
    found = min(fits, key=lambda fit: float(fit.cost))
    latency, ramp, token, nic, port, sm = problem.split(found.x)
    return ExchangeConstants(
        key=key,
        family=case.family,
        spread=spread,
        payload_dtype=case.payload_dtype,
        latency_s=problem.knots(latency),
        port_efficiency=problem.knots(port),
        nic_efficiency=float(nic[0]),
        token_time_s=float(token[0]),
        sm_bandwidth_bytes_per_s=problem.knots(sm) if problem.has_sms else None,
        n_sms=int(columns.sms.max()),
        ramp=float(ramp[0]),
        report=FitReport(kind="fitted", file=file, n_rows=len(rows)),
    )


def fit_efficiencies(
    rows: Sequence[Measurement],
    *,
    key: CollectiveKey,
    parent: ExchangeConstants,
    machine: Machine,
    file: str,
) -> ExchangeConstants:
    """Return a parent's constants with its efficiencies scaled to a few rows.

    Parameters
    ----------
    rows : sequence of Measurement
        Times or logical bandwidths with an `ExchangeCase`.
    key : CollectiveKey
        What the constants are called.
    parent : ExchangeConstants
        The nearest kernel with many rows: its start-up times and ramp are kept.
    machine : Machine
        Where the rows were measured.
    file : str
        Name of the table, for the report.

    Returns
    -------
    ExchangeConstants
        Two free factors: one of the port and the SMs, one of the NIC.
    """
    family = _case(rows[0]).family
    parent = replace(parent, key=key, family=family)

    def scaled(logs: Floats) -> ExchangeConstants:
        up, out = np.exp(logs)
        sm = parent.sm_bandwidth_bytes_per_s
        return replace(
            parent,
            port_efficiency=_times(parent.port_efficiency, up, cap=_MAX_PORT),
            sm_bandwidth_bytes_per_s=None if sm is None else _times(sm, up, cap=np.inf),
            nic_efficiency=float(min(_MAX_NIC, parent.nic_efficiency * out)),
            token_time_s=parent.token_time_s / up,
        )

    def residuals(logs: Floats) -> Floats:
        book = CollectiveBook(gpu=machine.gpu.name, exchanges=(scaled(logs),), collectives=())
        errors = [
            np.log(predict_exchange(_case(row), machine=machine, book=book)[0] / row.measured)
            for row in rows
        ]
        return np.array([*(np.array(errors) / _LARGE_SCALE_FRAC), *(_PORT_WEIGHT * logs)])

    found = least_squares(residuals, np.zeros(2), bounds=(-4.0, 4.0), loss="soft_l1")
    report = FitReport(kind="fitted", file=file, n_rows=len(rows))
    return replace(scaled(found.x), report=report)


class _Problem:
    """Logarithms of the constants of one kernel, and their residuals."""

    def __init__(self, columns: _Rows, *, family: Family) -> None:
        self._rows = columns
        nodes, counts = np.unique(columns.nodes, return_counts=True)
        if len(nodes) > 1 and counts.min() < _ROWS_PER_KNOT:
            nodes = nodes[[0, -1]]
        self._nodes = tuple(int(one) for one in nodes)
        self.has_sms = len(np.unique(columns.sms)) > 1
        n_knots = len(nodes)
        is_nvlink = family in {Family.NVLINK_ONE_SIDED, Family.NVLINK_TWO_SIDED}
        n_port = n_knots if is_nvlink else 1
        n_sm = n_knots if self.has_sms else 0
        smallest = columns.measured_s.min()
        parts = [
            (n_knots, smallest, 0.0, _MIN_LATENCY_S, _MAX_LATENCY_S),
            (1, _PRIOR_RAMP, _RAMP_WEIGHT, _MIN_RAMP, _MAX_RAMP),
            (1, _PRIOR_TOKEN_S, _TOKEN_WEIGHT, _MIN_TOKEN_S, _MAX_TOKEN_S),
            (1, _PRIOR_NIC, _NIC_WEIGHT, _MIN_EFFICIENCY, _MAX_NIC),
            (n_port, _PRIOR_PORT, _PORT_WEIGHT, _MIN_EFFICIENCY, _MAX_PORT),
            (n_sm, _PRIOR_SM_BYTES_PER_S, _SM_WEIGHT, _MIN_SM_BYTES_PER_S, _MAX_SM_BYTES_PER_S),
        ]
        self._sizes = [size for size, *_ in parts]
        repeated = [np.repeat([p[1:]], p[0], axis=0) for p in parts]
        start, weight, low, high = np.concatenate(repeated).T
        self.start, self._weight = np.log(start), weight
        self.low, self.high = np.log(low), np.log(high)

    def starts(self) -> list[Floats]:
        """Return where searches begin: at the priors, and with SMs that do not limit."""
        if not self.has_sms:
            return [self.start]
        free = self.start.copy()
        free[-self._sizes[-1] :] += np.log(_FREE_SM_FACTOR)
        return [self.start, free]

    def residuals(self, logs: Floats) -> Floats:
        """Return the errors of the rows, then the distances from the priors."""
        rows = self._rows
        latency, ramp, token, nic, port, sm = self.split(logs)
        parts = [rows.port_s / self._at(port), rows.nic_s / nic[0], rows.tokens * token[0]]
        if self.has_sms:
            parts.append(rows.sent_bytes / (self._at(sm) * np.maximum(rows.sms, 1)))
        predicted_s = ramped_s(
            overlapped_s(*parts), latency_s=self._at(latency), ramp=float(ramp[0])
        )
        errors = scaled_residuals(predicted_s, measured_s=rows.measured_s, is_large=rows.is_large)
        return np.concatenate([errors, self._weight * (logs - self.start)])

    def split(self, logs: Floats) -> list[Floats]:
        """Return latency, ramp, token time, NIC share, port share and SM rate, one array each."""
        return np.split(np.exp(logs), np.cumsum(self._sizes)[:-1])

    def knots(self, values: Floats) -> Knots:
        """Return the values by number of nodes."""
        spread = np.broadcast_to(values, len(self._nodes))
        return Knots(sizes=self._nodes, values=tuple(float(one) for one in spread))

    def _at(self, values: Floats) -> Floats:
        """Return the constant for each row's number of nodes, as `Knots.at` does."""
        if len(values) == 1:
            return values
        at: Floats = np.exp(
            np.interp(np.log(self._rows.nodes), np.log(self._nodes), np.log(values))
        )
        return at


def _columns(rows: Sequence[Measurement], *, machine: Machine, spread: Spread) -> _Rows:
    """Return the rows as columns, with the expected traffic of each."""
    table = [_row_columns(row, machine=machine, spread=spread) for row in rows]
    columns = np.array(table, np.float64).T
    large = np.array([_case(row).is_large for row in rows])
    names = ("measured_s", "nodes", "sms", "port_s", "nic_s", "sent_bytes", "tokens")
    return _Rows(is_large=large, **dict(zip(names, columns, strict=True)))


def _row_columns(row: Measurement, *, machine: Machine, spread: Spread) -> tuple[float, ...]:
    """Return the numbers of one row, in the order of `_columns`."""
    case = _case(row)
    ports = group_ports(
        machine,
        n_ranks=case.n_ranks,
        nic_bandwidth_bytes_per_s=case.nic_bandwidth_bytes_per_s,
    )
    group = exchange_group(case, machine=machine)
    traffic = balanced_traffic(case.tokens, group=group, spread=spread)
    copies = family_copies(case.family, traffic=traffic, n_domains=ports.n_domains)
    payload = dispatch_bytes(case.hidden, dtype=case.payload_dtype)
    is_prepare = case.key.operation == "prepare"
    sent = 0.0 if copies.port is None or is_prepare else float(copies.port[0][0, 0]) * payload
    nic = 0.0 if copies.nic is None or is_prepare else float(copies.nic[0][0, 0]) * payload
    return (
        row.measured,
        ports.n_nodes,
        case.n_sms or 0,
        sent / ports.port_bandwidth_bytes_per_s,
        nic / ports.nic_bandwidth_bytes_per_s,
        sent,
        case.tokens,
    )


def _case(row: Measurement) -> ExchangeCase:
    """Return the case of a row that has one."""
    if not isinstance(row.case, ExchangeCase):
        raise TypeError(f"row {row.row}: no exchange")
    return row.case


def _times(knots: Knots, factor: float, *, cap: float) -> Knots:
    """Return knots with all values scaled."""
    values = tuple(float(min(cap, one * factor)) for one in knots.values)
    return Knots(sizes=knots.sizes, values=values)
