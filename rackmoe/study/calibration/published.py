"""Which constants follow from published bus bandwidths, beyond the sizes of our tables."""

from rackmoe.backend.collectives import (
    Algorithm,
    AlgorithmConstants,
    CollectiveConstants,
    CollectiveKey,
    FitReport,
    Knots,
)

__all__ = ["PUBLISHED_LIBRARY", "PUBLISHED_SOURCES", "published_collectives"]

PUBLISHED_LIBRARY = "nccl-tests"
PUBLISHED_SOURCES = {
    "nccl-tests on gb200": "NCCL tests of 8 GiB on GB200 NVL72: OCI quickstart README-GB200"
    " (all-to-all 615 GB/s on 4 GPUs, 623 on 64, 89.6 on 128 in two racks; ring all-reduce 663),"
    " coreweave/nccl-tests (all-reduce in the switches, 841 on 72); 838 on 8 GPUs is of HGX B200,"
    " stas00/ml-engineering@744d01e; small messages by aiconfigurator 0.12.0",
    "nccl-tests on h200": "NCCL tests of 8 GiB on HGX H200: stas00/ml-engineering@744d01e,"
    " Azure ND_H200_v5_results (ring all-reduce 367, in the switches 480, all-gather 361 GB/s);"
    " all-to-all 311 GB/s and small messages by aiconfigurator 0.12.0",
}
# 89.6 to 90.4 GB/s x 64/127 of the bytes = 45.5 of 50 GB/s on each NIC.
_NIC_EFFICIENCY = 0.91
_GB200_PORT_GB_PER_S, _H200_PORT_GB_PER_S = 900.0, 450.0
# Start-up times of the smallest messages (aiconfigurator 0.12.0, nccl 2.29.2).
_GB200_REDUCE_S, _GB200_PAIRWISE_S = 15.6e-6, 10.7e-6
_H200_REDUCE_S, _H200_GATHER_S, _H200_PAIRWISE_S = 16e-6, 10.4e-6, 7.4e-6


def published_collectives() -> dict[str, tuple[CollectiveConstants, ...]]:
    """Return the constants of published NCCL tests, by name of the GPU.

    Returns
    -------
    dict of str to tuple of CollectiveConstants
        Port shares derived from bus bandwidths; ramp 1.
    """
    gb200 = _GB200_PORT_GB_PER_S
    h200 = _H200_PORT_GB_PER_S
    gb200_pairs = _way(
        Algorithm.PAIRWISE, latency_s=_GB200_PAIRWISE_S, shares={4: 615 / gb200, 64: 623 / gb200}
    )
    gb200_ring = _way(Algorithm.RING, latency_s=_GB200_REDUCE_S, shares={4: 663 / gb200})
    gb200_switch = _way(
        Algorithm.NVLS,
        latency_s=_GB200_REDUCE_S,
        shares={8: _switch_share(838 / gb200, n=8), 72: _switch_share(841 / gb200, n=72)},
    )
    h200_ring = _way(Algorithm.RING, latency_s=_H200_REDUCE_S, shares={8: 367 / h200})
    h200_switch = _way(
        Algorithm.NVLS,
        latency_s=_H200_REDUCE_S,
        shares={8: _switch_share(480 / h200, n=8)},
    )
    h200_gather = _way(Algorithm.RING, latency_s=_H200_GATHER_S, shares={8: 361 / h200})
    h200_pairs = _way(Algorithm.PAIRWISE, latency_s=_H200_PAIRWISE_S, shares={8: 311 / h200})
    return {
        "gb200": (
            _constants("all_to_all", "gb200", gb200_pairs),
            _constants("all_reduce", "gb200", gb200_ring, gb200_switch),
        ),
        "h200": (
            _constants("all_to_all", "h200", h200_pairs),
            _constants("all_reduce", "h200", h200_ring, h200_switch),
            _constants("all_gather", "h200", h200_gather),
            _constants("reduce_scatter", "h200", h200_gather),
        ),
    }


def _switch_share(bus_share: float, *, n: int) -> float:
    """Return the port share of an all-reduce in the switches from its bus bandwidth.

    The bus bandwidth counts ``2 S (n - 1) / n`` bytes, the port carries ``S (n + 1) / n``.
    """
    return bus_share * (n + 1) / (2 * (n - 1))


def _way(
    algorithm: Algorithm, *, latency_s: float, shares: dict[int, float]
) -> AlgorithmConstants:
    sizes = tuple(shares)
    return AlgorithmConstants(
        algorithm=algorithm,
        latency_s=Knots(sizes=sizes, values=(latency_s,) * len(sizes)),
        port_efficiency=Knots(sizes=sizes, values=tuple(shares.values())),
        nic_efficiency=_NIC_EFFICIENCY,
        ramp=1.0,
    )


def _constants(operation: str, gpu: str, *ways: AlgorithmConstants) -> CollectiveConstants:
    key = CollectiveKey(library=PUBLISHED_LIBRARY, kernel=PUBLISHED_LIBRARY, operation=operation)
    report = FitReport(kind="derived", file=f"{PUBLISHED_LIBRARY} on {gpu}", n_rows=len(ways))
    return CollectiveConstants(key=key, algorithms=ways, report=report)
