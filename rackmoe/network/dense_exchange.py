"""How long experts wait for tokens when a dense collective moves them, whatever the routing."""

import numpy as np
from numpy.typing import NDArray

from rackmoe.network.collectives import CollectiveLaw
from rackmoe.network.traffic import PortTimes, Traffic

__all__ = ["GatherExchange", "PairwiseExchange"]

Floats = NDArray[np.float64]


class GatherExchange:
    """Dispatch by all-gather of all tokens, or combine by reduce-scatter of partial sums.

    Every rank sends all its tokens to every rank, padded to the longest, so the time
    does not depend on the routing. Used by the all-gather/reduce-scatter back ends of
    vLLM, SGLang and TensorRT-LLM.

    Parameters
    ----------
    law : CollectiveLaw
        ``all_gather`` for dispatch, ``reduce_scatter`` for combine.
    payload_bytes : float
        One token on the wire, scales included. [B]
    combine_in_network : bool
        What if the switches reduced: a rank then receives its own tokens once. What it
        sends does not change, so nothing is gained in bandwidth (NVIDIA/nccl issue 1506).
    """

    def __init__(
        self, law: CollectiveLaw, *, payload_bytes: float, combine_in_network: bool = False
    ) -> None:
        self.latency_s = float(law.time_s(0.0))
        self._law = law
        self._payload_bytes = payload_bytes
        self._in_network = combine_in_network and law.constants.key.operation == "reduce_scatter"

    def port_times(
        self, traffic: Traffic, *, tokens: Floats, port_frac: Floats | float = 1.0
    ) -> PortTimes:
        """Return how long each rank sends and receives; see `Exchange.port_times`."""
        shape = traffic.copies_out.shape
        longest = np.broadcast_to(tokens, shape).max(axis=-1, keepdims=True)
        n_bytes = longest * self._law.n_ranks * self._payload_bytes
        busy_s = (self._law.time_s(n_bytes) - self.latency_s) / port_frac
        egress_s = np.zeros(shape) + busy_s
        others = self._law.n_ranks - 1
        ingress_s = egress_s / others if self._in_network and others else egress_s
        return PortTimes(egress_s=egress_s, ingress_s=ingress_s, latency_s=self.latency_s)


class PairwiseExchange:
    """Dispatch or combine by the all-to-all of a general library, one copy per rank.

    Parameters
    ----------
    law : CollectiveLaw
        ``all_to_all``.
    payload_bytes : float
        One token on the wire, scales included. [B]
    is_combine : bool
        Whether copies go back to the owners of the tokens.
    """

    def __init__(
        self, law: CollectiveLaw, *, payload_bytes: float, is_combine: bool = False
    ) -> None:
        self.latency_s = float(law.time_s(0.0))
        self._law = law
        self._is_combine = is_combine
        # A buffer of S bytes sends S (n - 1) / n to other ranks.
        others = max(1, law.n_ranks - 1)
        self._buffer_bytes = payload_bytes * law.n_ranks / others

    def port_times(
        self, traffic: Traffic, *, tokens: Floats, port_frac: Floats | float = 1.0
    ) -> PortTimes:
        """Return how long each rank sends and receives; see `Exchange.port_times`."""
        del tokens  # routing decides, not the number of tokens
        owner_s = self._busy_s(traffic.copies_out) / port_frac
        expert_s = self._busy_s(traffic.copies_in) / port_frac
        egress_s, ingress_s = (expert_s, owner_s) if self._is_combine else (owner_s, expert_s)
        return PortTimes(egress_s=egress_s, ingress_s=ingress_s, latency_s=self.latency_s)

    def _busy_s(self, copies: Floats) -> Floats:
        return self._law.time_s(copies * self._buffer_bytes) - self.latency_s
