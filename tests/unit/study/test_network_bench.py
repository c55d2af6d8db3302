"""The law of a collective over sizes, beside measured points."""

import math

import pytest

from rackmoe.errors import ConfigError
from rackmoe.study.network_bench import DENSE_SIZES_BYTES, TOKEN_SIZES, bench_network


def test_every_family_of_the_machine_gets_rows():
    rows = bench_network("gb200_nvl72", operation="dispatch", n_ranks=[8])
    families = {row.algorithm for row in rows}
    assert {"nvlink_one_sided", "nvlink_two_sided", "deepep_low_latency"} <= families
    assert len(rows) == len(families) * len(TOKEN_SIZES)


def test_measured_points_stand_beside_the_law():
    (row,) = bench_network(
        "hgx_h200",
        operation="dispatch",
        n_ranks=[16],
        sizes=[128],
        family="deepep_low_latency",
    )
    assert row.measured_s == pytest.approx(102.1e-6, rel=0.01)
    assert row.latency_s == pytest.approx(row.measured_s, rel=0.08)
    # 7.5 of 8 assignments leave the rank
    assert row.n_bytes == pytest.approx(128 * 7.5 * 7392)
    assert row.bandwidth_bytes_per_s == pytest.approx(row.n_bytes / row.latency_s)


def test_sizes_that_nobody_measured_have_no_point():
    (row,) = bench_network(
        "gb200_nvl72", operation="combine", n_ranks=[16], sizes=[3], family="nvlink_one_sided"
    )
    assert math.isnan(row.measured_s)


def test_family_that_cannot_cross_domains_gives_no_rows():
    rows = bench_network(
        "gb200_nvl72", operation="dispatch", n_ranks=[72, 144], family="nvlink_one_sided"
    )
    assert {row.n_ranks for row in rows} == {72}


def test_dense_collective_shows_bus_bandwidth_and_its_way():
    rows = bench_network("gb200_nvl72", operation="all_reduce", n_ranks=[72])
    assert [row.size for row in rows] == list(DENSE_SIZES_BYTES)
    assert rows[-1].algorithm == "nvls"
    assert rows[-1].bandwidth_bytes_per_s == pytest.approx(800e9, rel=0.1)


def test_moved_constants_are_called_assumed():
    rows = bench_network("vera_rubin_nvl72", operation="dispatch", n_ranks=[8], sizes=[8])
    assert {row.kind for row in rows} == {"assumed"}


def test_unknown_operation_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'scatter'; expected one of dispatch.*all_reduce"):
        bench_network("gb200_nvl72", operation="scatter", n_ranks=[8])


def test_family_that_the_machine_lacks_is_refused_with_those_it_has():
    with pytest.raises(ConfigError, match=r"'nvlink_one_sided'; expected one of deepep"):
        bench_network("hgx_h200", operation="dispatch", n_ranks=[8], family="nvlink_one_sided")


@pytest.mark.parametrize("operation", ["dispatch", "all_reduce"])
def test_library_without_the_operation_is_refused_with_those_that_have_it(operation):
    with pytest.raises(
        ConfigError, match="library: 'nixl'; expected the beginning of one of "
    ) as no:
        bench_network("hgx_h200", operation=operation, n_ranks=[8], sizes=[1], library="nixl")
    named = str(no.value).split("one of ")[1].split(" for ")[0].split(", ")
    for name in named:
        assert bench_network(
            "hgx_h200", operation=operation, n_ranks=[8], sizes=[1], library=name
        ), name


def test_measured_sizes_are_added_for_a_figure():
    rows = bench_network(
        "gb200_nvl72", operation="all_reduce", n_ranks=[8], has_measured_sizes=True
    )
    sizes = [row.size for row in rows]
    assert sizes == sorted(sizes)
    assert len(sizes) >= 24
    # a published peak of the bus bandwidth counts as a time
    (peak,) = [row for row in rows if not math.isnan(row.measured_s) and row.size == 2.0**33]
    assert 2.0**33 * 2 * 7 / 8 / peak.measured_s == pytest.approx(811e9)


@pytest.mark.parametrize(("n_ranks", "published"), [(64, 620e9), (128, 45.5e9 * 127 / 64)])
def test_all_to_all_of_two_racks_falls_to_the_nics_as_published(n_ranks, published):
    # GB200 NVL72: about 620 GB/s in one rack, 90 GB/s over two
    (row,) = bench_network(
        "gb200_nvl72", operation="all_to_all", n_ranks=[n_ranks], sizes=[2.0**33]
    )
    assert row.bandwidth_bytes_per_s == pytest.approx(published, rel=0.02)
