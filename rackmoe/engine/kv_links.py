"""How KV caches travel from prefill to decode replicas over the fabric."""

from dataclasses import dataclass, field

import simpy

from rackmoe.engine.clock import now_ps, to_ps
from rackmoe.engine.fabric import Transfer
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.replica import Replica
from rackmoe.hardware.machine import Machine
from rackmoe.model.cache import index_bytes_per_token, kv_bytes_per_token
from rackmoe.scenario.resolved import Scenario

__all__ = ["KvLinks", "build_kv_links"]

_NO_NIC = -1


@dataclass(slots=True)
class _Sending:
    """One cache on its way: a transfer for each GPU pair and NIC."""

    arrived: simpy.Event
    is_cancelled: bool = False
    transfers: dict[tuple[int, int, int], tuple[Transfer, tuple[int, ...]]] = field(
        default_factory=dict
    )


class KvLinks:
    """Moves KV caches over the ports of the GPUs that hold them.

    Each GPU of the target group fetches its share, or its copy, from a GPU of the
    source group, striped over its NICs, all at the same time. Where the target group
    has more GPUs than the source group, the others take theirs from a neighbor.

    Parameters
    ----------
    net : Interconnect
        The ports.
    machine : Machine
        Latencies.
    is_scale_up : bool
        Whether caches travel over the scale-up fabric instead of the NICs, where
        both GPUs are in one domain.
    setup_s : float
        Handshake of one request. [s]
    token_bytes : float
        Cache of one token that one GPU of the target fetches. [B]
    cold_start_s : float
        Time after the start in which no cache arrives. [s]

    Attributes
    ----------
    net : Interconnect
        The ports.
    n_shared : int
        Transfers that met another one at their last port.
    """

    def __init__(
        self,
        net: Interconnect,
        *,
        machine: Machine,
        is_scale_up: bool,
        setup_s: float,
        token_bytes: float,
        cold_start_s: float = 0.0,
    ) -> None:
        self._env = net.env
        self.net = net
        self._is_scale_up = is_scale_up
        self._token_bytes = token_bytes
        self._cold_start_s = cold_start_s
        up, out = machine.scale_up, machine.scale_out
        self._up_latency_s = setup_s + up.latency_s
        self._out_latency_s = setup_s + 2 * out.endpoint_latency_s + out.switch_latency_s
        self._sendings: dict[simpy.Event, _Sending] = {}
        self.n_shared = 0

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
        first = source.first_gpu + groups[0] * source.tp
        goal = target.first_gpu + groups[1] * target.tp
        pairs = [(first + k, goal + k) for k in range(min(source.tp, target.tp))]
        is_up = self._goes_up(*pairs[0])
        sending = _Sending(self._env.event())
        self._sendings[sending.arrived] = sending
        latency_s = self._up_latency_s if is_up else self._out_latency_s
        cold_ps = to_ps(self._cold_start_s) - now_ps(self._env)
        ready = self._env.timeout(to_ps(latency_s) + max(0, cold_ps))
        n_bytes = n_tokens * self._token_bytes
        ready.callbacks.append(lambda _: self._start(sending, pairs, n_bytes))
        return sending.arrived

    def cancel(self, arrived: simpy.Event) -> None:
        """Give up a cache that is on its way; its event never succeeds.

        Parameters
        ----------
        arrived : simpy.Event
            What `send` returned.
        """
        sending = self._sendings.pop(arrived, None)
        if sending is None:
            return
        sending.is_cancelled = True
        self.net.sample()
        for transfer, _ in sending.transfers.values():
            self.net.fabric.cancel(transfer)

    def reroute(self) -> None:
        """Move what is left of transfers over a dead NIC to the NIC that serves instead."""
        for sending in self._sendings.values():
            for key, (transfer, path) in tuple(sending.transfers.items()):
                wanted = self._path(*key)
                if wanted != path and transfer.slot >= 0:
                    left_bytes = self.net.fabric.cancel(transfer)
                    self._move(sending, key, left_bytes)

    def _start(self, sending: _Sending, pairs: list[tuple[int, int]], n_bytes: float) -> None:
        if sending.is_cancelled:
            return
        self.net.sample()
        for source, target in pairs:
            if source == target:
                continue
            n_stripes = 1 if self._goes_up(source, target) else self.net.links.nics_per_gpu
            for nic in range(n_stripes):
                self._move(sending, (source, target, nic), n_bytes / n_stripes)
        if not sending.transfers:
            self._finish(sending)

    def _move(self, sending: _Sending, key: tuple[int, int, int], n_bytes: float) -> None:
        path = self._path(*key)
        fabric = self.net.fabric
        self.n_shared += fabric.n_on(path[-1]) > 0
        transfer = fabric.transfer(path, n_bytes=n_bytes)
        sending.transfers[key] = transfer, path
        transfer.callbacks.append(lambda _: self._done(sending, key))

    def _done(self, sending: _Sending, key: tuple[int, int, int]) -> None:
        self.net.sample()
        del sending.transfers[key]
        if not sending.transfers:
            self._finish(sending)

    def _finish(self, sending: _Sending) -> None:
        del self._sendings[sending.arrived]
        sending.arrived.succeed()

    def _goes_up(self, source: int, target: int) -> bool:
        domain = self.net.links.gpu_domain
        return self._is_scale_up and bool(domain[source] == domain[target])

    def _path(self, source: int, target: int, nic: int) -> tuple[int, ...]:
        links = self.net.links
        if self._goes_up(source, target):
            return links.scale_up_path(source, destination=target)
        own = source * links.nics_per_gpu + nic, target * links.nics_per_gpu + nic
        serving = self.net.ports.serving_nic
        nics = int(serving[own[0]]), int(serving[own[1]])
        if _NO_NIC in nics:
            # nothing to turn to: the transfer waits for the repair
            nics = own
        return links.nic_path(source, destination=target, nics=nics)


def build_kv_links(scenario: Scenario, *, net: Interconnect) -> KvLinks | None:
    """Return the way of the KV caches of a scenario.

    Parameters
    ----------
    scenario : Scenario
        The scenario.
    net : Interconnect
        The ports of its machine.

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
        net,
        machine=scenario.machine,
        is_scale_up=scenario.kv_path == "scale_up",
        setup_s=transfer.setup_s.value,
        cold_start_s=transfer.cold_start_s.value,
        token_bytes=per_token + index_bytes_per_token(scenario.arch),
    )
