"""Which fitted constants a dispatch or a collective uses, and the laws bound to a machine."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.collectives import (
    CollectiveBook,
    CollectiveConstants,
    ExchangeConstants,
    Family,
    ideal_collective,
)
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.model.costs import dispatch_bytes
from rackmoe.network.collectives import CollectiveLaw
from rackmoe.network.dense_exchange import GatherExchange, PairwiseExchange
from rackmoe.network.dispatch import Exchange, ExchangeLaw, GroupPorts, IdealExchange
from rackmoe.network.traffic import PortTimes, Traffic

__all__ = [
    "ExchangeChoice",
    "MoeExchange",
    "build_collective",
    "build_exchange",
    "find_collective",
    "find_exchange",
    "group_ports",
]

Floats = NDArray[np.float64]

# A library is not asked about groups of more than twice the largest that was measured, where
# another one was measured closer (kind: assumed).
_FAR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeChoice:
    """How a replica moves tokens between the ranks that share experts.

    Attributes
    ----------
    family : Family
        The kernels.
    n_ranks : int
        Ranks of the expert-parallel group.
    top_k : int
        Routed experts of a token.
    hidden : int
        Width of the hidden vector.
    dispatch_dtype, combine_dtype : str
        Formats on the wire, dtypes of `rackmoe.model.costs.dispatch_bytes`.
    library : str
        Preferred library, or the beginning of its name; empty for the first that fits.
    n_sms : int or None
        SMs of the kernels; None for what the benchmark used.
    nic_bandwidth_bytes_per_s : float or None
        All NICs of a GPU, where they are not those of the profile. [B/s]
    combine_in_network : bool
        What if the switches summed the copies of a combine.
    """

    family: Family
    n_ranks: int
    top_k: int
    hidden: int
    dispatch_dtype: str
    combine_dtype: str
    library: str = ""
    n_sms: int | None = None
    nic_bandwidth_bytes_per_s: float | None = None
    combine_in_network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeExchange:
    """Dispatch and combine of one group; a dispatch may start with a prepare kernel.

    Attributes
    ----------
    dispatch, combine : Exchange
        The laws.
    prepare : Exchange or None
        Exchange of counts before a two-sided dispatch.
    """

    dispatch: Exchange
    combine: Exchange
    prepare: Exchange | None = None

    def dispatch_times(
        self, traffic: Traffic, *, tokens: Floats, port_frac: Floats | float = 1.0
    ) -> PortTimes:
        """Return the port times of a dispatch, prepare included; see `Exchange.port_times`."""
        times = self.dispatch.port_times(traffic, tokens=tokens, port_frac=port_frac)
        if self.prepare is None:
            return times
        first = self.prepare.port_times(traffic, tokens=tokens, port_frac=port_frac)
        return PortTimes(
            egress_s=first.egress_s + times.egress_s,
            ingress_s=first.egress_s + times.ingress_s,
            latency_s=first.latency_s + times.latency_s,
        )

    def combine_times(
        self, traffic: Traffic, *, tokens: Floats, port_frac: Floats | float = 1.0
    ) -> PortTimes:
        """Return the port times of a combine; see `Exchange.port_times`."""
        return self.combine.port_times(traffic, tokens=tokens, port_frac=port_frac)


def group_ports(
    machine: Machine, *, n_ranks: int, nic_bandwidth_bytes_per_s: float | None = None
) -> GroupPorts:
    """Return what a machine gives to the ranks of a group that fills whole nodes.

    Parameters
    ----------
    machine : Machine
        The machine.
    n_ranks : int
        Ranks of the group, one on each GPU.
    nic_bandwidth_bytes_per_s : float, optional
        All NICs of a GPU, where they are not those of the profile. [B/s]

    Returns
    -------
    GroupPorts
        Bandwidths, nodes and domains.
    """
    out = machine.scale_out
    nic = nic_bandwidth_bytes_per_s or out.nic_bandwidth_bytes_per_s * out.nics_per_gpu
    return GroupPorts(
        port_bandwidth_bytes_per_s=machine.scale_up.gpu_bandwidth_bytes_per_s,
        nic_bandwidth_bytes_per_s=nic,
        n_nodes=-(-n_ranks // machine.host.gpus_per_node),
        n_domains=-(-n_ranks // machine.scale_up.domain_gpus),
    )


def build_exchange(
    machine: Machine, *, book: CollectiveBook, choice: ExchangeChoice
) -> MoeExchange:
    """Return the dispatch and combine of a group on a machine.

    Parameters
    ----------
    machine : Machine
        The machine.
    book : CollectiveBook
        Constants that apply to its GPU.
    choice : ExchangeChoice
        Kernels, formats and group.

    Returns
    -------
    MoeExchange
        Laws with `port_times`.

    Raises
    ------
    ConfigError
        If no constants are known for the family, or it cannot serve the group.
    """
    if choice.family is Family.IDEAL:
        return MoeExchange(
            dispatch=_ideal(machine, choice=choice, operation="dispatch"),
            combine=_ideal(machine, choice=choice, operation="combine"),
        )
    if choice.family in {Family.ALLGATHER_REDUCESCATTER, Family.NCCL_ALLTOALL}:
        return _dense_exchange(machine, book=book, choice=choice)
    prepare = None
    if choice.family is Family.NVLINK_TWO_SIDED:
        prepare = _measured(machine, book=book, choice=choice, operation="prepare")
    return MoeExchange(
        dispatch=_measured(machine, book=book, choice=choice, operation="dispatch"),
        combine=_measured(machine, book=book, choice=choice, operation="combine"),
        prepare=prepare,
    )


def build_collective(
    machine: Machine, *, book: CollectiveBook, operation: str, n_ranks: int, library: str = ""
) -> CollectiveLaw:
    """Return the law of a collective of dense buffers on a machine.

    Parameters
    ----------
    machine : Machine
        The machine.
    book : CollectiveBook
        Constants that apply to its GPU.
    operation : str
        ``all_reduce``, ``all_gather``, ``reduce_scatter`` or ``all_to_all``.
    n_ranks : int
        GPUs of the communicator.
    library : str
        Preferred library, or the beginning of its name; empty for the first that fits.

    Returns
    -------
    CollectiveLaw
        The law, with `time_s`.
    """
    constants = find_collective(book, operation=operation, n_ranks=n_ranks, library=library)
    return CollectiveLaw(constants, machine=machine, n_ranks=n_ranks)


def find_exchange(
    entries: Iterable[ExchangeConstants],
    *,
    family: Family,
    operation: str,
    payload_dtype: str = "",
    library: str = "",
    n_nodes: int = 1,
) -> ExchangeConstants:
    """Return the constants that fit best: library, then format, then number of nodes.

    Parameters
    ----------
    entries : iterable of ExchangeConstants
        Preferred ones first.
    family : Family
        The kernels.
    operation : str
        ``dispatch``, ``combine`` or ``prepare``.
    payload_dtype : str
        Format on the wire; empty if it does not matter.
    library : str
        Beginning of the library's name; empty if it does not matter.
    n_nodes : int
        Nodes that the constants should cover.

    Returns
    -------
    ExchangeConstants
        The first of the best.

    Raises
    ------
    ConfigError
        If no entry has the family and operation.
    """
    known = list(entries)
    fitting = [
        one
        for one in known
        if one.family is family
        and one.key.operation.startswith(operation)
        and not one.report.caveat
    ]
    if not fitting:
        names = ", ".join(sorted({one.family.value for one in known})) or "none"
        raise ConfigError(
            f"{family.value} {operation}: no constants for this GPU; "
            f"expected one of {names}; choose one or calibrate it"
        )
    return min(
        fitting,
        key=lambda one: (
            not one.key.library.startswith(library),
            bool(payload_dtype) and one.payload_dtype != payload_dtype,
            -min(one.latency_s.sizes[-1], n_nodes),
        ),
    )


def find_collective(
    book: CollectiveBook, *, operation: str, n_ranks: int, library: str = ""
) -> CollectiveConstants:
    """Return the constants of a collective that fit best.

    Those known for a group of a similar size come first, then the library, then the size.

    Parameters
    ----------
    book : CollectiveBook
        Constants that apply to a GPU.
    operation : str
        ``all_reduce``, ``all_gather``, ``reduce_scatter`` or ``all_to_all``.
    n_ranks : int
        Ranks that the constants should cover.
    library : str
        Beginning of the library's name, or ``ideal``; empty if it does not matter.

    Returns
    -------
    CollectiveConstants
        The first of the best.

    Raises
    ------
    ConfigError
        If no entry has the operation.
    """
    if library == "ideal":
        return ideal_collective(operation)
    fitting = [one for one in book.collectives if one.key.operation == operation]
    if not fitting:
        names = ", ".join(sorted({one.key.operation for one in book.collectives})) or "none"
        raise ConfigError(
            f"{operation}: no constants for {book.gpu}; "
            f"expected one of {names}; choose one or calibrate it"
        )

    def order(one: CollectiveConstants) -> tuple[bool, bool, int]:
        largest = max(way.port_efficiency.sizes[-1] for way in one.algorithms)
        is_far = _FAR * largest < n_ranks
        return is_far, not one.key.library.startswith(library), -min(largest, n_ranks)

    return min(fitting, key=order)


def _measured(
    machine: Machine, *, book: CollectiveBook, choice: ExchangeChoice, operation: str
) -> ExchangeLaw:
    """Return the law of a measured kernel."""
    dtype = choice.combine_dtype if operation == "combine" else choice.dispatch_dtype
    ports = group_ports(
        machine,
        n_ranks=choice.n_ranks,
        nic_bandwidth_bytes_per_s=choice.nic_bandwidth_bytes_per_s,
    )
    constants = find_exchange(
        book.exchanges,
        family=choice.family,
        operation=operation,
        payload_dtype=dtype,
        library=choice.library,
        n_nodes=ports.n_nodes,
    )
    return ExchangeLaw(
        constants,
        ports=ports,
        payload_bytes=dispatch_bytes(choice.hidden, dtype=dtype),
        n_sms=choice.n_sms,
        combine_in_network=choice.combine_in_network,
    )


def _ideal(machine: Machine, *, choice: ExchangeChoice, operation: str) -> IdealExchange:
    """Return the bound: the scale-up port inside a domain, the NIC across domains."""
    ports = group_ports(machine, n_ranks=choice.n_ranks)
    is_combine = operation == "combine"
    dtype = choice.combine_dtype if is_combine else choice.dispatch_dtype
    rate = (
        ports.nic_bandwidth_bytes_per_s
        if ports.n_domains > 1
        else ports.port_bandwidth_bytes_per_s
    )
    return IdealExchange(
        bandwidth_bytes_per_s=rate,
        payload_bytes=dispatch_bytes(choice.hidden, dtype=dtype),
        n_destinations=choice.top_k,
        is_combine=is_combine,
    )


def _dense_exchange(
    machine: Machine, *, book: CollectiveBook, choice: ExchangeChoice
) -> MoeExchange:
    """Return dispatch and combine by collectives of dense buffers."""
    is_gather = choice.family is Family.ALLGATHER_REDUCESCATTER
    operations = ("all_gather", "reduce_scatter") if is_gather else ("all_to_all", "all_to_all")
    laws = [
        build_collective(
            machine, book=book, operation=one, n_ranks=choice.n_ranks, library=choice.library
        )
        for one in operations
    ]
    sizes = [
        dispatch_bytes(choice.hidden, dtype=dtype)
        for dtype in (choice.dispatch_dtype, choice.combine_dtype)
    ]
    if is_gather:
        return MoeExchange(
            dispatch=GatherExchange(laws[0], payload_bytes=sizes[0]),
            combine=GatherExchange(
                laws[1], payload_bytes=sizes[1], combine_in_network=choice.combine_in_network
            ),
        )
    return MoeExchange(
        dispatch=PairwiseExchange(laws[0], payload_bytes=sizes[0]),
        combine=PairwiseExchange(laws[1], payload_bytes=sizes[1], is_combine=True),
    )
