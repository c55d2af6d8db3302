"""Which constants a communication library reaches: start-up times and shares of the ports."""

import bisect
import math
from dataclasses import dataclass
from enum import StrEnum

from rackmoe.errors import ConfigError

__all__ = [
    "Algorithm",
    "AlgorithmConstants",
    "CollectiveBook",
    "CollectiveConstants",
    "CollectiveKey",
    "ExchangeConstants",
    "Family",
    "FitReport",
    "Knots",
    "Spread",
    "ideal_collective",
]

# A start-up time that no clock of whole picoseconds sees. [s]
_NO_LATENCY_S = 1e-24


class Family(StrEnum):
    """How the kernels of a library move tokens to experts and back."""

    NVLINK_ONE_SIDED = "nvlink_one_sided"
    NVLINK_TWO_SIDED = "nvlink_two_sided"
    DEEPEP_LOW_LATENCY = "deepep_low_latency"
    DEEPEP_LOW_LATENCY_RDMA = "deepep_low_latency_rdma"
    DEEPEP_NORMAL = "deepep_normal"
    ALLGATHER_REDUCESCATTER = "allgather_reducescatter"
    NCCL_ALLTOALL = "nccl_alltoall"
    IDEAL = "ideal"


class Spread(StrEnum):
    """How a benchmark chooses the experts of its tokens, all balanced on average.

    ``random`` draws them uniformly; ``even`` deals them out so that a token goes to
    as many different ranks as it can; ``grouped`` is random under the node-limited
    routing of DeepSeek-V3: 4 of 8 groups of experts, then the best of these.
    """

    RANDOM = "random"
    EVEN = "even"
    GROUPED = "grouped"


class Algorithm(StrEnum):
    """How a collective of dense buffers moves its bytes."""

    RING = "ring"
    ONE_SHOT = "one_shot"
    TWO_SHOT = "two_shot"
    NVLS = "nvls"
    PAIRWISE = "pairwise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Knots:
    """A positive constant known at a few group sizes.

    Between the sizes it is a power law; outside it keeps the value of the nearest size.

    Attributes
    ----------
    sizes : tuple of int
        Group sizes, growing: nodes or ranks.
    values : tuple of float
        The constant at each size, in the unit of its owner.
    """

    sizes: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.values) or not self.sizes:
            raise ConfigError(
                f"{len(self.values)} values for {len(self.sizes)} sizes; "
                "expected one value for each size; give as many"
            )
        if list(self.sizes) != sorted(set(self.sizes)) or min(self.values) <= 0:
            raise ConfigError(
                f"{self.sizes}: {self.values}; expected growing sizes and positive values; "
                "sort and correct them"
            )

    def at(self, size: float) -> float:
        """Return the constant for a group size.

        Parameters
        ----------
        size : float
            Nodes or ranks, as the sizes are.

        Returns
        -------
        float
            In the unit of the values.

        Examples
        --------
        >>> Knots(sizes=(1, 4), values=(10.0, 40.0)).at(2)
        20.0
        """
        if size <= self.sizes[0]:
            return self.values[0]
        if size >= self.sizes[-1]:
            return self.values[-1]
        right = bisect.bisect_left(self.sizes, size)
        n_low, n_high = self.sizes[right - 1], self.sizes[right]
        low, high = self.values[right - 1], self.values[right]
        share = math.log(size / n_low) / math.log(n_high / n_low)
        return low * math.exp(share * math.log(high / low))

    def at_or_beyond(self, size: float) -> float:
        """Return the constant for a group size; beyond the last it grows like a tree.

        Parameters
        ----------
        size : float
            Nodes or ranks, as the sizes are.

        Returns
        -------
        float
            Beyond the last size its value times ``log2(2 size) / log2(2 last)``.
        """
        last = self.sizes[-1]
        if size <= last:
            return self.at(size)
        return self.values[-1] * math.log2(2 * size) / math.log2(2 * last)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveKey:
    """What was measured.

    Attributes
    ----------
    library : str
        Library or engine with its version, as in the calibration files.
    kernel : str
        Kernel of the library; the library itself where it has one.
    operation : str
        ``dispatch``, ``combine``, ``prepare``, ``all_reduce`` and so on.
    dtype : str
        Number format of the benchmark; empty where it does not matter.
    """

    library: str
    kernel: str
    operation: str
    dtype: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """Where fitted constants come from and what error they leave.

    Attributes
    ----------
    kind : str
        ``fitted``; ``derived`` from published figures; ``assumed`` when moved from
        another machine.
    file : str
        File of the measured rows.
    n_rows, n_held_out : int
        Rows that the fit used, and rows kept for its test.
    median_error_frac, p90_error_frac : float
        Error of 128 and more tokens, or 1 MB and more, over the rows kept for the
        test where there are any; 0 where no row is that large.
    median_error_s : float
        Absolute error of smaller rows; 0 where there are none. [s]
    caveat : str
        Why the constants serve only to explain their own rows; empty where they serve
        for predictions.
    """

    kind: str
    file: str
    n_rows: int
    n_held_out: int = 0
    median_error_frac: float = 0.0
    p90_error_frac: float = 0.0
    median_error_s: float = 0.0
    caveat: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeConstants:
    """Constants of one dispatch, combine or prepare kernel.

    Attributes
    ----------
    key : CollectiveKey
        What was measured.
    family : Family
        How it moves tokens.
    spread : Spread
        How its benchmark chose experts.
    payload_dtype : str
        Number format on the wire, a dtype of `rackmoe.model.costs.dispatch_bytes`.
    latency_s : Knots
        Start-up time by number of nodes. [s]
    port_efficiency : Knots
        Reached share of the scale-up port by number of nodes.
    nic_efficiency : float
        Reached share of the NIC.
    token_time_s : float
        Work of a rank on each of its own tokens, whatever their destinations. [s]
    sm_bandwidth_bytes_per_s : Knots or None
        Bytes that one SM sends, by number of nodes; None where SMs are not counted. [B/s]
    n_sms : int
        SMs of the kernel unless the user says otherwise; 0 where they are not counted.
    ramp : float
        How much of the start-up time a long transfer still pays; 1 adds both.
    report : FitReport
        Where the constants come from.
    """

    key: CollectiveKey
    family: Family
    spread: Spread
    payload_dtype: str
    latency_s: Knots
    port_efficiency: Knots
    nic_efficiency: float
    token_time_s: float
    sm_bandwidth_bytes_per_s: Knots | None
    n_sms: int
    ramp: float
    report: FitReport


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmConstants:
    """Constants of one way to run a collective; a library takes the fastest of its ways.

    Attributes
    ----------
    algorithm : Algorithm
        What moves; decides the bytes on the wire.
    latency_s : Knots
        Start-up time by number of ranks. [s]
    port_efficiency : Knots
        Reached share of the scale-up port by number of ranks.
    nic_efficiency : float
        Reached share of the NIC.
    ramp : float
        How much of the start-up time a long transfer still pays.
    """

    algorithm: Algorithm
    latency_s: Knots
    port_efficiency: Knots
    nic_efficiency: float
    ramp: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveConstants:
    """Constants of one collective of dense buffers.

    Attributes
    ----------
    key : CollectiveKey
        What was measured.
    algorithms : tuple of AlgorithmConstants
        The ways that the library chooses from.
    report : FitReport
        Where the constants come from.
    """

    key: CollectiveKey
    algorithms: tuple[AlgorithmConstants, ...]
    report: FitReport


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveBook:
    """All constants that apply to one GPU.

    Attributes
    ----------
    gpu : str
        Name of the GPU.
    exchanges : tuple of ExchangeConstants
        Dispatch and combine kernels, the preferred ones first.
    collectives : tuple of CollectiveConstants
        Collectives of dense buffers, the preferred ones first.
    """

    gpu: str
    exchanges: tuple[ExchangeConstants, ...]
    collectives: tuple[CollectiveConstants, ...]


def ideal_collective(operation: str) -> CollectiveConstants:
    """Return the bound of a collective: ports at their peak, no start-up time.

    Parameters
    ----------
    operation : str
        ``all_reduce``, ``all_gather``, ``reduce_scatter`` or ``all_to_all``.

    Returns
    -------
    CollectiveConstants
        A ring, or pairs for ``all_to_all``; ``all_reduce`` also in the switches.
    """
    algorithms = {
        "all_to_all": (Algorithm.PAIRWISE,),
        "all_reduce": (Algorithm.RING, Algorithm.NVLS),
    }.get(operation, (Algorithm.RING,))
    return CollectiveConstants(
        key=CollectiveKey(library="ideal", kernel="ideal", operation=operation),
        algorithms=tuple(
            AlgorithmConstants(
                algorithm=algorithm,
                latency_s=Knots(sizes=(1,), values=(_NO_LATENCY_S,)),
                port_efficiency=Knots(sizes=(1,), values=(1.0,)),
                nic_efficiency=1.0,
                ramp=1.0,
            )
            for algorithm in algorithms
        ),
        report=FitReport(kind="derived", file="", n_rows=0),
    )
