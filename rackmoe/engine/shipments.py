"""Bytes on their way over the fabric: KV caches, experts that move, weights that are loaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import simpy

from rackmoe.engine.clock import now_ps, to_ps
from rackmoe.engine.fabric import Transfer
from rackmoe.engine.interconnect import Interconnect
from rackmoe.errors import TopologyError
from rackmoe.hardware.machine import Machine
from rackmoe.network.arbitration import TrafficClass

__all__ = ["HOST", "Shipments"]

HOST = -1
"""In place of a GPU: the memory of the CPU that the other GPU is connected to."""

_NO_NIC = -1
_ONE_LEAF, _OVER_SPINES = 1, 3
"""Switches between two NICs: their leaf, or leaf, spine and leaf."""

_Stripe = tuple[int, int, int]


@dataclass(slots=True)
class _Shipment:
    """Transfers that are done when all of them are: one for each pair of ends and stripe."""

    arrived: simpy.Event
    traffic_class: TrafficClass
    is_scale_up: bool
    is_cancelled: bool = False
    transfers: dict[_Stripe, tuple[Transfer, tuple[int, ...]]] = field(default_factory=dict)


class Shipments:
    """Moves bytes between GPUs, or between a GPU and its host, beside the exchanges of the steps.

    Shipments share every port with each other and with the exchanges by the arbitration
    of the machine: they slow each other and the running steps down. `FabricRun.shipments`
    is the one of a run. To move experts, and to reload the weights of a replica:

        moved = fabric.shipments.ship({(3, 17): 44e6}, traffic_class=TrafficClass.EXPERT)
        loaded = fabric.shipments.ship(
            {(HOST, gpu): 80e9 for gpu in gpus}, traffic_class=TrafficClass.WEIGHTS
        )
        yield moved

    Parameters
    ----------
    net : Interconnect
        The ports.
    machine : Machine
        Latencies.

    Attributes
    ----------
    net : Interconnect
        The ports.
    on_exchange_ports : list of callable
        Called once, before the first shipment that may cross the ports of exchanges; of KV
        caches it is known beforehand whether they do.
    n_shared : int
        Transfers that met another one at their last port.
    """

    def __init__(self, net: Interconnect, *, machine: Machine) -> None:
        self._env = net.env
        self.net = net
        self._machine = machine
        self._shipments: dict[simpy.Event, _Shipment] = {}
        self.on_exchange_ports: list[Callable[[], None]] = []
        self.n_shared = 0

    def ship(
        self,
        loads_bytes: Mapping[tuple[int, int], float],
        *,
        traffic_class: TrafficClass,
        is_scale_up: bool = True,
        setup_s: float = 0.0,
        not_before_ps: int = 0,
    ) -> simpy.Event:
        """Return an event that succeeds when all bytes have arrived.

        Parameters
        ----------
        loads_bytes : mapping
            What goes from the first to the second of each pair of GPUs. `HOST` for one
            of the two is the memory beside the other, over its C2C or PCIe link. [B]
        traffic_class : TrafficClass
            What it is for; decides the column of the link table and the priority.
        is_scale_up : bool
            Whether bytes take the scale-up fabric inside a domain; otherwise, and between
            domains, they are striped over the NICs of the GPUs.
        setup_s : float
            Handshake before the first byte, latency of the path apart. [s]
        not_before_ps : int
            Time at which the first byte can leave at the earliest. [ps]

        Returns
        -------
        simpy.Event
            Succeeds at the last arrival, at once if nothing moves.

        Raises
        ------
        TopologyError
            If an end of a pair is not in the machine.
        """
        self._check(loads_bytes)
        if traffic_class is not TrafficClass.KV and any(HOST not in pair for pair in loads_bytes):
            while self.on_exchange_ports:
                self.on_exchange_ports.pop(0)()
        shipment = _Shipment(self._env.event(), traffic_class, is_scale_up)
        self._shipments[shipment.arrived] = shipment
        latency_s = max((self._latency_s(pair, is_scale_up) for pair in loads_bytes), default=0.0)
        wait_ps = to_ps(setup_s + latency_s) + max(0, not_before_ps - now_ps(self._env))
        ready = self._env.timeout(wait_ps)
        ready.callbacks.append(lambda _: self._start(shipment, loads_bytes))
        return shipment.arrived

    def cancel(self, arrived: simpy.Event) -> None:
        """Give up what is on its way; its event never succeeds.

        Parameters
        ----------
        arrived : simpy.Event
            What `ship` returned; one that is over is left alone.
        """
        shipment = self._shipments.pop(arrived, None)
        if shipment is None:
            return
        shipment.is_cancelled = True
        self.net.sample()
        for transfer, _ in shipment.transfers.values():
            self.net.fabric.cancel(transfer)

    def reroute(self) -> None:
        """Move what is left of transfers over a dead NIC to the NIC that serves instead."""
        for shipment in self._shipments.values():
            for stripe, (transfer, path) in tuple(shipment.transfers.items()):
                wanted = self._path(stripe, shipment.is_scale_up)
                if wanted != path and transfer.slot >= 0:
                    left_bytes = self.net.fabric.cancel(transfer)
                    self._move(shipment, stripe, left_bytes)

    def flows(self) -> list[tuple[TrafficClass, tuple[int, ...]]]:
        """Return class and links of every transfer that is under way."""
        return [
            (one.traffic_class, path)
            for one in self._shipments.values()
            for _, path in one.transfers.values()
        ]

    # ------------------------------------------------------------------ on the way
    def _start(self, shipment: _Shipment, loads_bytes: Mapping[tuple[int, int], float]) -> None:
        if shipment.is_cancelled:
            return
        self.net.sample()
        for pair, n_bytes in loads_bytes.items():
            if pair[0] == pair[1]:
                continue
            n_stripes = self._n_stripes(pair, shipment.is_scale_up)
            for stripe in range(n_stripes):
                self._move(shipment, (*pair, stripe), n_bytes / n_stripes)
        if not shipment.transfers:
            self._finish(shipment)

    def _move(self, shipment: _Shipment, stripe: _Stripe, n_bytes: float) -> None:
        path = self._path(stripe, shipment.is_scale_up)
        fabric = self.net.fabric
        self.n_shared += fabric.n_on(path[-1]) > 0
        transfer = fabric.transfer(path, n_bytes=n_bytes, traffic_class=shipment.traffic_class)
        shipment.transfers[stripe] = transfer, path
        transfer.callbacks.append(lambda _: self._done(shipment, stripe))

    def _done(self, shipment: _Shipment, stripe: _Stripe) -> None:
        self.net.sample()
        del shipment.transfers[stripe]
        if not shipment.transfers:
            self._finish(shipment)

    def _finish(self, shipment: _Shipment) -> None:
        del self._shipments[shipment.arrived]
        shipment.arrived.succeed()

    # ------------------------------------------------------------------ which way
    def _n_stripes(self, pair: tuple[int, int], is_scale_up: bool) -> int:  # noqa: FBT001 a fact
        is_one = HOST in pair or self._goes_up(pair, is_scale_up)
        return 1 if is_one else self.net.links.nics_per_gpu

    def _goes_up(self, pair: tuple[int, int], is_scale_up: bool) -> bool:  # noqa: FBT001 a fact
        domain = self.net.links.gpu_domain
        return is_scale_up and bool(domain[pair[0]] == domain[pair[1]])

    def _path(self, stripe: _Stripe, is_scale_up: bool) -> tuple[int, ...]:  # noqa: FBT001 a fact
        links, (source, target, nic) = self.net.links, stripe
        if source == HOST:
            return links.host_path(target, is_to_host=False)
        if target == HOST:
            return links.host_path(source, is_to_host=True)
        if self._goes_up((source, target), is_scale_up):
            return links.scale_up_path(source, destination=target)
        own = source * links.nics_per_gpu + nic, target * links.nics_per_gpu + nic
        serving = self.net.ports.serving_nic
        nics = int(serving[own[0]]), int(serving[own[1]])
        if _NO_NIC in nics:
            # nothing to turn to: the transfer waits for the repair
            nics = own
        return links.nic_path(source, destination=target, nics=nics)

    def _latency_s(self, pair: tuple[int, int], is_scale_up: bool) -> float:  # noqa: FBT001 a fact
        """Return the latency of the path of a pair; over NICs, that of the longest stripe. [s]."""
        if pair[0] == pair[1]:
            return 0.0
        if HOST in pair:
            return self._machine.host.link_latency_s
        if self._goes_up(pair, is_scale_up):
            return self._machine.scale_up.latency_s
        links, out = self.net.links, self._machine.scale_out
        one, other = (
            links.nic_leaf[gpu * links.nics_per_gpu + np.arange(links.nics_per_gpu)]
            for gpu in pair
        )
        n_switches = _ONE_LEAF if bool((one == other).all()) else _OVER_SPINES
        return 2 * out.endpoint_latency_s + n_switches * out.switch_latency_s

    def _check(self, loads_bytes: Mapping[tuple[int, int], float]) -> None:
        n_gpus = self.net.links.n_gpus
        for pair in loads_bytes:
            if pair == (HOST, HOST) or not all(HOST <= end < n_gpus for end in pair):
                raise TopologyError(
                    f"shipment: {pair[0]} to {pair[1]}; expected GPUs below {n_gpus}, or HOST "
                    "for one of the two; see Interconnect.links"
                )
