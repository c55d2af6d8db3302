"""Whether derived constants give back the published bus bandwidths."""

import pytest

from rackmoe.hardware.profile import load_machine
from rackmoe.network.collectives import CollectiveLaw
from rackmoe.study.calibration.published import PUBLISHED_SOURCES, published_collectives

LARGE_BYTES = 8 * 2.0**30


def bus_bytes_per_s(profile, operation, n_ranks):
    machine = load_machine(profile)
    constants = next(
        one for one in published_collectives()[machine.gpu.name] if one.key.operation == operation
    )
    law = CollectiveLaw(constants, machine=machine, n_ranks=n_ranks)
    return float(law.bus_bytes_per_s(LARGE_BYTES))


@pytest.mark.parametrize(
    ("profile", "operation", "n_ranks", "published"),
    [
        ("gb200_nvl72", "all_to_all", 4, 615e9),
        ("gb200_nvl72", "all_to_all", 64, 623e9),
        ("gb200_nvl72", "all_to_all", 128, 89.6e9),
        ("gb200_nvl72", "all_reduce", 4, 663e9),
        ("gb200_nvl72", "all_reduce", 72, 841e9),
        ("hgx_h200", "all_reduce", 8, 480e9),
        ("hgx_h200", "all_gather", 8, 361e9),
        ("hgx_h200", "all_to_all", 8, 311e9),
    ],
)
def test_published_bus_bandwidth_is_given_back(profile, operation, n_ranks, published):
    assert bus_bytes_per_s(profile, operation, n_ranks) == pytest.approx(published, rel=0.02)


def test_every_published_constant_has_its_source():
    for several in published_collectives().values():
        assert {one.report.file for one in several} <= set(PUBLISHED_SOURCES)
        assert {one.report.kind for one in several} == {"derived"}
