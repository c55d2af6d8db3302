"""How long the ports of each rank take to dispatch tokens to experts, and to combine them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.collectives import ExchangeConstants, Family, Spread
from rackmoe.errors import ConfigError
from rackmoe.network.port_kernels import NO_COPIES, NO_TOKENS, added_s, added_s_plain
from rackmoe.network.startup import overlapped_s, ramped_s
from rackmoe.network.traffic import ExpertGroup, PortTimes, Traffic, balanced_traffic

__all__ = [
    "Exchange",
    "ExchangeLaw",
    "GroupPorts",
    "IdealExchange",
    "PortCopies",
    "balanced_time_s",
    "family_copies",
]

Floats = NDArray[np.float64]
_Pair = tuple[Floats, Floats]


class Exchange(Protocol):
    """A dispatch or a combine: every family has this method."""

    def port_times(
        self, traffic: Traffic, *, tokens: Floats, port_frac: Floats | float = 1.0
    ) -> PortTimes:
        """Return how long each rank sends and receives.

        Parameters
        ----------
        traffic : Traffic
            Copies of tokens per layer and rank.
        tokens : ndarray of shape (n_ranks,)
            Tokens of each rank in this step.
        port_frac : float or ndarray of shape (n_ranks,)
            Share of a rank's scale-up links that work.

        Returns
        -------
        PortTimes
            Start-up time apart. [s]
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPorts:
    """What the machine gives to the ranks of one group.

    Attributes
    ----------
    port_bandwidth_bytes_per_s : float
        Scale-up port of a rank, one direction. [B/s]
    nic_bandwidth_bytes_per_s : float
        All NICs of a rank, one direction. [B/s]
    n_nodes : int
        Nodes (operating systems) of the group; start-up times depend on it.
    n_domains : int
        Scale-up domains of the group; the NIC is used when there are several.
    """

    port_bandwidth_bytes_per_s: float
    nic_bandwidth_bytes_per_s: float
    n_nodes: int
    n_domains: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PortCopies:
    """Copies that a rank sends and receives over each kind of port.

    Attributes
    ----------
    port, nic : tuple of two ndarray of shape (n_layers, n_ranks), or None
        Copies on the side of the tokens' owner, then on the side of the experts; None
        where the family does not use the port.
    """

    port: _Pair | None
    nic: _Pair | None


def _rank_copies(traffic: Traffic) -> PortCopies:
    """One copy per destination rank, all through the scale-up fabric."""
    return PortCopies(port=(traffic.copies_out, traffic.copies_in), nic=None)


def _forwarded_copies(traffic: Traffic) -> PortCopies:
    """One copy per remote domain over the NIC, then one per rank inside its domain."""
    return PortCopies(
        port=(traffic.copies_out, traffic.copies_in),
        nic=(traffic.node_copies_out, traffic.node_copies_in),
    )


def _assignment_copies(traffic: Traffic) -> PortCopies:
    """One copy per assignment: remote ones over the NIC, local ones over the fabric."""
    out, into = traffic.remote_assignments_out, traffic.remote_assignments_in
    return PortCopies(
        port=(traffic.assignments_out - out, traffic.assignments_in - into), nic=(out, into)
    )


def _rdma_copies(traffic: Traffic) -> PortCopies:
    """One copy per assignment, all over the NIC."""
    return PortCopies(port=None, nic=(traffic.assignments_out, traffic.assignments_in))


_COPIES: Mapping[Family, Callable[[Traffic], PortCopies]] = MappingProxyType(
    {
        Family.NVLINK_ONE_SIDED: _rank_copies,
        Family.NVLINK_TWO_SIDED: _rank_copies,
        Family.DEEPEP_NORMAL: _forwarded_copies,
        Family.DEEPEP_LOW_LATENCY: _assignment_copies,
        Family.DEEPEP_LOW_LATENCY_RDMA: _rdma_copies,
    }
)
_OWNER, _EXPERT = 0, 1  # the rank that owns the token; the rank of its expert
_ONE_DOMAIN = (Family.NVLINK_ONE_SIDED, Family.NVLINK_TWO_SIDED)


def family_copies(family: Family, *, traffic: Traffic, n_domains: int) -> PortCopies:
    """Return the copies that a family sends over each kind of port.

    Parameters
    ----------
    family : Family
        A family with measured kernels.
    traffic : Traffic
        Copies of tokens per layer and rank.
    n_domains : int
        Scale-up domains of the group; with one, only pure RDMA uses the NIC.

    Returns
    -------
    PortCopies
        Of a dispatch; a combine swaps the sides.
    """
    copies = _COPIES[family](traffic)
    if n_domains > 1 or family is Family.DEEPEP_LOW_LATENCY_RDMA:
        return copies
    return PortCopies(port=copies.port, nic=None)


@lru_cache(maxsize=1024)
def _copy_time_s(port_s: float, sm_s: float) -> float:
    """Return the time of one copy, which the port and the SMs move together. [s]."""
    return float(overlapped_s(port_s, sm_s))


class ExchangeLaw:
    r"""The time that a measured dispatch, combine or prepare kernel keeps each rank busy.

    Parameters
    ----------
    constants : ExchangeConstants
        Fitted start-up times and efficiencies.
    ports : GroupPorts
        The machine under the group.
    payload_bytes : float
        One copy of one token on the wire, scales included. [B]
    n_sms : int, optional
        SMs of the kernel; the constants' own number if left out.
    combine_in_network : bool
        What if the switches summed the copies of a combine: a rank then receives each
        of its tokens once. No shipped kernel does it.

    Attributes
    ----------
    latency_s : float
        Start-up time. [s]
    near_frac : float
        Time of a copy over the scale-up port over that over the NICs.

    Raises
    ------
    ConfigError
        If an NVLink kernel is asked to cross scale-up domains.

    Notes
    -----
    With :math:`n` copies of :math:`b` bytes over the port, :math:`m` over the NIC and
    :math:`T` own tokens, a rank is busy for

    .. math:: x = \left[ \left(\frac{n b}{\eta_p B_p}\right)^4
              + \left(\frac{n b}{S r}\right)^4 + \left(\frac{m b}{\eta_n B_n}\right)^4
              + (T \tau)^4 \right]^{1/4}

    with efficiencies :math:`\eta`, :math:`S` SMs that send :math:`r` bytes per second
    each, and :math:`\tau` for each own token; start-up is added by
    `rackmoe.network.startup.ramped_s`. The bytes of each family follow its source
    code: DeepEP (github.com/deepseek-ai/DeepEP) and TensorRT-LLM's NVLink kernels.
    """

    def __init__(
        self,
        constants: ExchangeConstants,
        *,
        ports: GroupPorts,
        payload_bytes: float,
        n_sms: int | None = None,
        combine_in_network: bool = False,
    ) -> None:
        if ports.n_domains > 1 and constants.family in _ONE_DOMAIN:
            raise ConfigError(
                f"{constants.family.value}: the group covers {ports.n_domains} scale-up domains; "
                "expected one; choose deepep_normal or deepep_low_latency, or a smaller group"
            )
        self.constants = constants
        latency_s = constants.latency_s
        # Inside a domain all GPUs are one switch apart, however many nodes there are.
        self.latency_s = (
            latency_s.at_or_beyond(ports.n_nodes)
            if ports.n_domains > 1
            else latency_s.at(ports.n_nodes)
        )
        port_s = payload_bytes / (
            constants.port_efficiency.at(ports.n_nodes) * ports.port_bandwidth_bytes_per_s
        )
        sms = constants.n_sms if n_sms is None else n_sms
        sm_s = 0.0
        if constants.sm_bandwidth_bytes_per_s is not None and sms > 0:
            sm_s = payload_bytes / (constants.sm_bandwidth_bytes_per_s.at(ports.n_nodes) * sms)
        self._is_prepare = constants.key.operation == "prepare"
        self._is_combine = constants.key.operation.startswith("combine")
        self._port_copy_s = port_s
        self._sm_copy_s = sm_s
        self._nic_copy_s = payload_bytes / (
            constants.nic_efficiency * ports.nic_bandwidth_bytes_per_s
        )
        self.near_frac = _copy_time_s(port_s, sm_s) / self._nic_copy_s
        self._n_domains = ports.n_domains
        self._in_network = combine_in_network and self._is_combine

    def port_times(
        self, traffic: Traffic, *, tokens: Floats, port_frac: Floats | float = 1.0
    ) -> PortTimes:
        """Return how long each rank sends and receives; see `Exchange.port_times`."""
        token_s = tokens * self.constants.token_time_s
        if self._is_prepare:
            none = np.zeros(traffic.copies_out.shape)
            own = none + self._beyond_start(token_s)
            return PortTimes(egress_s=own, ingress_s=none, latency_s=self.latency_s)
        copies = family_copies(self.constants.family, traffic=traffic, n_domains=self._n_domains)
        port = copies.port or (NO_COPIES, NO_COPIES)
        nic = copies.nic or (NO_COPIES, NO_COPIES)
        if self._in_network and copies.port is not None:
            port = np.minimum(port[_OWNER], tokens), port[_EXPERT]
        owner_s = self._added_s(token_s, port[_OWNER], nic[_OWNER], port_frac)
        expert_s = self._added_s(NO_TOKENS, port[_EXPERT], nic[_EXPERT], port_frac)
        egress_s, ingress_s = (expert_s, owner_s) if self._is_combine else (owner_s, expert_s)
        return PortTimes(egress_s=egress_s, ingress_s=ingress_s, latency_s=self.latency_s)

    def _added_s(
        self, token_s: Floats, port: Floats, nic: Floats, port_frac: Floats | float
    ) -> Floats:
        """Return what passes and copies that overlap add to the start-up time."""
        rest = (nic, self._nic_copy_s, self.latency_s, self.constants.ramp)
        if isinstance(port_frac, float) and token_s.ndim == 1:
            copy_s = _copy_time_s(self._port_copy_s / port_frac, self._sm_copy_s)
            compiled: Floats = added_s(token_s, port, copy_s, *rest)
            return compiled
        shared_s = overlapped_s(self._port_copy_s / port_frac, self._sm_copy_s)
        return added_s_plain(token_s, port, shared_s, *rest)

    def _beyond_start(self, busy_s: Floats) -> Floats:
        """Return what a transfer adds to the start-up time."""
        total_s = ramped_s(busy_s, latency_s=self.latency_s, ramp=self.constants.ramp)
        return total_s - self.latency_s


class IdealExchange:
    """The bound of DeepSeek's paper: full bandwidth, no latency, every copy is sent.

    Parameters
    ----------
    bandwidth_bytes_per_s : float
        Of one rank, one direction. [B/s]
    payload_bytes : float
        One copy of one token. [B]
    n_destinations : int
        Copies of each token, those to the own rank included.
    is_combine : bool
        Whether copies go back to the owners of the tokens.
    """

    def __init__(
        self,
        *,
        bandwidth_bytes_per_s: float,
        payload_bytes: float,
        n_destinations: int,
        is_combine: bool = False,
    ) -> None:
        self.latency_s = 0.0
        self._copy_s = payload_bytes / bandwidth_bytes_per_s
        self._n_destinations = n_destinations
        self._is_combine = is_combine

    def port_times(
        self, traffic: Traffic, *, tokens: Floats, port_frac: Floats | float = 1.0
    ) -> PortTimes:
        """Return how long each rank sends and receives; see `Exchange.port_times`."""
        load = traffic.rank_assignments
        copy_s = self._copy_s / port_frac
        owner_s = np.zeros(load.shape) + tokens * self._n_destinations * copy_s
        total = load.sum(axis=-1, keepdims=True)
        n_sent = np.broadcast_to(tokens, load.shape).sum(axis=-1, keepdims=True)
        per_load = np.divide(
            n_sent * self._n_destinations, total, out=np.zeros_like(total), where=total > 0
        )
        expert_s = load * per_load * copy_s
        egress_s, ingress_s = (expert_s, owner_s) if self._is_combine else (owner_s, expert_s)
        return PortTimes(egress_s=egress_s, ingress_s=ingress_s, latency_s=0.0)


def balanced_time_s(
    exchange: Exchange,
    *,
    tokens_per_rank: Floats | float,
    group: ExpertGroup,
    spread: Spread = Spread.RANDOM,
) -> Floats:
    """Return the duration of a dispatch or combine when all ranks are equally loaded.

    Parameters
    ----------
    exchange : Exchange
        The law.
    tokens_per_rank : float or ndarray of shape (n,)
        Tokens of each rank.
    group : ExpertGroup
        Ranks and experts.
    spread : Spread
        How tokens choose experts.

    Returns
    -------
    ndarray of shape (n,)
        The law's `port_times` of the expected traffic, start to end. [s]
    """
    traffic = balanced_traffic(tokens_per_rank, group=group, spread=spread)
    return exchange.port_times(traffic, tokens=traffic.tokens).total_s()
