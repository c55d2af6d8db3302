"""What fails in a run, when, and what is left of the machine while it does."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from rackmoe.engine.clock import now_ps, to_ps, to_s
from rackmoe.engine.interconnect import Interconnect
from rackmoe.engine.replica import Replica
from rackmoe.engine.replica_ports import ReplicaPorts
from rackmoe.engine.shipments import Shipments
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.scenario.simulation import Fault, FaultKind
from rackmoe.streams import Streams

__all__ = ["Damage", "Faults", "Service", "damage_of"]


class Service(Protocol):
    """Who takes replicas out of service and back."""

    def take_out(self, replica: Replica) -> None:
        """Let a replica fail."""

    def put_back(self, replica: Replica) -> None:
        """Let a repaired replica serve again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is left of the machine.

    Attributes
    ----------
    n_live_links : ndarray of shape (n_gpus, n_chips)
        Working links from each GPU to each switch chip.
    scale_up_frac : ndarray of shape (n_gpus,)
        Share of the scale-up port that works, slow links included.
    nic_frac : ndarray of shape (n_nics,)
        Share of each NIC that works.
    leaf_frac : ndarray of shape (n_leaves,)
        Share of the uplinks of each leaf.
    is_dead : ndarray of shape (n_gpus,), bool
        GPUs that compute nothing.
    """

    n_live_links: NDArray[np.int64]
    scale_up_frac: NDArray[np.float64]
    nic_frac: NDArray[np.float64]
    leaf_frac: NDArray[np.float64]
    is_dead: NDArray[np.bool_]


class Faults:
    """Breaks and repairs parts of the machine, one process for each fault.

    Parameters
    ----------
    net : Interconnect
        The fabric.
    machine : Machine
        Failure rates, repair time and switch trays.
    rack : Service
        Takes replicas out and puts them back.
    ports : sequence of ReplicaPorts
        The ports of all replicas.
    shipments : Shipments
        Transfers to be moved to other NICs.
    streams : Streams
        Random streams of the run.

    Attributes
    ----------
    n_faults : int
        Faults that began.
    out_s : float
        Time that replicas were out of service, summed over them. [s]
    """

    def __init__(
        self,
        net: Interconnect,
        *,
        machine: Machine,
        rack: Service,
        ports: Sequence[ReplicaPorts],
        shipments: Shipments,
        streams: Streams,
    ) -> None:
        self._env = net.env
        self._net = net
        self._machine = machine
        self._rack = rack
        self._ports = tuple(ports)
        self._shipments = shipments
        self._streams = streams
        self._active: dict[int, Fault] = {}
        self._out_since: dict[int, int] = {}
        self._out_ps = 0
        self.n_faults = 0

    @property
    def out_s(self) -> float:
        """Time that replicas were out of service until now, summed over them. [s]."""
        now = now_ps(self._env)
        still = sum(now - since for since in self._out_since.values())
        return to_s(self._out_ps + still)

    def start(self, faults: Sequence[Fault]) -> None:
        """Put faults on the clock.

        Parameters
        ----------
        faults : sequence of Fault
            From the scenario.

        Raises
        ------
        ConfigError
            If one is at a place that the run does not have.
        """
        for index, fault in enumerate(faults):
            n_places = self._n_places(fault.kind)
            if fault.where is not None and fault.where >= n_places:
                raise ConfigError(
                    f"simulation.faults.{index}.where: {fault.where}; expected a {fault.kind} of "
                    f"the GPUs in use, 0 to {n_places - 1}; lower it"
                )
            process = self._once if fault.at_s is not None else self._again_and_again
            self._env.process(process(index, fault))

    # ------------------------------------------------------------------ processes
    def _once(self, index: int, fault: Fault) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(to_ps(fault.at_s or 0.0))
        yield from self._break(index, fault)

    def _again_and_again(self, index: int, fault: Fault) -> Generator[simpy.Event, Any, None]:
        rng = self._streams.rng(f"faults {index}")
        n_places = self._n_places(fault.kind)
        mean_s = self._mtbf_s(fault.kind) / fault.rate_scale
        while True:
            yield self._env.timeout(to_ps(float(rng.exponential(mean_s))))
            where = int(rng.integers(n_places))
            yield from self._break(index, fault.model_copy(update={"where": where}))

    def _break(self, index: int, fault: Fault) -> Generator[simpy.Event, Any, None]:
        lasts_s = self._machine.reliability.repair_s if fault.for_s is None else fault.for_s
        self.n_faults += 1
        self._active[index] = fault
        self._apply()
        yield self._env.timeout(to_ps(lasts_s))
        del self._active[index]
        self._apply()

    # ------------------------------------------------------------------ what it does
    def _apply(self) -> None:
        """Let the machine be what the faults of this instant leave of it."""
        net, ports = self._net, self._net.ports
        found = damage_of(tuple(self._active.values()), net=net, machine=self._machine)
        net.sample()
        ports.n_live_links[:] = found.n_live_links
        nominal = net.links.capacity_bytes_per_s
        for pairs, live_frac in (
            (net.links.scale_up, found.scale_up_frac),
            (net.links.nic, found.nic_frac),
            (net.links.leaf, found.leaf_frac),
        ):
            present = net.fabric.capacity_bytes_per_s[pairs[0]]
            for k in np.flatnonzero(present != live_frac * nominal[pairs[0]]).tolist():
                ports.scale(pairs[:, k], live_frac=float(live_frac[k]))
        ports.find_serving_nics()
        self._move_replicas(found.is_dead)
        self._shipments.reroute()
        for one in self._ports:
            one.refresh()

    def _move_replicas(self, is_dead: NDArray[np.bool_]) -> None:
        now = now_ps(self._env)
        down = [bool(is_dead[one.gpus].any()) or one.is_cut_off for one in self._ports]
        for one, is_down in zip(self._ports, down, strict=True):
            if is_down and one.replica.index not in self._out_since:
                self._out_since[one.replica.index] = now
                self._rack.take_out(one.replica)
        for one, is_down in zip(self._ports, down, strict=True):
            if not is_down and one.replica.index in self._out_since:
                self._out_ps += now - self._out_since.pop(one.replica.index)
                self._rack.put_back(one.replica)

    # ------------------------------------------------------------------ places and rates
    def _n_places(self, kind: FaultKind) -> int:
        links = self._net.links
        n_places: dict[str, int] = {
            "plane": links.n_links_to_chip.shape[1],
            "switch_tray": links.n_links_to_chip.shape[1] // self._machine.scale_up.chips_per_tray,
            "compute_tray": int(links.gpu_node[-1]) + 1,
            "nic": links.nic.shape[1],
            "leaf": links.leaf.shape[1],
            "spine": links.n_links_to_spine.shape[1],
        }
        return n_places.get(kind, links.n_gpus)

    def _mtbf_s(self, kind: FaultKind) -> float:
        """Return the mean time between failures of all parts of a kind together. [s]."""
        rates = self._machine.reliability
        per_gpu_s = {
            "gpu": rates.gpu_mtbf_s,
            "compute_tray": rates.interruption_mtbf_s,
        }.get(kind, rates.network_mtbf_s)
        return per_gpu_s / self._net.links.n_gpus


def damage_of(faults: Sequence[Fault], *, net: Interconnect, machine: Machine) -> Damage:
    """Return what some faults leave of a machine.

    Parameters
    ----------
    faults : sequence of Fault
        Those that last at this instant, each with its place.
    net : Interconnect
        The fabric.
    machine : Machine
        Its switch trays.

    Returns
    -------
    Damage
        By GPU, NIC and leaf.

    Notes
    -----
    Traffic is striped over the links that work, so a port keeps the share of
    its live links: exact to 1 % against planes simulated one by one. Uplinks of a leaf
    that lead to a failed spine are lost, and the others carry their bytes.
    """
    links = net.links
    live, to_spine = links.n_links_to_chip.copy(), links.n_links_to_spine.copy()
    slow = np.ones(links.n_gpus)
    nic, leaf = np.ones(links.nic.shape[1]), np.ones(links.leaf.shape[1])
    is_dead = np.zeros(links.n_gpus, np.bool_)
    per_gpu, per_tray = links.nics_per_gpu, machine.scale_up.chips_per_tray

    def lose_link(gpu: int) -> None:
        there = np.flatnonzero(live[gpu])
        live[gpu, there[:1]] -= 1

    def lose_leaf(index: int) -> None:
        leaf[index] = 0.0
        nic[links.nic_leaf == index] = 0.0

    def lose_spine(index: int) -> None:
        to_spine[:, index] = 0

    def slow_port(gpu: int, fault: Fault) -> None:
        if fault.fabric == "scale_up":
            slow[gpu] *= fault.factor
        else:
            nic[gpu * per_gpu : (gpu + 1) * per_gpu] *= fault.factor

    def kill(gpus: int | NDArray[np.bool_]) -> None:
        is_dead[gpus] = True

    breaks: dict[str, Callable[[int], None]] = {
        "link": lose_link,
        "plane": lambda at: live.__setitem__((slice(None), at), 0),
        "switch_tray": lambda at: live.__setitem__(
            (slice(None), slice(at * per_tray, (at + 1) * per_tray)), 0
        ),
        "gpu": kill,
        "compute_tray": lambda at: kill(links.gpu_node == at),
        "nic": lambda at: nic.__setitem__(at, 0.0),
        "leaf": lose_leaf,
        "spine": lose_spine,
    }
    for fault in faults:
        at = fault.where or 0
        if fault.kind == "slow_link":
            slow_port(at, fault)
        else:
            breaks[fault.kind](at)
    nominal = np.maximum(links.n_links_to_chip.sum(axis=1), 1)
    uplinks = np.maximum(links.n_links_to_spine.sum(axis=1), 1)
    return Damage(
        n_live_links=live,
        scale_up_frac=slow * live.sum(axis=1) / nominal,
        nic_frac=nic,
        leaf_frac=leaf * to_spine.sum(axis=1) / uplinks,
        is_dead=is_dead,
    )
