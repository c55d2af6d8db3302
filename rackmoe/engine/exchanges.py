"""How the tokens of a replica travel: between the ranks that share experts, and within groups."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.collectives import Family
from rackmoe.engine.pair_traffic import PairTraffic
from rackmoe.network.build import MoeExchange
from rackmoe.network.collectives import CollectiveLaw
from rackmoe.network.traffic import PortTimes
from rackmoe.routing.step import StepRouting

__all__ = [
    "DispatchCombine",
    "ExpertReduce",
    "LocalExperts",
    "PortBytes",
    "ReplicaExchanges",
    "SentBytes",
]

Exchanged = tuple[PortTimes | None, PortTimes | None]
SentBytes = tuple[float, float]
PortBytes = NDArray[np.float64] | None
"""Bytes of each rank, shape (4, n_ranks): scale-up out and in, scale-out out and in. [B]"""

_PER_ASSIGNMENT = (Family.DEEPEP_LOW_LATENCY, Family.DEEPEP_LOW_LATENCY_RDMA, Family.IDEAL)

# A ring all-reduce sends every byte twice over each port but one share (Thakur 2005).
_ALL_REDUCE_PASSES = 2


class ReplicaExchanges(Protocol):
    """What a step needs to know about communication."""

    traffic: PairTraffic
    """Who sends to whom."""

    def group_reduce_s(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the all-reduce after a tensor-parallel part, shape (n_groups,). [s]."""

    def expert_exchanges(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> Exchanged:
        """Return dispatch and combine of every MoE layer; None where nothing is exchanged."""

    def sent_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> SentBytes:
        """Return the bytes that all GPUs send in a step, over scale-up and scale-out. [B]."""

    def port_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> PortBytes:
        """Return the bytes through the ports of each rank in a step. [B]."""


class _GroupReduce:
    """All-reduce among the GPUs of an attention group."""

    def __init__(self, law: CollectiveLaw | None, *, row_bytes: float) -> None:
        self._law = law
        self._row_bytes = row_bytes

    def time_s(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the duration for each group; zero where one GPU holds all heads. [s]."""
        if self._law is None:
            return np.zeros(len(rows))
        n_bytes = rows.astype(np.float64) * self._row_bytes
        return np.where(rows > 0, self._law.time_s(n_bytes), 0.0)

    def sent_bytes(self, rows: float) -> SentBytes:
        """Return the bytes that the GPUs of the groups send for one part. [B]."""
        if self._law is None:
            return 0.0, 0.0
        n_bytes = rows * self._row_bytes * _ALL_REDUCE_PASSES
        return _ring_bytes(n_bytes, n_ranks=self._law.n_ranks, n_local=self._law.n_local)


def _ring_bytes(n_bytes: float, *, n_ranks: int, n_local: float) -> SentBytes:
    """Return what rings over all ranks send inside domains and between them. [B].

    Laid out by rail, as `CollectiveLaw` has them: each domain gathers and reduces inside,
    and passes a buffer on to the next one once.
    """
    far_bytes = n_bytes * (n_ranks / n_local - 1)
    return n_bytes * (n_ranks - 1) - far_bytes, far_bytes


class LocalExperts:
    """One GPU holds everything: nothing travels."""

    def __init__(self) -> None:
        self.traffic = PairTraffic(None, n_ranks=1, domain_ranks=1)

    def group_reduce_s(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return zeros. [s]."""
        return np.zeros(len(rows))

    def expert_exchanges(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> Exchanged:  # noqa: ARG002 protocol
        """Return that nothing is exchanged."""
        return None, None

    def sent_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> SentBytes:  # noqa: ARG002 protocol
        """Return zero bytes. [B]."""
        return 0.0, 0.0

    def port_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> PortBytes:  # noqa: ARG002 protocol
        """Return that no port is used. [B]."""
        return None


class ExpertReduce:
    """Tensor-parallel attention: all ranks hold all tokens, and expert outputs are all-reduced.

    Parameters
    ----------
    law : CollectiveLaw
        The all-reduce over the replica.
    hidden : int
        Width of the hidden vector.
    n_layers, n_moe_layers : int
        Layers of the model.
    traffic : PairTraffic, optional
        The GPUs of the replica; all in one scale-up domain if left out.
    """

    def __init__(
        self,
        law: CollectiveLaw,
        *,
        hidden: int,
        n_layers: int,
        n_moe_layers: int,
        traffic: PairTraffic | None = None,
    ) -> None:
        one = PairTraffic(None, n_ranks=law.n_ranks, domain_ranks=law.n_ranks)
        self.traffic = traffic or one
        self._law = law
        self._reduce = _GroupReduce(law, row_bytes=hidden * 2.0)
        self._n_layers = n_layers
        self._shape = (n_moe_layers, law.n_ranks)

    def group_reduce_s(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the all-reduce after attention or a dense part, shape (1,). [s]."""
        return self._reduce.time_s(rows)

    def expert_exchanges(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> Exchanged:  # noqa: ARG002 protocol
        """Return no dispatch, and the all-reduce as the combine."""
        busy = np.full(self._shape, float(self._reduce.time_s(tokens)[0]))
        nothing = np.zeros(self._shape)
        return (
            PortTimes(egress_s=nothing, ingress_s=nothing, latency_s=0.0),
            PortTimes(egress_s=busy, ingress_s=busy, latency_s=0.0),
        )

    def sent_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> SentBytes:  # noqa: ARG002 protocol
        """Return the bytes of two all-reduces in each layer. [B]."""
        up, out = self._reduce.sent_bytes(float(tokens.sum()))
        return 2 * self._n_layers * up, 2 * self._n_layers * out

    def port_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> PortBytes:
        """Return equal shares of the all-reduces. [B]."""
        return _equal_shares(self.sent_bytes(routed, tokens=tokens), n_ranks=self._shape[1])


class DispatchCombine:
    """Attention groups with their own tokens: dispatch to experts and combine.

    Parameters
    ----------
    exchange : MoeExchange
        The kernels.
    tp : int
        GPUs of an attention group.
    reduce_law : CollectiveLaw or None
        All-reduce within a group of more than one GPU.
    payload_bytes : tuple of float
        One copy of one token, dispatched and combined. [B]
    hidden, n_layers : int
        Width and layers of the model.
    traffic : PairTraffic
        The kernels, which decide how many copies a token makes, and the GPUs of the replica.
    combines_in_network : bool
        Whether switches sum the copies of a combine, so that a rank receives each of its
        tokens once; ranks send what they sent before.
    """

    def __init__(
        self,
        exchange: MoeExchange,
        *,
        tp: int,
        reduce_law: CollectiveLaw | None,
        payload_bytes: tuple[float, float],
        hidden: int,
        n_layers: int,
        traffic: PairTraffic,
        combines_in_network: bool = False,
    ) -> None:
        self._exchange = exchange
        self._tp = tp
        self._reduce = _GroupReduce(reduce_law, row_bytes=hidden * 2.0)
        self._payload_bytes = sum(payload_bytes)
        self._payloads_bytes = payload_bytes
        self._n_layers = n_layers
        self._in_network = combines_in_network
        self.traffic = traffic
        self._family = traffic.family
        self._n_ranks = traffic.n_ranks

    def group_reduce_s(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the all-reduce within each attention group, shape (n_groups,). [s]."""
        return self._reduce.time_s(rows)

    def expert_exchanges(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> Exchanged:
        """Return dispatch and combine of every MoE layer."""
        traffic = routed
        if routed.copies_out.shape[1] != self._n_ranks:
            n_layers = len(routed.copies_out)
            traffic = StepRouting.zeros(n_layers=n_layers, n_experts=1, n_ranks=self._n_ranks)
        own = np.repeat(tokens, self._tp) / self._tp
        return (
            self._exchange.dispatch_times(traffic, tokens=own),
            self._exchange.combine_times(traffic, tokens=own),
        )

    def sent_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> SentBytes:
        """Return the bytes of all dispatches, combines and all-reduces of a step. [B]."""
        up, out = self._reduced_bytes(float(tokens.sum()))
        if self._family is Family.ALLGATHER_REDUCESCATTER:
            near, far = self._gathered_bytes(routed, float(tokens.sum()))
            return near + up, far + out
        if self._family in _PER_ASSIGNMENT:
            total = float(routed.assignments_out.sum())
            remote = float(routed.remote_assignments_out.sum())
        else:
            total = float(routed.copies_out.sum())
            remote = float(routed.node_copies_out.sum())
        if self._family is Family.DEEPEP_LOW_LATENCY_RDMA:
            remote = total
        return (total - remote) * self._payload_bytes + up, remote * self._payload_bytes + out

    def port_bytes(self, routed: StepRouting, *, tokens: NDArray[np.int64]) -> PortBytes:
        """Return the bytes of all dispatches, combines and all-reduces through each port. [B].

        What a rank gets at dispatch it sends back at combine. Where switches sum, the
        owners of the tokens receive less than was sent: the declared factor of LAW-02 is the
        copies of a token over one.
        """
        own = np.repeat(tokens, self._tp) / self._tp
        total_tokens = float(own.sum())
        found = np.zeros((4, self._n_ranks))
        if total_tokens:
            up, over = self._reduced_bytes(total_tokens)
            found[:2] = up / total_tokens * own
            found[2:] = over / total_tokens * own
        if self._family is Family.ALLGATHER_REDUCESCATTER:
            gathered = self._gathered_bytes(routed, total_tokens)
            return found + _equal_shares(gathered, n_ranks=self._n_ranks)
        if self._family in _PER_ASSIGNMENT:
            copies = routed.assignments_out
            into = routed.assignments_in.sum(axis=0)
            far = routed.remote_assignments_out, routed.remote_assignments_in
        else:
            copies = routed.copies_out
            into = routed.copies_in.sum(axis=0)
            far = routed.node_copies_out, routed.node_copies_in
        dispatch, combine = self._payloads_bytes
        out, far_out, far_in = copies.sum(axis=0), far[0].sum(axis=0), far[1].sum(axis=0)
        if self._family is Family.DEEPEP_LOW_LATENCY_RDMA:
            far_out, far_in = out, into
        near = copies - far[0]
        out, into = out - far_out, into - far_in
        found[2] += dispatch * far_out + combine * far_in
        found[3] += dispatch * far_in + combine * far_out
        found[0] += dispatch * out + combine * into
        back = np.minimum(near, own).sum(axis=0) if self._in_network else out
        found[1] += dispatch * into + combine * back
        return found

    def _reduced_bytes(self, n_tokens: float) -> SentBytes:
        """Return what the all-reduces within attention groups send. [B]."""
        up, out = self._reduce.sent_bytes(n_tokens)
        return self._n_layers * up, self._n_layers * out

    def _gathered_bytes(self, routed: StepRouting, n_tokens: float) -> SentBytes:
        """Return what all-gathers and reduce-scatters of all tokens send. [B]."""
        n_bytes = len(routed.copies_out) * n_tokens * self._payload_bytes
        n_local = self._n_ranks / self.traffic.n_domains
        return _ring_bytes(n_bytes, n_ranks=self._n_ranks, n_local=n_local)


def _equal_shares(sent: SentBytes, *, n_ranks: int) -> NDArray[np.float64]:
    """Return the bytes of rings and switches, which load all ports alike. [B]."""
    return np.repeat(np.array(sent) / n_ranks, 2)[:, None] * np.ones(n_ranks)
