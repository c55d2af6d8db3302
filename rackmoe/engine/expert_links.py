"""How experts travel to the ranks that shall hold them, beside everything else on the fabric."""

from collections.abc import Mapping, Sequence

import simpy

from rackmoe.engine.shipments import HOST, Shipments
from rackmoe.network.arbitration import TrafficClass

__all__ = ["ExpertLinks", "fold_pairs"]

_PAIRS_MAX = 64
"""Pairs beyond which they are folded: every transfer costs time to simulate (kind: assumed)."""


class ExpertLinks:
    """Ships experts from GPU to GPU, or from the memory of the CPU.

    Parameters
    ----------
    shipments : Shipments
        What moves bytes over the fabric of the run.
    path : str
        ``scale_up``, ``scale_out`` or ``host``.
    """

    def __init__(self, shipments: Shipments, *, path: str) -> None:
        self._shipments = shipments
        self._path = path

    def send(self, pairs: Mapping[tuple[int, int], float]) -> simpy.Event:
        """Return an event that succeeds when all experts have arrived.

        Parameters
        ----------
        pairs : mapping of tuple of int to float
            Bytes from GPU to GPU, both by their numbers in the machine. [B]

        Returns
        -------
        simpy.Event
            Succeeds at the end of the last transfer.
        """
        if self._path == "host":
            loads: dict[tuple[int, int], float] = {}
            for (_, target), n_bytes in pairs.items():
                loads[HOST, target] = loads.get((HOST, target), 0.0) + n_bytes
        else:
            domain = self._shipments.net.links.gpu_domain.tolist()
            loads = fold_pairs(pairs, domain=domain)
        return self._shipments.ship(
            loads, traffic_class=TrafficClass.EXPERT, is_scale_up=self._path == "scale_up"
        )

    def cancel(self, arrived: simpy.Event) -> None:
        """Give up experts that are on their way; their event never succeeds.

        Parameters
        ----------
        arrived : simpy.Event
            What `send` returned.
        """
        self._shipments.cancel(arrived)


def fold_pairs(
    pairs: Mapping[tuple[int, int], float], *, domain: Sequence[int]
) -> dict[tuple[int, int], float]:
    """Return few pairs over which each GPU sends and receives as much as over many.

    A new placement makes nearly all GPUs send to nearly all others. What such a shipment
    takes depends on the bytes of each port, not on who sends to whom, so the sums
    are dealt out by the northwest-corner rule of transportation problems [1]_, apart for
    each pair of domains: fewer than two pairs for each GPU.

    Parameters
    ----------
    pairs : mapping of tuple of int to float
        Bytes from GPU to GPU. [B]
    domain : sequence of int
        Scale-up domain of each GPU.

    Returns
    -------
    dict of tuple of int to float
        The same where they are few, or where a GPU would send to itself. [B]

    References
    ----------
    .. [1] G. B. Dantzig, "Application of the simplex method to a transportation
       problem," Activity Analysis of Production and Allocation, 1951.
    """
    if len(pairs) <= _PAIRS_MAX:
        return dict(pairs)
    by_domains: dict[tuple[int, int], dict[tuple[int, int], float]] = {}
    for (source, target), n_bytes in pairs.items():
        key = domain[source], domain[target]
        by_domains.setdefault(key, {})[source, target] = n_bytes
    found: dict[tuple[int, int], float] = {}
    for group in by_domains.values():
        found |= _dealt(group)
    return dict(pairs) if any(source == target for source, target in found) else found


def _dealt(pairs: Mapping[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Deal what the sources send to the targets, starting half a turn away."""
    sent: dict[int, float] = {}
    received: dict[int, float] = {}
    for (source, target), n_bytes in sorted(pairs.items()):
        sent[source] = sent.get(source, 0.0) + n_bytes
        received[target] = received.get(target, 0.0) + n_bytes
    sources, targets = sorted(sent), sorted(received)
    targets = targets[len(targets) // 2 :] + targets[: len(targets) // 2]
    found: dict[tuple[int, int], float] = {}
    at = 0
    for source in sources:
        left = sent[source]
        while left > 0.0 and at < len(targets):
            target = targets[at]
            part = min(left, received[target])
            found[source, target] = found.get((source, target), 0.0) + part
            left -= part
            received[target] -= part
            if received[target] <= 0.0:
                at += 1
    return found
