"""Exchanges over NVLink, NICs, leaves and spines, along paths from the graph of a machine."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from exchange_cases import COPY_BYTES, copies_between

from rackmoe.engine.links import MachineLinks
from rackmoe.network.sharing import FlowLinks


def direct(links, source, destination):
    """Each copy over the own NICs, as low-latency kernels send it."""
    if links.gpu_node[source] == links.gpu_node[destination]:
        return links.scale_up_path(source, destination=destination)
    return links.scale_out_path(source, destination=destination)


def by_rail(links, source, destination):
    """Over NVLink to the neighbor on the right rail, then one leaf, as normal kernels do."""
    if links.gpu_node[source] == links.gpu_node[destination]:
        return links.scale_up_path(source, destination=destination)
    return links.forwarded_path(source, destination=destination)


@dataclass(frozen=True)
class TwoLevelExchange:
    """Copies of all pairs with their paths."""

    links: MachineLinks
    paths: list
    copies: np.ndarray
    capacity_bytes_per_s: np.ndarray

    @property
    def flows(self):
        """What the solvers take."""
        return {
            "links": FlowLinks.of_paths(self.paths, n_links=self.capacity_bytes_per_s.size),
            "capacity_bytes_per_s": self.capacity_bytes_per_s,
            "size_bytes": self.copies * COPY_BYTES,
        }


def make_two_level(machine, *, n_gpus, zipf, way, tokens_per_rank=256, seed=0):
    """All-to-all of expert traffic on the first GPUs of a machine."""
    links = MachineLinks.of_machine(machine, n_gpus=n_gpus)
    copies = copies_between(n_gpus, zipf=zipf, seed=seed, tokens_per_rank=tokens_per_rank)
    pairs = np.argwhere(copies)
    return TwoLevelExchange(
        links=links,
        paths=[way(links, int(source), int(destination)) for source, destination in pairs],
        copies=copies[tuple(pairs.T)],
        capacity_bytes_per_s=links.capacity_bytes_per_s.copy(),
    )


def stages(paths):
    """The most links that stand before each link on any path: an order from first to last."""
    stage = dict.fromkeys((link for path in paths for link in path), 0)
    distinct = set(paths)
    for _ in range(max(len(path) for path in paths) ** 2):
        before = dict(stage)
        for path in distinct:
            for one, other in pairwise(path):
                stage[other] = max(stage[other], stage[one] + 1)
        if stage == before:
            return stage
    raise AssertionError("links in a circle")


def packet_makespan_s(exchange):
    """The end of packets through links that serve them in the order in which they arrive.

    Links are taken from first to last along the paths, so that all arrivals at one are known
    when it is looked at: a Lindley recursion for each link.
    """
    rng = np.random.default_rng(0)
    packet = np.repeat(np.arange(len(exchange.paths)), exchange.copies.astype(int))
    packet = rng.permutation(packet)
    longest = max(len(path) for path in exchange.paths)
    table = np.full((len(exchange.paths), longest + 1), -1)
    for row, path in enumerate(exchange.paths):
        table[row, : len(path)] = path
    ready_s = np.zeros(packet.size)
    hop = np.zeros(packet.size, int)
    stage = np.full(exchange.capacity_bytes_per_s.size + 1, -1)
    for link, level in stages(exchange.paths).items():
        stage[link] = level
    for level in range(stage.max() + 1):
        at = table[packet, hop]
        here = np.flatnonzero(stage[at] == level)
        here = here[np.lexsort((ready_s[here], at[here]))]
        for order in np.split(here, np.flatnonzero(np.diff(at[here])) + 1):
            service_s = COPY_BYTES / exchange.capacity_bytes_per_s[at[order[0]]]
            place = np.arange(order.size)
            # c_i = max(c_{i-1}, a_i) + service, as a running maximum
            latest_s = np.maximum.accumulate(ready_s[order] - place * service_s)
            ready_s[order] = latest_s + (place + 1) * service_s
        hop[here] += 1
    return float(ready_s.max())
