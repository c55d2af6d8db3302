"""What a measured communication time is a time of, and what the laws say it should be."""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rackmoe.backend.collectives import (
    CollectiveBook,
    CollectiveConstants,
    CollectiveKey,
    ExchangeConstants,
    Family,
)
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.model.costs import dispatch_bytes
from rackmoe.network.build import find_collective, find_exchange, group_ports
from rackmoe.network.collectives import CollectiveLaw
from rackmoe.network.dispatch import ExchangeLaw, balanced_time_s
from rackmoe.network.traffic import ExpertGroup, balanced_traffic

__all__ = [
    "ANY_OPERATION",
    "LARGE_BYTES",
    "LARGE_TOKENS",
    "CollectiveCase",
    "ExchangeCase",
    "Measurement",
    "error_of",
    "exchange_group",
    "logical_bytes",
    "predict_collective",
    "predict_exchange",
    "split_rows",
]

LARGE_TOKENS = 128
LARGE_BYTES = 1e6
ANY_OPERATION = "any"
"""Operation of constants that a dispatch and a combine share for want of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeCase:
    """A dispatch, combine or prepare that somebody timed.

    Attributes
    ----------
    key : CollectiveKey
        Kernel.
    family : Family
        How it moves tokens.
    payload_dtype : str
        Format on the wire.
    n_ranks, tokens, hidden, top_k, n_experts : int
        Ranks, tokens of each rank, width, routed experts of a token and of a layer.
    n_sms : int or None
        SMs of the kernel where the source says it.
    nic_bandwidth_bytes_per_s : float or None
        All NICs of a GPU where they are not those of the profile. [B/s]
    logical_parts : str
        What a logical bandwidth counts: ``rank`` or ``domain`` copies, own included;
        empty when a time was measured.
    """

    key: CollectiveKey
    family: Family
    payload_dtype: str
    n_ranks: int
    tokens: int
    hidden: int = 7168
    top_k: int = 8
    n_experts: int = 256
    n_sms: int | None = None
    nic_bandwidth_bytes_per_s: float | None = None
    logical_parts: str = ""

    @property
    def is_large(self) -> bool:
        """Whether the relative error counts, rather than the absolute one."""
        return self.tokens >= LARGE_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveCase:
    """A collective of dense buffers that somebody timed.

    Attributes
    ----------
    key : CollectiveKey
        Library and operation.
    n_ranks : int
        GPUs.
    n_bytes : float
        The whole buffer, as in `rackmoe.network.collectives.wire_bytes`. [B]
    n_local : int or None
        GPUs in one scale-up domain where the source says it.
    is_bus_bandwidth : bool
        Whether a bus bandwidth was measured rather than a time.
    """

    key: CollectiveKey
    n_ranks: int
    n_bytes: float
    n_local: int | None = None
    is_bus_bandwidth: bool = False

    @property
    def is_large(self) -> bool:
        """Whether the relative error counts, rather than the absolute one."""
        return self.n_bytes >= LARGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of a table.

    Attributes
    ----------
    row : str
        The row's id, or its number from 1 where the table has none.
    hardware : str
        Profile of the machine; empty if the table does not say.
    case : ExchangeCase or CollectiveCase or None
        What was timed; None where the row says too little or something else.
    measured : float
        Time [s] or bandwidth [B/s].
    unit : str
        ``s`` or ``B/s``.
    reason : str
        Why there is no case.
    """

    row: str
    hardware: str
    case: ExchangeCase | CollectiveCase | None
    measured: float
    unit: str = "s"
    reason: str = ""

    @property
    def fingerprint(self) -> str:
        """A text that is equal for rows that timed the same thing."""
        return f"{self.sweep}|{self.size:g}"

    @property
    def size(self) -> float:
        """Tokens of a rank, or bytes of the buffer; 0 without a case."""
        if isinstance(self.case, ExchangeCase):
            return self.case.tokens
        return 0.0 if self.case is None else self.case.n_bytes

    @property
    def sweep(self) -> str:
        """A text that is equal for rows that differ in their size only."""
        if isinstance(self.case, ExchangeCase):
            return f"{self.hardware}|{replace(self.case, tokens=0)}"
        if self.case is None:
            return self.hardware
        return f"{self.hardware}|{replace(self.case, n_bytes=0.0)}"


def split_rows(
    rows: Sequence[Measurement],
) -> tuple[list[Measurement], list[Measurement]]:
    """Return the rows of a large group that are fitted, and those kept to test the fit.

    Parameters
    ----------
    rows : sequence of Measurement
        Rows of one kernel.

    Returns
    -------
    fitted, held_out : list of Measurement
        About half each. Of two neighboring sizes of a sweep one is held out, chosen by a
        stable hash (CRC-32) of what was timed, never of the result; the smallest and the
        largest are fitted, so that the test interpolates.
    """
    sizes: dict[str, set[float]] = defaultdict(set)
    for row in rows:
        sizes[row.sweep].add(row.size)
    kept_back = {
        (sweep, pair[zlib.crc32(f"{sweep}|{pair[0]:g}".encode()) % 2])
        for sweep, several in sizes.items()
        for pair in _pairs(sorted(several)[1:-1])
    }
    fitted: list[Measurement] = []
    held_out: list[Measurement] = []
    for row in rows:
        (held_out if (row.sweep, row.size) in kept_back else fitted).append(row)
    return fitted, held_out


def _pairs(values: list[float]) -> Iterable[tuple[float, float]]:
    """Return neighbors two by two; a last odd one is left out."""
    return zip(values[::2], values[1::2], strict=False)


def exchange_group(case: ExchangeCase, *, machine: Machine) -> ExpertGroup:
    """Return the group of a case on a machine."""
    return ExpertGroup(
        n_ranks=case.n_ranks,
        ranks_per_domain=machine.scale_up.domain_gpus,
        top_k=case.top_k,
        n_experts=case.n_experts,
    )


def predict_exchange(
    case: ExchangeCase, *, machine: Machine, book: CollectiveBook
) -> tuple[float, ExchangeConstants]:
    """Return the law's time or bandwidth for a case, and the constants that it used.

    Parameters
    ----------
    case : ExchangeCase
        What was timed.
    machine : Machine
        Where.
    book : CollectiveBook
        Constants that apply to its GPU.

    Returns
    -------
    predicted : float
        Time [s], or logical bandwidth [B/s] where the case has one.
    constants : ExchangeConstants
        The kernel's own, or those of the nearest kernel.
    """
    ports = group_ports(
        machine,
        n_ranks=case.n_ranks,
        nic_bandwidth_bytes_per_s=case.nic_bandwidth_bytes_per_s,
    )
    constants = _exchange_constants(case, book=book, n_nodes=ports.n_nodes)
    payload = dispatch_bytes(case.hidden, dtype=case.payload_dtype)
    bound = replace(constants, key=replace(constants.key, operation=case.key.operation))
    law = ExchangeLaw(bound, ports=ports, payload_bytes=payload, n_sms=case.n_sms)
    group = exchange_group(case, machine=machine)
    time_s = float(
        balanced_time_s(law, tokens_per_rank=case.tokens, group=group, spread=constants.spread)[0]
    )
    if not case.logical_parts:
        return time_s, constants
    return logical_bytes(case, group=group, constants=constants) / time_s, constants


def logical_bytes(
    case: ExchangeCase, *, group: ExpertGroup, constants: ExchangeConstants
) -> float:
    """Return the bytes that a benchmark of DeepEP counts for a rank, its own copies included.

    Parameters
    ----------
    case : ExchangeCase
        What was timed; `logical_parts` says which copies count.
    group : ExpertGroup
        Ranks and experts.
    constants : ExchangeConstants
        Their spread says how the benchmark chose experts.

    Returns
    -------
    float
        Bytes. [B]
    """
    traffic = balanced_traffic(case.tokens, group=group, spread=constants.spread)
    is_rank = case.logical_parts == "rank"
    copies = float((traffic.copies_out if is_rank else traffic.node_copies_out)[0, 0])
    n_parts = group.n_ranks if is_rank else group.n_domains
    payload = dispatch_bytes(case.hidden, dtype=case.payload_dtype)
    return payload * (copies * n_parts / (n_parts - 1) if n_parts > 1 else case.tokens)


def predict_collective(
    case: CollectiveCase, *, machine: Machine, book: CollectiveBook
) -> tuple[float, CollectiveConstants]:
    """Return the law's time or bus bandwidth for a case, and the constants that it used.

    Parameters
    ----------
    case : CollectiveCase
        What was timed.
    machine : Machine
        Where.
    book : CollectiveBook
        Constants that apply to its GPU.

    Returns
    -------
    predicted : float
        Time [s], or bus bandwidth [B/s] where the case has one.
    constants : CollectiveConstants
        The library's own, or those of the nearest library.
    """
    constants = find_collective(
        book, operation=case.key.operation, n_ranks=case.n_ranks, library=case.key.library
    )
    law = CollectiveLaw(constants, machine=machine, n_ranks=case.n_ranks, n_local=case.n_local)
    if case.is_bus_bandwidth:
        return float(law.bus_bytes_per_s(case.n_bytes)), constants
    return float(law.time_s(case.n_bytes)), constants


def _exchange_constants(
    case: ExchangeCase, *, book: CollectiveBook, n_nodes: int
) -> ExchangeConstants:
    """Return the constants of a kernel, else of its sibling, else of its family."""
    exact = [one for one in book.exchanges if one.key == case.key]
    if exact:
        return exact[0]
    siblings = [
        one
        for one in book.exchanges
        if one.key.library == case.key.library and one.key.kernel == case.key.kernel
    ]
    shared = [one for one in siblings if one.key.operation == ANY_OPERATION]
    if shared:
        return shared[0]
    alike = [one for one in siblings if one.key.operation == case.key.operation]
    if alike or siblings:
        return (alike or siblings)[0]
    return find_exchange(
        book.exchanges,
        family=case.family,
        operation=case.key.operation,
        payload_dtype=case.payload_dtype,
        library=case.key.library,
        n_nodes=n_nodes,
    )


def error_of(predicted: float, *, measured: float, is_large: bool) -> float:
    """Return the error that the targets are stated in.

    Parameters
    ----------
    predicted, measured : float
        In the same unit.
    is_large : bool
        Whether the error is relative.

    Returns
    -------
    float
        ``|predicted / measured - 1|``, or ``|predicted - measured|`` [s].
    """
    if measured <= 0 or not np.isfinite(measured):
        raise ConfigError(f"measured: {measured}; expected a positive number; correct the row")
    difference = abs(predicted - measured)
    return difference / measured if is_large else difference
