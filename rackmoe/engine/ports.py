"""GPUs, ports, NICs and switch chips as resources that can fail, slow down and be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rackmoe.engine.fabric import Fabric
from rackmoe.engine.links import MachineLinks
from rackmoe.errors import TopologyError
from rackmoe.network.arbitration import Arbitration, TrafficClass
from rackmoe.network.port_shares import lone_shares_bytes_per_s, solved_shares_bytes_per_s

__all__ = ["Flows", "Gpu", "Nic", "NvlinkPort", "Ports", "SwitchChip"]

Flows = Sequence[tuple[TrafficClass, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NvlinkPort:
    """All scale-up links of one GPU, out and in.

    Parameters
    ----------
    gpu : int
        Whose port.
    ports : Ports
        The vectors behind it.
    """

    gpu: int
    ports: Ports

    @property
    def capacity_bytes_per_s(self) -> tuple[float, float]:
        """Capacity out and in at this instant. [B/s]."""
        return self.ports.capacities_bytes_per_s(self.ports.links.scale_up[:, self.gpu])

    @property
    def utilization(self) -> tuple[float, float]:
        """Share of the capacity out and in that is used at this instant."""
        return self.ports.utilizations(self.ports.links.scale_up[:, self.gpu])

    @property
    def n_live_links(self) -> int:
        """Links that work."""
        return int(self.ports.n_live_links[self.gpu].sum())

    def fail_link(self, chip: int) -> None:
        """Take down one link to a switch chip; traffic is striped over the others.

        Parameters
        ----------
        chip : int
            Switch chip at the other end.
        """
        if not self.ports.n_live_links[self.gpu, chip]:
            msg = (
                f"gpu{self.gpu}: no working link to switch chip {chip}; expected a chip of its "
                "domain with one; see NvlinkPort.n_live_links"
            )
            raise TopologyError(msg)
        self.ports.n_live_links[self.gpu, chip] -= 1
        self.ports.apply_scale_up([self.gpu])


@dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """One NIC with its cable to the leaf.

    Parameters
    ----------
    index : int
        Which NIC.
    ports : Ports
        The vectors behind it.
    """

    index: int
    ports: Ports

    @property
    def capacity_bytes_per_s(self) -> tuple[float, float]:
        """Capacity out and in at this instant. [B/s]."""
        return self.ports.capacities_bytes_per_s(self.ports.links.nic[:, self.index])

    @property
    def utilization(self) -> tuple[float, float]:
        """Share of the capacity out and in that is used at this instant."""
        return self.ports.utilizations(self.ports.links.nic[:, self.index])

    def scale(self, live_frac: float) -> None:
        """Set the capacity to a share of the nominal one: 0 fails the NIC, 1 repairs it.

        Parameters
        ----------
        live_frac : float
            Share that works.
        """
        self.ports.scale(self.ports.links.nic[:, self.index], live_frac=live_frac)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchChip:
    """One scale-up switch chip: a plane of its domain.

    Parameters
    ----------
    index : int
        Which chip.
    ports : Ports
        The vectors behind it.
    """

    index: int
    ports: Ports

    @property
    def gpus(self) -> NDArray[np.int64]:
        """GPUs with a link to the chip."""
        return np.flatnonzero(self.ports.links.n_links_to_chip[:, self.index])

    @property
    def capacity_bytes_per_s(self) -> float:
        """Capacity of its working links, one direction. [B/s]."""
        live = self.ports.n_live_links[:, self.index]
        return float((live * self.ports.link_bytes_per_s).sum())

    @property
    def utilization(self) -> float:
        """Share of that capacity which striped traffic uses at this instant."""
        ports = self.ports
        carried = ports.used_bytes_per_s(ports.links.scale_up[0])
        live = ports.n_live_links
        share_frac = live[:, self.index] / np.maximum(live.sum(axis=1), 1)
        capacity = self.capacity_bytes_per_s
        return float((carried * share_frac).sum() / capacity) if capacity else 0.0

    def fail(self) -> None:
        """Take down the chip with all its links."""
        self.ports.n_live_links[:, self.index] = 0
        self.ports.apply_scale_up(self.gpus.tolist())

    def repair(self) -> None:
        """Bring back all its links."""
        nominal = self.ports.links.n_links_to_chip[:, self.index]
        self.ports.n_live_links[:, self.index] = nominal
        self.ports.apply_scale_up(self.gpus.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU with what connects it.

    Parameters
    ----------
    index : int
        Which GPU.
    port : NvlinkPort
        Its scale-up port.
    nics : tuple of Nic
        Its NICs.
    """

    index: int
    port: NvlinkPort
    nics: tuple[Nic, ...]


class Ports:
    """The ports of a machine: vectors on the fabric, presented as objects.

    Parameters
    ----------
    fabric : Fabric
        Built on the links.
    links : MachineLinks
        Which link is which.
    arbitration : Arbitration
        How a port is shared between collectives and transfers.
    """

    def __init__(
        self,
        fabric: Fabric,
        *,
        links: MachineLinks,
        arbitration: Arbitration = Arbitration.PER_FLOW,
    ) -> None:
        if fabric.names != links.names:
            msg = (
                f"ports: fabric of {fabric.n_links} links, machine of {len(links.names)}; "
                "expected the same links; build the fabric from MachineLinks.names"
            )
            raise TopologyError(msg)
        self.fabric = fabric
        self.links = links
        self.n_live_links = links.n_links_to_chip.copy()
        self._arbitration = arbitration
        self._nominal = links.capacity_bytes_per_s
        n_links = np.maximum(links.n_links_to_chip.sum(axis=1), 1)
        self.link_bytes_per_s = self._nominal[links.scale_up[0]] / n_links
        nics = [Nic(index=k, ports=self) for k in range(links.nic.shape[1])]
        per_gpu = links.nics_per_gpu
        self.gpus = tuple(
            Gpu(
                index=g,
                port=NvlinkPort(gpu=g, ports=self),
                nics=tuple(nics[g * per_gpu : (g + 1) * per_gpu]),
            )
            for g in range(links.n_gpus)
        )
        self.chips = tuple(
            SwitchChip(index=c, ports=self) for c in range(links.n_links_to_chip.shape[1])
        )
        self.serving_nic = np.arange(links.nic.shape[1])

    def capacities_bytes_per_s(self, pair: NDArray[np.int64]) -> tuple[float, float]:
        """Return the capacities of a pair of links.

        Parameters
        ----------
        pair : ndarray of shape (2,)
            Links out and in.

        Returns
        -------
        tuple of two float
            Capacities. [B/s]
        """
        out, into = self.fabric.capacity_bytes_per_s[pair].tolist()
        return out, into

    def used_bytes_per_s(self, links: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what transfers and collectives carry on links at this instant.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Which links.

        Returns
        -------
        ndarray of shape (n,)
            Rates of transfers plus mean rates of collectives. [B/s]
        """
        return self.fabric.rates_on(links) + self.fabric.reserved_on(links)

    def utilizations(self, pair: NDArray[np.int64]) -> tuple[float, float]:
        """Return the used shares of a pair of links.

        Parameters
        ----------
        pair : ndarray of shape (2,)
            Links out and in.
        """
        capacity = self.fabric.capacity_bytes_per_s[pair]
        used = self.used_bytes_per_s(pair)
        out, into = np.divide(used, capacity, out=np.zeros(2), where=capacity > 0.0).tolist()
        return out, into

    def scale(self, links: NDArray[np.int64], *, live_frac: float) -> None:
        """Set links to a share of their nominal capacity.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Which links.
        live_frac : float
            Share that works.
        """
        for link in links.tolist():
            capacity = live_frac * float(self._nominal[link])
            self.fabric.set_capacity(link, capacity_bytes_per_s=capacity)

    def apply_scale_up(self, gpus: list[int]) -> None:
        """Set the scale-up ports of GPUs to the capacity of their working links.

        Scaling a port by its live links is within 1 % of planes simulated one
        by one, also where GPUs lose different planes.

        Parameters
        ----------
        gpus : list of int
            Whose links changed.
        """
        live = self.n_live_links.sum(axis=1)
        nominal = self.links.n_links_to_chip.sum(axis=1)
        for gpu in gpus:
            live_frac = float(live[gpu] / nominal[gpu])
            self.scale(self.links.scale_up[:, gpu], live_frac=live_frac)

    def find_serving_nics(self) -> None:
        """Let NICs that are down be served by the next one of their node that works.

        `serving_nic` holds the result, -1 where no NIC of the node works.
        """
        links = self.links
        works = np.min(self.fabric.capacity_bytes_per_s[links.nic], axis=0) > 0.0
        node = np.repeat(links.gpu_node, links.nics_per_gpu)
        for nic in range(works.size):
            near = np.flatnonzero(works & (node == node[nic]))
            if works[nic] or not near.size:
                self.serving_nic[nic] = nic if works[nic] else -1
            else:
                self.serving_nic[nic] = near[np.searchsorted(near, nic) % near.size]

    def nic_slowdown(
        self,
        way: int,
        *,
        gpus: NDArray[np.int64],
        n_peers: int,
        flows: Flows | None = None,
    ) -> NDArray[np.float64]:
        """Return how much slower than nominal a collective runs over the NICs of GPUs.

        Two GPUs that are served by one NIC share it.

        Parameters
        ----------
        way : int
            0 for out, 1 for in.
        gpus : ndarray of shape (n,)
            The ranks of a group.
        n_peers : int
            Ranks that each rank exchanges data with at the same time.
        flows : sequence of (TrafficClass, tuple of int), optional
            As for `collective_slowdown`.

        Returns
        -------
        ndarray of shape (n,)
            Nominal over present capacity; infinite where no NIC of the node works.
        """
        per_gpu = self.links.nics_per_gpu
        n_served = np.bincount(self.serving_nic[self.serving_nic >= 0], minlength=1)
        speed = np.zeros(gpus.size)
        for k in range(per_gpu):
            serving = self.serving_nic[gpus * per_gpu + k]
            is_there = serving >= 0
            links = self.links.nic[way, np.maximum(serving, 0)]
            slow = self.collective_slowdown(links, n_peers=n_peers, flows=flows)
            shared = n_served[np.maximum(serving, 0)]
            speed += np.where(is_there, 1.0 / (slow * np.maximum(shared, 1)), 0.0)
        never = np.full(gpus.size, np.inf)
        return np.asarray(np.divide(per_gpu, speed, out=never, where=speed > 0.0))

    def collective_slowdown(
        self, links: NDArray[np.int64], *, n_peers: int, flows: Flows | None = None
    ) -> NDArray[np.float64]:
        """Return how much slower than nominal a collective runs on links at this instant.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Ports of the ranks of a group, one direction.
        n_peers : int
            Ranks that each rank exchanges data with at the same time.
        flows : sequence of (TrafficClass, tuple of int), optional
            Class and links of all transfers, to follow them to where they are held back;
            otherwise each port is looked at alone.

        Returns
        -------
        ndarray of shape (n,)
            Nominal over present capacity, for `Slowdown`; infinite for a dead
            port, whose rank has to leave the group.
        """
        capacity = self.fabric.capacity_bytes_per_s[links]
        if flows is None:
            present = lone_shares_bytes_per_s(
                capacity,
                used_bytes_per_s=self.used_bytes_per_s(links),
                rates_bytes_per_s=self.fabric.rates_on(links),
                n_flows=self.fabric.transfers_on(links),
                arbitration=self._arbitration,
                n_peers=n_peers,
            )
        else:
            present = solved_shares_bytes_per_s(
                links,
                capacity_bytes_per_s=self.fabric.capacity_bytes_per_s,
                flows=flows,
                arbitration=self._arbitration,
                n_peers=n_peers,
            )
        nominal = self._nominal[links]
        slow = np.full(links.size, np.inf)
        return np.asarray(np.divide(nominal, present, out=slow, where=present > 0.0))
