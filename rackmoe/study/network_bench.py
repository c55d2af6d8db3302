"""How latency and bandwidth of a collective grow with its size, beside measured points."""

from collections import defaultdict
from collections.abc import Sequence
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
from rackmoe.study.calibration.network import CALIBRATION_FILES
from rackmoe.study.network_cases import (
    CollectiveCase,
    ExchangeCase,
    exchange_group,
    predict_exchange,
)
from rackmoe.study.network_tables import read_measurements

__all__ = ["DENSE_SIZES_BYTES", "TOKEN_SIZES", "BenchRow", "bench_network"]

TOKEN_SIZES = (1, 8, 32, 128, 512, 2048, 8192)
DENSE_SIZES_BYTES = tuple(2.0**power for power in range(10, 31, 4))
_MOE_OPERATIONS = ("dispatch", "combine", "prepare")
_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One size of one collective.

    Attributes
    ----------
    library, kernel, algorithm : str
        Whose constants; the family of a dispatch, the way of a dense collective.
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

    Returns
    -------
    list of BenchRow
        By kernel, group and size; the traffic is balanced.

    Raises
    ------
    ConfigError
        If the operation or family is unknown on this machine.
    """
    machine = load_machine(profile)
    book = load_collectives(machine.gpu.name)
    if operation in BUS_FACTORS:
        return [
            row
            for n in n_ranks
            for row in _dense_rows(
                machine, book=book, operation=operation, n_ranks=n, sizes=sizes, library=library
            )
        ]
    if operation not in _MOE_OPERATIONS:
        raise ConfigError(
            f"operation: '{operation}'; expected one of "
            f"{', '.join((*_MOE_OPERATIONS, *BUS_FACTORS))}; choose one"
        )
    families = [Family(family)] if family else list(_families(book, operation=operation))
    rows = []
    for one in families:
        for n in n_ranks:
            rows += _exchange_rows(
                machine,
                entries=[entry for entry in book.exchanges if entry.family is one],
                case=_case(one, operation=operation, n_ranks=n),
                sizes=sizes or TOKEN_SIZES,
                library=library,
            )
    return rows


def _families(book: CollectiveBook, *, operation: str) -> dict[Family, None]:
    """Return the families that have the operation, in the order of the book."""
    return dict.fromkeys(
        one.family for one in book.exchanges if one.key.operation.startswith(operation)
    )


def _case(family: Family, *, operation: str, n_ranks: int) -> ExchangeCase:
    """Return a case of the standard shape: hidden 7168, top-8 of 256 experts."""
    key = CollectiveKey(library="", kernel="", operation=operation)
    return ExchangeCase(key=key, family=family, payload_dtype="", n_ranks=n_ranks, tokens=1)


def _exchange_rows(
    machine: Machine,
    *,
    entries: Sequence[ExchangeConstants],
    case: ExchangeCase,
    sizes: Sequence[float],
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
    rows = []
    for size in sizes:
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
                n_ranks=case.n_ranks,
                size=size,
                n_bytes=n_bytes,
                latency_s=latency_s,
                bandwidth_bytes_per_s=n_bytes / latency_s,
                measured_s=_measured_s(
                    machine, case=replace(sized, n_sms=constants.n_sms or None)
                ),
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
    sizes: Sequence[float],
    library: str,
) -> list[BenchRow]:
    """Return the rows of one dense collective and group."""
    constants = find_collective(book, operation=operation, n_ranks=n_ranks, library=library)
    law = CollectiveLaw(constants, machine=machine, n_ranks=n_ranks)
    return [
        BenchRow(
            library=constants.key.library,
            kernel=constants.key.kernel,
            algorithm=law.algorithm(size).value,
            n_ranks=n_ranks,
            size=size,
            n_bytes=size,
            latency_s=float(law.time_s(size)),
            bandwidth_bytes_per_s=float(law.bus_bytes_per_s(size)),
            measured_s=_measured_s(
                machine, case=CollectiveCase(key=constants.key, n_ranks=n_ranks, n_bytes=size)
            ),
            kind=constants.report.kind,
        )
        for size in sizes or DENSE_SIZES_BYTES
    ]


def _measured_s(machine: Machine, *, case: ExchangeCase | CollectiveCase) -> float:
    """Return the mean time of the same case in the shipped tables. [s]."""
    found = _measured_times().get((machine.name, case), [])
    return sum(found) / len(found) if found else _NAN


@cache
def _measured_times() -> dict[tuple[str, ExchangeCase | CollectiveCase], list[float]]:
    """Return the times of the shipped tables by what was timed. [s]."""
    times = defaultdict(list)
    for file in CALIBRATION_FILES:
        for row in read_measurements(shipped_folder("scenarios/calibration") / file):
            if row.unit == "s" and row.case is not None:
                times[row.hardware, row.case].append(row.measured)
    return dict(times)
