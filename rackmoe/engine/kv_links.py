"""How KV caches travel from prefill to decode replicas over the fabric."""

import math

import simpy

from rackmoe.engine.clock import to_ps
from rackmoe.engine.replica import Replica
from rackmoe.engine.shipments import Shipments
from rackmoe.model.cache import index_bytes_per_token, kv_bytes_per_token
from rackmoe.network.arbitration import TrafficClass
from rackmoe.scenario.resolved import Scenario

__all__ = ["KvLinks", "build_kv_links"]


class KvLinks:
    """Moves KV caches over the ports of the GPUs that hold them.

    Each GPU of the target group fetches its share, or its copy, from a GPU of the
    source group, striped over its NICs, all at the same time. Where the target group
    has more GPUs than the source group, the others take theirs from a neighbor.

    Parameters
    ----------
    shipments : Shipments
        What is under way on the fabric.
    is_scale_up : bool
        Whether caches travel over the scale-up fabric instead of the NICs, where
        both GPUs are in one domain.
    setup_s : float
        Handshake of one request. [s]
    token_bytes : float
        Cache of one token that one GPU of the target fetches. [B]
    cold_start_s : float
        Time after the start in which no cache arrives. [s]
    """

    def __init__(
        self,
        shipments: Shipments,
        *,
        is_scale_up: bool,
        setup_s: float,
        token_bytes: float,
        cold_start_s: float = 0.0,
    ) -> None:
        self._shipments = shipments
        self._is_scale_up = is_scale_up
        self._setup_s = setup_s
        self._token_bytes = token_bytes
        self._cold_start_ps = to_ps(cold_start_s)

    def send(
        self,
        source: Replica,
        *,
        target: Replica,
        groups: tuple[int, int],
        n_tokens: int,
    ) -> simpy.Event:
        """Return an event that fires when a cache has arrived.

        Parameters
        ----------
        source, target : Replica
            The replica that computed the prompt, and the one that will decode.
        groups : tuple of int
            Attention groups in the source and in the target.
        n_tokens : int
            Tokens in the cache.

        Returns
        -------
        simpy.Event
            Succeeds at the end of the transfer.
        """
        homes = _homes(source, groups[0]), _homes(target, groups[1])
        n_parts = math.lcm(len(homes[0]), len(homes[1]))
        loads_bytes: dict[tuple[int, int], float] = {}
        for part in range(n_parts):
            first, goal = (one[part * len(one) // n_parts] for one in homes)
            for k in range(min(source.tp, target.tp)):
                pair = first + k, goal + k
                part_bytes = n_tokens * self._token_bytes / n_parts
                loads_bytes[pair] = loads_bytes.get(pair, 0.0) + part_bytes
        return self._shipments.ship(
            loads_bytes,
            traffic_class=TrafficClass.KV,
            is_scale_up=self._is_scale_up,
            setup_s=self._setup_s,
            not_before_ps=self._cold_start_ps,
        )

    def cancel(self, arrived: simpy.Event) -> None:
        """Give up a cache that is on its way; its event never succeeds.

        Parameters
        ----------
        arrived : simpy.Event
            What `send` returned.
        """
        self._shipments.cancel(arrived)


def _homes(replica: Replica, group: int) -> list[int]:
    """Return the first GPU of each part of a group's caches: of layers, or of tokens."""
    firsts = (replica.first_gpu,) if replica.stages is None else replica.stages.first_gpus
    width = replica.tp * replica.cp
    return [
        first + group * width + part * replica.tp for first in firsts for part in range(replica.cp)
    ]


def build_kv_links(scenario: Scenario, *, shipments: Shipments) -> KvLinks | None:
    """Return the way of the KV caches of a scenario.

    Parameters
    ----------
    scenario : Scenario
        The scenario.
    shipments : Shipments
        What is under way on the fabric of its machine.

    Returns
    -------
    KvLinks or None
        None if the pools are aggregated.
    """
    decode = scenario.document.deployment.decode
    if decode is None:
        return None
    transfer = scenario.backend.kv
    per_token = kv_bytes_per_token(scenario.arch, kv_dtype=scenario.kv_dtype, tp=decode.tp)
    return KvLinks(
        shipments,
        is_scale_up=scenario.kv_path == "scale_up",
        setup_s=transfer.setup_s.value,
        cold_start_s=transfer.cold_start_s.value,
        token_bytes=per_token + index_bytes_per_token(scenario.arch),
    )
