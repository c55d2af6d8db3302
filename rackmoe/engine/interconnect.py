"""The fabric of a machine in a run: its ports, what they carry, and the link table."""

from dataclasses import dataclass

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import PICOSECONDS_PER_S, now_ps
from rackmoe.engine.fabric import Fabric
from rackmoe.engine.links import MachineLinks
from rackmoe.engine.port_load import PortLoad
from rackmoe.engine.ports import Ports
from rackmoe.hardware.machine import Machine
from rackmoe.network.arbitration import Arbitration, TrafficClass
from rackmoe.records import Table, Tier

__all__ = ["HotLink", "Interconnect", "hot_links"]

_TIERS = {
    Tier.SCALE_UP: "scale_up",
    Tier.SCALE_OUT: "nic",
    Tier.HOST: "host",
    Tier.LEAF: "leaf",
}
_CLASSES = tuple(TrafficClass)
_KV, _EXPERT = _CLASSES.index(TrafficClass.KV), _CLASSES.index(TrafficClass.EXPERT)
_N_HOT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HotLink:
    """A port that was among the busiest of a run.

    Attributes
    ----------
    name : str
        For example ``scale_up 17``: tier and number in the machine.
    mean_utilization_frac, p99_utilization_frac : float
        Of the busier direction.
    """

    name: str
    mean_utilization_frac: float
    p99_utilization_frac: float


class Interconnect:
    """Every port of the GPUs of a run, on the clock.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    machine : Machine
        What is built.
    n_gpus : int
        GPUs in use; whole nodes are built.

    Attributes
    ----------
    links : MachineLinks
        Which link is which.
    fabric : Fabric
        Transfers that share links.
    ports : Ports
        The links as ports that can fail.
    arbitration : Arbitration
        How exchanges and transfers share a port.
    peak_bytes_per_s : ndarray of shape (n_links,)
        Peak of each link; transfers reach a share of it. [B/s]
    load : PortLoad
        Bytes by window of time.
    """

    def __init__(self, env: simpy.Environment, *, machine: Machine, n_gpus: int) -> None:
        per_node = machine.host.gpus_per_node
        self.env = env
        self.arbitration = Arbitration(machine.scale_up.arbitration)
        self.links = MachineLinks.of_machine(machine, n_gpus=-(-n_gpus // per_node) * per_node)
        self.fabric = Fabric(
            env,
            self.links.capacity_bytes_per_s,
            names=self.links.names,
            arbitration=self.arbitration,
        )
        self.ports = Ports(self.fabric, links=self.links, arbitration=self.arbitration)
        n_links = len(self.links.names)
        copy_frac = np.ones(n_links)
        copy_frac[self.links.scale_up] = machine.scale_up.copy_frac
        copy_frac[self.links.host] = machine.host.copy_frac
        copy_frac[self.links.nic] = machine.scale_out.copy_frac
        copy_frac[self.links.leaf] = machine.scale_out.copy_frac
        self.peak_bytes_per_s = self.links.capacity_bytes_per_s / copy_frac
        self.load = PortLoad(n_links)
        self._all_links = np.arange(n_links)
        self._collective_bytes = np.zeros(n_links)
        self._collective_s = np.zeros(n_links)
        self._sampled_bytes = np.zeros(n_links)
        self._sampled_ps = 0
        self._owners: dict[int, tuple[int, int]] = {}
        self._kept: dict[int, NDArray[np.float64]] = {}

    def own(self, gpus: range, *, replica: int) -> None:
        """Note which GPUs a replica has.

        Parameters
        ----------
        gpus : range
            Its GPUs.
        replica : int
            Its number.
        """
        self._owners |= {gpu: (replica, rank) for rank, gpu in enumerate(gpus)}

    def reserve(
        self, links: NDArray[np.int64], *, bytes_per_s: NDArray[np.float64], replica: int
    ) -> None:
        """Keep a part of links from transfers: what the exchanges of a replica carry.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Different links, the same ones at each call of a replica.
        bytes_per_s : ndarray of shape (n,)
            What is kept; it replaces what was kept for the replica before. [B/s]
        replica : int
            Number of the replica; several can share the uplinks of a leaf.
        """
        kept = np.zeros(self._all_links.size)
        kept[links] = bytes_per_s
        self._kept[replica] = kept
        total = sum(one[links] for one in self._kept.values())
        self.fabric.reserve(links, bytes_per_s=np.asarray(total))

    def kept_for_others(self, links: NDArray[np.int64], *, replica: int) -> NDArray[np.float64]:
        """Return the part of links that is kept for other replicas.

        Parameters
        ----------
        links : ndarray of int
            Which links.
        replica : int
            The one that asks.

        Returns
        -------
        ndarray of the shape of `links`
            Mean rates of their exchanges. [B/s]
        """
        found = np.zeros(links.shape)
        for index, kept in self._kept.items():
            if index != replica:
                found += kept[links]
        return found

    def count_collectives(
        self,
        links: NDArray[np.int64],
        *,
        n_bytes: NDArray[np.float64],
        busy_s: NDArray[np.float64],
        start_ps: int,
        end_ps: int,
    ) -> None:
        """Count what the exchanges of some steps moved.

        Parameters
        ----------
        links : ndarray of shape (n,)
            Different links.
        n_bytes : ndarray of shape (n,)
            What each carried. [B]
        busy_s : ndarray of shape (n,)
            How long each was in use. [s]
        start_ps, end_ps : int
            When the steps ran. [ps]
        """
        self._collective_bytes[links] += n_bytes
        self._collective_s[links] += busy_s
        self.load.add(links, n_bytes=n_bytes, start_ps=start_ps, end_ps=end_ps)

    def sample(self, *, is_forced: bool = False) -> None:
        """Put what transfers moved since the last sample into the windows.

        Call it where rates change; samples closer than a part of a window are left out.

        Parameters
        ----------
        is_forced : bool
            Whether to sample however short the time since the last one.
        """
        now = now_ps(self.env)
        past_ps = now - self._sampled_ps
        if 4 * past_ps < self.load.width_ps and not (is_forced and past_ps):
            return
        moved = self.fabric.counters().moved_bytes.sum(axis=0)
        went = moved - self._sampled_bytes
        links = np.flatnonzero(went)
        if links.size:
            self.load.add(links, n_bytes=went[links], start_ps=self._sampled_ps, end_ps=now)
        self._sampled_bytes = moved
        self._sampled_ps = now

    def write(self, table: Table) -> None:
        """Append the ports that carried anything to the link table.

        Parameters
        ----------
        table : Table
            The link table.
        """
        self.sample(is_forced=True)
        now = now_ps(self.env)
        end_s = max(now, 1) / PICOSECONDS_PER_S
        counters = self.fabric.counters()
        by_class = counters.moved_bytes
        by_class[0] += self._collective_bytes
        moved = by_class.sum(axis=0)
        busy_s = np.minimum(counters.busy_s + self._collective_s, end_s)
        class_s = counters.class_busy_s
        class_s[0] += self._collective_s
        others = [c for c in range(len(_CLASSES)) if c not in {0, _KV, _EXPERT}]
        by_name_s = np.minimum(
            [class_s[0], class_s[_KV], class_s[_EXPERT], class_s[others].sum(axis=0)], end_s
        )
        p99 = self.load.p99_bytes_per_s(now) / self.peak_bytes_per_s
        for tier, name in _TIERS.items():
            pairs = getattr(self.links, name).T
            for port in np.flatnonzero(moved[pairs].sum(axis=1)).tolist():
                out, into = pair = pairs[port]
                of_class = by_class[:, pair].sum(axis=1)
                peak = float(self.peak_bytes_per_s[out])
                kv, expert = float(of_class[_KV]), float(of_class[_EXPERT])
                collective, total = float(of_class[0]), float(of_class.sum())
                table.append_row(
                    (
                        *self._owner(tier, port),
                        tier,
                        port,
                        peak,
                        moved[out],
                        moved[into],
                        collective,
                        kv,
                        expert,
                        max(total - collective - kv - expert, 0.0),
                        float(moved[pair].max()) / peak / end_s,
                        float(p99[pair].max()),
                        float(busy_s[pair].max()),
                        *by_name_s[:, pair].max(axis=1).tolist(),
                    )
                )

    def _owner(self, tier: Tier, port: int) -> tuple[int, int]:
        """Return replica and rank of the GPU with a port."""
        if tier is Tier.LEAF:
            return -1, -1
        gpu = port // self.links.nics_per_gpu if tier is Tier.SCALE_OUT else port
        return self._owners.get(gpu, (-1, -1))


def hot_links(table: Table) -> tuple[HotLink, ...]:
    """Return the ports with the highest mean utilization, the hottest first.

    Parameters
    ----------
    table : Table
        The link table of a run.

    Returns
    -------
    tuple of HotLink
        At most 10.
    """
    columns = table.to_arrays()
    mean, p99 = columns["mean_utilization_frac"], columns["p99_utilization_frac"]
    order = np.argsort(-mean, kind="stable")[:_N_HOT]
    tiers, numbers = columns["tier"], columns["port"]
    return tuple(
        HotLink(
            name=f"{Tier(int(tiers[k])).name.lower()} {int(numbers[k])}",
            mean_utilization_frac=float(mean[k]),
            p99_utilization_frac=float(p99[k]),
        )
        for k in order.tolist()
    )
