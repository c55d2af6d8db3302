"""Tables and figures of a collective over its size."""

import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.report.network_bench import bench_frame, draw_bench
from rackmoe.study.network_bench import BenchRow

NAN = float("nan")


@pytest.fixture
def make_row():
    def make(*, n_ranks=8, size=128.0, latency_s=30e-6, measured_s=NAN, **others):
        fields = {
            "library": "lib-1",
            "kernel": "kernel",
            "algorithm": "deepep_normal",
            "dtype": "fp8_block",
            "n_bytes": 1e6,
            "bandwidth_bytes_per_s": 1e6 / latency_s,
            "kind": "fitted",
        }
        return BenchRow(
            n_ranks=n_ranks,
            size=size,
            latency_s=latency_s,
            measured_s=measured_s,
            **fields | others,
        )

    return make


def test_sizes_of_a_dispatch_are_tokens_and_errors_are_relative(make_row):
    frame = bench_frame([make_row(measured_s=25e-6), make_row()], operation="dispatch")
    assert frame["tokens_per_rank"].tolist() == [128, 128]
    assert frame["error_frac"][0] == pytest.approx(0.2)
    assert np.isnan(frame["error_frac"][1])


def test_sizes_of_a_dense_collective_are_bytes_and_its_rate_is_the_bus_bandwidth(make_row):
    frame = bench_frame([make_row(size=1e6)], operation="all_reduce")
    assert frame["buffer_bytes"].tolist() == [1e6]
    assert "bus_bandwidth_bytes_per_s" in frame
    assert "size" not in frame


def test_every_family_has_a_row_of_panels_and_every_group_a_line(make_row):
    rows = [make_row(n_ranks=n, size=size) for n in (8, 16) for size in (1.0, 10.0)]
    rows.append(make_row(algorithm="deepep_low_latency"))
    figure = draw_bench(rows, machine=load_machine("hgx_h200"), operation="dispatch")
    assert len(figure.axes) == 4
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["8 GPUs, lib-1 fp8_block", "16 GPUs, lib-1 fp8_block"]
    assert figure.axes[0].get_xscale() == figure.axes[0].get_yscale() == "log"


def test_measured_points_are_dots_beside_the_line_of_the_law(make_row):
    rows = [make_row(size=1.0), make_row(size=8.0, measured_s=60e-6)]
    time, rate = draw_bench(rows, machine=load_machine("hgx_h200"), operation="dispatch").axes
    line, dots = time.lines
    assert line.get_ydata() == pytest.approx([30.0, 30.0])
    assert dots.get_marker() == "o"
    assert dots.get_ydata()[1] == pytest.approx(60.0)
    # half as fast as the law: half its bandwidth
    assert rate.lines[1].get_ydata()[1] == pytest.approx(rate.lines[0].get_ydata()[1] / 2)


def test_nics_bound_only_groups_that_cross_domains(make_row):
    machine = load_machine("gb200_nvl72")

    def bounds(n_ranks):
        figure = draw_bench([make_row(n_ranks=n_ranks)], machine=machine, operation="dispatch")
        return [text.get_text() for text in figure.axes[1].texts]

    assert bounds(72) == ["scale-up port, 900"]
    assert bounds(144) == ["scale-up port, 900", "NICs of a GPU, 50"]


def test_no_rows_are_refused():
    with pytest.raises(ConfigError, match="no group that a family can serve"):
        draw_bench([], machine=load_machine("hgx_h200"), operation="dispatch")
