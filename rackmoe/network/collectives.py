"""How long a collective of dense buffers takes, by the way its library chooses for the size."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rackmoe.backend.collectives import Algorithm, AlgorithmConstants, CollectiveConstants
from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.network.startup import overlapped_s, ramped_s

__all__ = ["BUS_FACTORS", "CollectiveLaw", "point_to_point_time_s", "wire_bytes"]

Floats = NDArray[np.float64]

# The switches reduce for 6 and more GPUs (HGX B200: "NVLS engages at 6 GPUs",
# stas00/ml-engineering@744d01e network/README.md; kind: measured).
_MIN_NVLS_RANKS = 6

BUS_FACTORS: Mapping[str, float] = MappingProxyType(
    {"all_reduce": 2.0, "all_gather": 1.0, "reduce_scatter": 1.0, "all_to_all": 1.0}
)
"""Bus bandwidth over ``(n - 1) / n`` of the algorithm bandwidth, as nccl-tests defines it."""


def wire_bytes(
    n_bytes: Floats | float, *, operation: str, algorithm: Algorithm, n_ranks: int
) -> Floats:
    r"""Return the bytes that the busiest direction of a GPU port carries.

    Parameters
    ----------
    n_bytes : float or ndarray
        The whole buffer: of an all-reduce, the result of an all-gather, the input of
        a reduce-scatter or all-to-all. [B]
    operation : str
        ``all_reduce``, ``all_gather``, ``reduce_scatter`` or ``all_to_all``.
    algorithm : Algorithm
        How it moves.
    n_ranks : int
        GPUs.

    Returns
    -------
    ndarray
        Bytes of one port, one direction. [B]

    Raises
    ------
    ConfigError
        If the operation is unknown.

    Notes
    -----
    Ring and two-shot all-reduce, :math:`2 S (n - 1) / n` [1]_; one-shot, where each GPU
    reads all other buffers, :math:`S (n - 1)`; in the switches (NVLS), where each GPU
    pulls the sum of its share and multicasts it, :math:`S (n + 1) / n`; all others
    :math:`S (n - 1) / n`.

    References
    ----------
    .. [1] P. Patarasuk and X. Yuan, "Bandwidth optimal all-reduce algorithms for
       clusters of workstations," J. Parallel Distrib. Comput., vol. 69, 2009.
    """
    if operation not in BUS_FACTORS:
        raise ConfigError(
            f"operation: '{operation}'; expected one of {', '.join(BUS_FACTORS)}; choose one"
        )
    size = np.asarray(n_bytes, np.float64)
    if algorithm is Algorithm.ONE_SHOT:
        return size * (n_ranks - 1)
    if algorithm is Algorithm.NVLS and operation == "all_reduce":
        return size * (n_ranks + 1) / n_ranks
    return size * BUS_FACTORS[operation] * (n_ranks - 1) / n_ranks


class CollectiveLaw:
    """The duration of one operation of one library on a machine.

    Parameters
    ----------
    constants : CollectiveConstants
        The ways to run it; one that needs reductions in the switches is dropped where
        the machine has none.
    machine : Machine
        Ports, NICs and scale-up domains.
    n_ranks : int
        GPUs of the communicator.
    n_local : int, optional
        GPUs of it in one scale-up domain; an even split over the fewest domains if left out.

    Attributes
    ----------
    algorithms : tuple of Algorithm
        The ways that are possible here.
    """

    def __init__(
        self,
        constants: CollectiveConstants,
        *,
        machine: Machine,
        n_ranks: int,
        n_local: int | None = None,
    ) -> None:
        self.constants = constants
        self.n_ranks = n_ranks
        n_domains = -(-n_ranks // machine.scale_up.domain_gpus)
        self.n_local = n_ranks / n_domains if n_local is None else n_local
        self._port_bytes_per_s = machine.scale_up.gpu_bandwidth_bytes_per_s
        out = machine.scale_out
        self._nic_bytes_per_s = out.nic_bandwidth_bytes_per_s * out.nics_per_gpu
        can_reduce = machine.scale_up.has_in_network_reduction and n_ranks >= _MIN_NVLS_RANKS
        self._ways = tuple(
            way
            for way in constants.algorithms
            if can_reduce or way.algorithm is not Algorithm.NVLS
        )
        self.algorithms = tuple(way.algorithm for way in self._ways)
        if not self._ways:
            raise ConfigError(
                f"{constants.key.library} {constants.key.operation}: only reductions in the "
                f"switches are known; expected a machine with them and {_MIN_NVLS_RANKS} GPUs; "
                "choose another library"
            )

    def time_s(self, n_bytes: Floats | float) -> Floats:
        """Return the duration of the fastest way.

        Parameters
        ----------
        n_bytes : float or ndarray
            The whole buffer, as in `wire_bytes`. [B]

        Returns
        -------
        ndarray
            Start to end. [s]
        """
        total: Floats = self._times_s(n_bytes).min(axis=0)
        return total

    def algorithm(self, n_bytes: float) -> Algorithm:
        """Return the way that the library takes for a buffer.

        Parameters
        ----------
        n_bytes : float
            The whole buffer, as in `wire_bytes`. [B]

        Returns
        -------
        Algorithm
            The fastest.
        """
        return self.algorithms[int(self._times_s(n_bytes).argmin(axis=0))]

    def bus_bytes_per_s(self, n_bytes: Floats | float) -> Floats:
        """Return the bus bandwidth as nccl-tests prints it.

        Parameters
        ----------
        n_bytes : float or ndarray
            The whole buffer, as in `wire_bytes`. [B]

        Returns
        -------
        ndarray
            Bandwidth that a ring would need on each port for this duration. [B/s]
        """
        factor = BUS_FACTORS[self.constants.key.operation] * (self.n_ranks - 1) / self.n_ranks
        return np.asarray(n_bytes) * factor / self.time_s(n_bytes)

    def _times_s(self, n_bytes: Floats | float) -> Floats:
        """Return the duration of every way, along the first axis."""
        size = np.asarray(n_bytes, np.float64)
        return np.stack([self._way_time_s(size, way) for way in self._ways])

    def _way_time_s(self, n_bytes: Floats, way: AlgorithmConstants) -> Floats:
        operation = self.constants.key.operation
        port = wire_bytes(
            n_bytes, operation=operation, algorithm=way.algorithm, n_ranks=self.n_ranks
        )
        reached = way.port_efficiency.at(self.n_ranks) * self._port_bytes_per_s
        parts = [port / reached]
        n_domains = self.n_ranks / self.n_local
        if n_domains > 1:
            nic = self._nic_bytes(n_bytes, operation=operation, n_domains=n_domains)
            parts.append(nic / (way.nic_efficiency * self._nic_bytes_per_s))
        latency_s = way.latency_s.at_or_beyond(self.n_ranks)
        return ramped_s(overlapped_s(*parts), latency_s=latency_s, ramp=way.ramp)

    def _nic_bytes(self, n_bytes: Floats, *, operation: str, n_domains: float) -> Floats:
        """Return the bytes of one NIC when rings are laid out by rail, or pairs go direct."""
        if operation == "all_to_all":
            return n_bytes * (self.n_ranks - self.n_local) / self.n_ranks
        share = (n_domains - 1) / n_domains / self.n_local
        return n_bytes * BUS_FACTORS[operation] * share


def point_to_point_time_s(n_bytes: float, *, machine: Machine, is_remote: bool) -> float:
    """Return how long one GPU takes to send a buffer to another over an idle fabric.

    Parameters
    ----------
    n_bytes : float
        The buffer. [B]
    machine : Machine
        Latencies, ports and the share of them that large copies reach.
    is_remote : bool
        Whether the receiver is in another scale-up domain.

    Returns
    -------
    float
        ``latency + bytes / (copy_frac * bandwidth)``. [s]
    """
    if is_remote:
        out = machine.scale_out
        latency_s = 2 * out.endpoint_latency_s + out.switch_latency_s
        rate = out.copy_frac * out.nic_bandwidth_bytes_per_s * out.nics_per_gpu
    else:
        up = machine.scale_up
        latency_s = up.latency_s
        rate = up.copy_frac * up.gpu_bandwidth_bytes_per_s
    return latency_s + n_bytes / rate
