"""How latency and bandwidth of a collective grow with its size, beside measured points."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from rackmoe.backend.collective_files import load_collectives
from rackmoe.backend.collectives import CollectiveBook, CollectiveKey, ExchangeConstants, Family
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.profile import load_machine
from rackmoe.model.costs import dispatch_bytes
from rackmoe.network.build import find_collective, find_exchange, group_ports
from rackmoe.network.collectives import BUS_FACTORS, CollectiveLaw
from rackmoe.network.traffic import balanced_traffic
from rackmoe.schema.shipped import shipped_folder
from rackmoe.study.network_cases import (
    CollectiveCase,
    ExchangeCase,
    Measurement,
    exchange_group,
    predict_exchange,
)
from rackmoe.study.network_groups import CALIBRATION_FILES
from rackmoe.study.network_tables import read_measurements

__all__ = ["DENSE_SIZES_BYTES", "TOKEN_SIZES", "BenchRow", "bench_network"]

TOKEN_SIZES = (1, 8, 32, 128, 512, 2048, 8192)
DENSE_SIZES_BYTES = (*(2.0**power for power in range(10, 31, 4)), 2.0**33)
_MOE_OPERATIONS = ("dispatch", "combine", "prepare")
_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One size of one collective.

    Attributes
    ----------
    library, kernel, algorithm : str
        Whose constants; the family of a dispatch, the way of a dense collective.
    dtype : str
        Format of a token on the wire; empty for a dense collective.
    n_ranks : int
        GPUs.
    size : float
        Tokens of a rank, or bytes of the whole buffer.
    n_bytes : float
        Bytes that a rank sends to others. [B]
    latency_s : float
        Start to end. [s]
    bandwidth_bytes_per_s : float
        Those bytes over this time; the bus bandwidth of a dense collective. [B/s]
    measured_s : float
        Time of the same size in the shipped tables; NaN where there is none. [s]
    kind : str
        Kind of the constants: ``fitted``, ``derived`` or ``assumed``.
    """

    library: str
    kernel: str
    algorithm: str
    dtype: str
    n_ranks: int
    size: float
    n_bytes: float
    latency_s: float
    bandwidth_bytes_per_s: float
    measured_s: float
    kind: str


def bench_network(
    profile: str,
    *,
    operation: str,
    n_ranks: Sequence[int],
    sizes: Sequence[float] = (),
    family: str = "",
    library: str = "",
    has_measured_sizes: bool = False,
) -> list[BenchRow]:
    """Return the law of a collective over group and message sizes.

    Parameters
    ----------
    profile : str
        Hardware profile.
    operation : str
        ``dispatch``, ``combine`` or ``prepare``; or ``all_reduce``, ``all_gather``,
        ``reduce_scatter``, ``all_to_all``.
    n_ranks : sequence of int
        GPUs of each group.
    sizes : sequence of float
        Tokens of a rank, or bytes; a standard list if empty.
    family : str
        Family of a dispatch or combine; every family that fits the group if empty.
    library : str
        Beginning of the library's name; the preferred one if empty.
    has_measured_sizes : bool
        Whether to add the sizes of the shipped tables, and all between, for a figure.

    Returns
    -------
    list of BenchRow
        By kernel, group and size; the traffic is balanced.

    Raises
    ------
    ConfigError
        If the operation, family or library is unknown on this machine.
    """
    machine = load_machine(profile)
    book = load_collectives(machine.gpu.name)
    wanted = _Sizes(chosen=tuple(sizes), has_measured=has_measured_sizes)
    _check_library(library, book=book, operation=operation)
    if operation in BUS_FACTORS:
        return [
            row
            for n in n_ranks
            for row in _dense_rows(
                machine, book=book, operation=operation, n_ranks=n, sizes=wanted, library=library
            )
        ]
    if operation not in _MOE_OPERATIONS:
        raise ConfigError(
            f"operation: '{operation}'; expected one of "
            f"{', '.join((*_MOE_OPERATIONS, *BUS_FACTORS))}; choose one"
        )
    known = _families(book, operation=operation)
    if family and family not in known:
        raise ConfigError(
            f"family: '{family}'; expected one of {', '.join(known)} for {operation} on "
            f"{machine.name}; choose one"
        )
    families = [Family(family)] if family else list(known)
    rows = []
    for one in families:
        for n in n_ranks:
            rows += _exchange_rows(
                machine,
                entries=[entry for entry in book.exchanges if entry.family is one],
                case=_case(one, operation=operation, n_ranks=n),
                sizes=wanted,
                library=library,
            )
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Which sizes are wanted: those of the user or standard ones, and those measured."""

    chosen: tuple[float, ...]
    has_measured: bool

    def of(self, standard: Sequence[float], *, measured_s: Mapping[float, float]) -> list[float]:
        """Return the sizes in ascending order; for a figure, all powers of two of the range."""
        if not self.has_measured:
            return sorted(self.chosen or standard)
        first, last = (math.log2(edge) for edge in (standard[0], standard[-1]))
        dense = [2.0**power for power in range(round(first), round(last) + 1)]
        return sorted({*(self.chosen or dense), *measured_s})


def _families(book: CollectiveBook, *, operation: str) -> dict[Family, None]:
    """Return the families that have the operation, in the order of the book."""
    return dict.fromkeys(
        one.family for one in book.exchanges if one.key.operation.startswith(operation)
    )


def _case(family: Family, *, operation: str, n_ranks: int) -> ExchangeCase:
    """Return a case of the standard shape: hidden 7168, top-8 of 256 experts."""
    key = CollectiveKey(library="", kernel="", operation=operation)
    return ExchangeCase(key=key, family=family, payload_dtype="", n_ranks=n_ranks, tokens=1)


def _check_library(library: str, *, book: CollectiveBook, operation: str) -> None:
    """Refuse a library that has no kernel for an operation, rather than take another one."""
    keys = [one.key for one in book.exchanges] + [one.key for one in book.collectives]
    known = {key.library for key in keys if key.operation.startswith(operation)}
    if operation in BUS_FACTORS:
        known.add("ideal")
    if known and not any(name.startswith(library) for name in known):
        raise ConfigError(
            f"library: '{library}'; expected the beginning of one of "
            f"{', '.join(sorted(known))} for {operation} on {book.gpu}; choose one"
        )


def _exchange_rows(
    machine: Machine,
    *,
    entries: Sequence[ExchangeConstants],
    case: ExchangeCase,
    sizes: _Sizes,
    library: str,
) -> list[BenchRow]:
    """Return the rows of one family and group; none where the family cannot serve it."""
    n_nodes = group_ports(machine, n_ranks=case.n_ranks).n_nodes
    constants = find_exchange(
        entries,
        family=case.family,
        operation=case.key.operation,
        library=library,
        n_nodes=n_nodes,
    )
    case = replace(case, key=constants.key, payload_dtype=constants.payload_dtype)
    book = CollectiveBook(gpu=machine.gpu.name, exchanges=(constants,), collectives=())
    group = exchange_group(case, machine=machine)
    payload = dispatch_bytes(case.hidden, dtype=case.payload_dtype)
    timed = replace(case, n_sms=constants.n_sms or None)
    measured_s = _measured_s(machine, case=timed)
    rows = []
    for size in sizes.of(TOKEN_SIZES, measured_s=measured_s):
        sized = replace(case, tokens=int(size))
        try:
            latency_s, _ = predict_exchange(sized, machine=machine, book=book)
        except ConfigError:  # an NVLink kernel across domains
            return []
        traffic = balanced_traffic(size, group=group, spread=constants.spread)
        is_copied = case.family not in {
            Family.DEEPEP_LOW_LATENCY,
            Family.DEEPEP_LOW_LATENCY_RDMA,
        }
        copies = traffic.copies_out if is_copied else traffic.assignments_out
        n_bytes = float(copies[0, 0]) * payload
        rows.append(
            BenchRow(
                library=constants.key.library,
                kernel=constants.key.kernel,
                algorithm=constants.family.value,
                dtype=case.payload_dtype,
                n_ranks=case.n_ranks,
                size=size,
                n_bytes=n_bytes,
                latency_s=latency_s,
                bandwidth_bytes_per_s=n_bytes / latency_s,
                measured_s=measured_s.get(size, _NAN),
                kind=constants.report.kind,
            )
        )
    return rows


def _dense_rows(
    machine: Machine,
    *,
    book: CollectiveBook,
    operation: str,
    n_ranks: int,
    sizes: _Sizes,
    library: str,
) -> list[BenchRow]:
    """Return the rows of one dense collective and group."""
    constants = find_collective(book, operation=operation, n_ranks=n_ranks, library=library)
    law = CollectiveLaw(constants, machine=machine, n_ranks=n_ranks)
    case = CollectiveCase(key=constants.key, n_ranks=n_ranks, n_bytes=1)
    measured_s = _measured_s(machine, case=case)
    return [
        BenchRow(
            library=constants.key.library,
            kernel=constants.key.kernel,
            algorithm=law.algorithm(size).value,
            dtype="",
            n_ranks=n_ranks,
            size=size,
            n_bytes=size,
            latency_s=float(law.time_s(size)),
            bandwidth_bytes_per_s=float(law.bus_bytes_per_s(size)),
            measured_s=measured_s.get(size, _NAN),
            kind=constants.report.kind,
        )
        for size in sizes.of(DENSE_SIZES_BYTES, measured_s=measured_s)
    ]


def _measured_s(machine: Machine, *, case: ExchangeCase | CollectiveCase) -> Mapping[float, float]:
    """Return the mean time of each size of a sweep in the shipped tables. [s]."""
    found = _measured_times().get((machine.name, _without_size(case)), {})
    return {size: sum(times) / len(times) for size, times in found.items()}


@cache
def _measured_times() -> dict[tuple[str, ExchangeCase | CollectiveCase], dict[float, list[float]]]:
    """Return the times of the shipped tables by what was timed, and by size. [s]."""
    times: dict[tuple[str, ExchangeCase | CollectiveCase], dict[float, list[float]]] = {}
    for file in CALIBRATION_FILES:
        for row in read_measurements(shipped_folder("scenarios/calibration") / file):
            time_s = _time_s(row)
            if row.case is not None and time_s is not None:
                sweep = times.setdefault((row.hardware, _without_size(row.case)), {})
                sweep.setdefault(float(row.size), []).append(time_s)
    return times


def _time_s(row: Measurement) -> float | None:
    """Return the time of a row, if it says a time or a bus bandwidth. [s]."""
    if row.unit == "s":
        return row.measured
    if isinstance(row.case, CollectiveCase):
        n_ranks = row.case.n_ranks
        factor = BUS_FACTORS[row.case.key.operation] * (n_ranks - 1) / n_ranks
        return row.case.n_bytes * factor / row.measured
    return None


def _without_size(case: ExchangeCase | CollectiveCase) -> ExchangeCase | CollectiveCase:
    """Return what all sizes of a sweep share."""
    if isinstance(case, ExchangeCase):
        return replace(case, tokens=1)
    return replace(case, n_bytes=1.0, is_bus_bandwidth=False)
