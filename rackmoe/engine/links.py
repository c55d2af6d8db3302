"""Which directed links of a machine a transfer crosses."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from rackmoe.errors import TopologyError
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.topology import (
    LinkKind,
    NodeKind,
    build_topology,
    nodes_of_kind,
)

__all__ = ["MachineLinks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLinks:
    """The links of a machine that transfers share, parallel ones joined into one.

    A GPU has a scale-up port and a host link, a NIC its cable, a leaf all its
    uplinks together: bytes are striped over the switch chips and spread over
    the spines evenly, so none of these needs links of its own. Out and in are
    separate links; out is away from the GPU, and up to the spines.

    Parameters
    ----------
    names : tuple of str
        Name of each link, for example ``gpu3.scale_up.out``.
    capacity_bytes_per_s : ndarray of shape (n_links,)
        What a large transfer reaches, one direction. [B/s]
    scale_up, host : ndarray of shape (2, n_gpus)
        Links out of and into each GPU.
    nic : ndarray of shape (2, n_nics)
        Links out of and into each NIC.
    leaf : ndarray of shape (2, n_leaves)
        Links up from and down to each leaf.
    nic_leaf, nic_rail : ndarray of shape (n_nics,)
        Leaf, as an index of `leaf`, and rail of each NIC.
    gpu_domain, gpu_node : ndarray of shape (n_gpus,)
        Scale-up domain and node of each GPU.
    n_links_to_chip : ndarray of shape (n_gpus, n_chips)
        Links from each GPU to each switch chip.
    n_links_to_spine : ndarray of shape (n_leaves, n_spines)
        Links from each leaf to each spine.
    """

    names: tuple[str, ...]
    capacity_bytes_per_s: NDArray[np.float64]
    scale_up: NDArray[np.int64]
    host: NDArray[np.int64]
    nic: NDArray[np.int64]
    leaf: NDArray[np.int64]
    nic_leaf: NDArray[np.int64]
    nic_rail: NDArray[np.int64]
    gpu_domain: NDArray[np.int64]
    gpu_node: NDArray[np.int64]
    n_links_to_chip: NDArray[np.int64]
    n_links_to_spine: NDArray[np.int64]

    @classmethod
    def of_machine(cls, machine: Machine, *, n_gpus: int) -> MachineLinks:
        """Return the links of the first GPUs of a machine.

        Parameters
        ----------
        machine : Machine
            What to build.
        n_gpus : int
            GPUs, in whole nodes.
        """
        graph = build_topology(machine, n_gpus=n_gpus)
        gpus = nodes_of_kind(graph, kind=NodeKind.GPU)
        nics = nodes_of_kind(graph, kind=NodeKind.NIC)
        leaves = nodes_of_kind(graph, kind=NodeKind.LEAF)
        chips = nodes_of_kind(graph, kind=NodeKind.NVSWITCH)
        sums = {
            "scale_up": (gpus, LinkKind.SCALE_UP, machine.scale_up.copy_frac),
            "host": (gpus, LinkKind.HOST, machine.host.copy_frac),
            "nic": (nics, LinkKind.RAIL, machine.scale_out.copy_frac),
            "leaf": (leaves, LinkKind.UPLINK, machine.scale_out.copy_frac),
        }
        names: list[str] = []
        capacities: list[float] = []
        numbers: dict[str, NDArray[np.int64]] = {}
        for key, (nodes, kind, frac) in sums.items():
            first = len(names)
            for way in ("out", "in"):
                names.extend(f"{node}.{key}.{way}" for node in nodes)
                capacities.extend(
                    frac * _capacity_bytes_per_s(graph, node, kind) for node in nodes
                )
            numbers[key] = np.arange(first, len(names)).reshape(2, len(nodes))
        leaf_index = {leaf: index for index, leaf in enumerate(leaves)}
        return cls(
            names=tuple(names),
            capacity_bytes_per_s=np.array(capacities),
            **numbers,
            nic_leaf=np.array([leaf_index[_leaf_of(graph, nic)] for nic in nics], np.int64),
            nic_rail=np.array([graph.nodes[nic]["rail"] for nic in nics], np.int64),
            gpu_domain=np.array([graph.nodes[gpu]["domain"] for gpu in gpus], np.int64),
            gpu_node=np.array([graph.nodes[gpu]["node"] for gpu in gpus], np.int64),
            n_links_to_chip=_n_links(graph, gpus, chips),
            n_links_to_spine=_n_links(graph, leaves, nodes_of_kind(graph, kind=NodeKind.SPINE)),
        )

    @property
    def n_gpus(self) -> int:
        """Number of GPUs."""
        return int(self.gpu_node.size)

    @property
    def nics_per_gpu(self) -> int:
        """NICs of one GPU."""
        return int(self.nic_rail.size) // self.n_gpus

    def scale_up_path(self, source: int, *, destination: int) -> tuple[int, ...]:
        """Return the links from GPU to GPU through the switch chips of their domain.

        Parameters
        ----------
        source, destination : int
            Two GPUs of one domain.
        """
        self._check(source, destination)
        if self.gpu_domain[source] != self.gpu_domain[destination]:
            msg = (
                f"path: gpu{source} is in scale-up domain {self.gpu_domain[source]}, "
                f"gpu{destination} in {self.gpu_domain[destination]}; expected one domain; "
                "use the scale-out path"
            )
            raise TopologyError(msg)
        return int(self.scale_up[0, source]), int(self.scale_up[1, destination])

    def scale_out_path(self, source: int, *, destination: int, nic: int = 0) -> tuple[int, ...]:
        """Return the links from GPU to GPU through their own NICs.

        It crosses the spines where the two NICs are not on one leaf.

        Parameters
        ----------
        source, destination : int
            Two GPUs.
        nic : int
            Which of the NICs of each GPU; a caller that stripes uses each once.
        """
        self._check(source, destination)
        if not 0 <= nic < self.nics_per_gpu:
            msg = (
                f"path: NIC {nic} of a GPU; expected 0 to {self.nics_per_gpu - 1}; "
                "stripe over the NICs that the profile has"
            )
            raise TopologyError(msg)
        one = source * self.nics_per_gpu + nic
        other = destination * self.nics_per_gpu + nic
        return self._between_nics(one, other)

    def nic_path(self, source: int, *, destination: int, nics: tuple[int, int]) -> tuple[int, ...]:
        """Return the links from GPU to GPU through given NICs of their nodes.

        A NIC of a neighbor is reached over scale-up.

        Parameters
        ----------
        source, destination : int
            Two GPUs.
        nics : tuple of int
            NIC that sends and NIC that receives, by their numbers in the machine.
        """
        self._check(source, destination)
        owners = nics[0] // self.nics_per_gpu, nics[1] // self.nics_per_gpu
        if nics[0] == nics[1]:
            # both use the one NIC that is left: they are neighbors
            return self.scale_up_path(source, destination=destination)
        links = self._between_nics(*nics)
        if owners[0] != source:
            links = (*self.scale_up_path(source, destination=owners[0]), *links)
        if owners[1] != destination:
            links = (*links, *self.scale_up_path(owners[1], destination=destination))
        return links

    def forwarded_path(self, source: int, *, destination: int) -> tuple[int, ...]:
        """Return the links from GPU to GPU by way of a neighbor on the right rail.

        The neighbor in the source's node whose NIC is on the rail of the
        destination takes the bytes over scale-up and sends them, so that they
        cross no spine within a block of the rail.

        Parameters
        ----------
        source, destination : int
            Two GPUs of different nodes.
        """
        self._check(source, destination)
        other = destination * self.nics_per_gpu
        same_node = self.gpu_node == self.gpu_node[source]
        for neighbor in np.flatnonzero(same_node):
            one = int(neighbor) * self.nics_per_gpu
            if self.nic_rail[one] == self.nic_rail[other]:
                wires = self._between_nics(one, other)
                if neighbor == source:
                    return wires
                return (*self.scale_up_path(source, destination=int(neighbor)), *wires)
        return self._between_nics(source * self.nics_per_gpu, other)

    def gpu_path(self, source: int, *, destination: int) -> tuple[int, ...]:
        """Return the fastest of the paths: scale-up within a domain, else the NICs.

        Parameters
        ----------
        source, destination : int
            Two GPUs.
        """
        self._check(source, destination)
        if self.gpu_domain[source] == self.gpu_domain[destination]:
            return self.scale_up_path(source, destination=destination)
        return self.scale_out_path(source, destination=destination)

    def host_path(self, gpu: int, *, is_to_host: bool) -> tuple[int, ...]:
        """Return the link between a GPU and the memory of its CPU.

        Parameters
        ----------
        gpu : int
            The GPU.
        is_to_host : bool
            Away from the GPU, or towards it.
        """
        return (int(self.host[0 if is_to_host else 1, gpu]),)

    def _between_nics(self, one: int, other: int) -> tuple[int, ...]:
        wires = int(self.nic[0, one]), int(self.nic[1, other])
        leaves = int(self.nic_leaf[one]), int(self.nic_leaf[other])
        if leaves[0] == leaves[1]:
            return wires
        return wires[0], int(self.leaf[0, leaves[0]]), int(self.leaf[1, leaves[1]]), wires[1]

    def _check(self, source: int, destination: int) -> None:
        both = (source, destination)
        if source == destination or not all(0 <= gpu < self.n_gpus for gpu in both):
            msg = (
                f"path: gpu{source} to gpu{destination}; expected two different GPUs below "
                f"{self.n_gpus}; leave out copies within one GPU"
            )
            raise TopologyError(msg)


def _capacity_bytes_per_s(graph: nx.Graph, node: str, kind: LinkKind) -> float:
    """Return the sum of the links of one kind at a node. [B/s]."""
    return float(
        sum(
            data["capacity_bytes_per_s"]
            for _, _, data in graph.edges(node, data=True)
            if data["kind"] == kind
        )
    )


def _leaf_of(graph: nx.Graph, nic: str) -> str:
    """Return the leaf that a NIC is plugged into."""
    return next(
        str(other)
        for _, other, data in graph.edges(nic, data=True)
        if data["kind"] == LinkKind.RAIL
    )


def _n_links(graph: nx.Graph, ones: list[str], others: list[str]) -> NDArray[np.int64]:
    """Return how many links there are between nodes of two kinds."""
    counts = [
        [
            graph.edges[one, other]["n_links"] if graph.has_edge(one, other) else 0
            for other in others
        ]
        for one in ones
    ]
    return np.array(counts, np.int64).reshape(len(ones), len(others))
