"""Drawings of machines."""

import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch, Rectangle

from rackmoe.hardware.profile import load_machine
from rackmoe.report.theme import machine_color
from rackmoe.report.topology_plot import draw_topology


def boxes(figure):
    return [one for one in figure.axes[0].patches if isinstance(one, FancyBboxPatch)]


def squares(figure):
    return [
        one
        for one in figure.axes[0].patches
        if isinstance(one, Rectangle) and not isinstance(one, FancyBboxPatch)
    ]


def lines(figure):
    return [one for one in figure.axes[0].collections if isinstance(one, LineCollection)]


def captions(figure):
    return [text.get_text().replace("\n", " ") for text in figure.axes[0].texts]


@pytest.fixture(scope="module")
def rack():
    return draw_topology(load_machine("gb200_nvl72"))


@pytest.fixture(scope="module")
def servers():
    return draw_topology(load_machine("hgx_h200"), n_domains=2)


def test_a_rack_is_grouped_by_compute_and_switch_tray(rack):
    assert len(boxes(rack)) == 18 + 9
    # 72 GPUs, 72 NICs, 36 CPUs, 18 chips, 4 leaves, 9 spines
    assert len(squares(rack)) == 211


def test_gpus_have_the_color_of_their_machine_in_every_figure(rack, servers):
    for figure, name, n_gpus in ((rack, "gb200_nvl72", 72), (servers, "hgx_h200", 16)):
        colors = [to_hex(one.get_facecolor()) for one in squares(figure)]
        assert colors.count(machine_color(name)) == n_gpus


def test_scale_up_links_are_bundled_but_for_one_gpu(rack):
    uplinks, cables, bundles, first_gpu = (len(one.get_segments()) for one in lines(rack))
    assert (uplinks, cables) == (4 * 9, 72)
    assert (bundles, first_gpu) == (18 * 9, 18)


def test_servers_have_their_own_switch_chips(servers):
    _, cables, bundles, first_gpu = (len(one.get_segments()) for one in lines(servers))
    assert (cables, bundles, first_gpu) == (16, 2 * 4, 4)
    assert len(boxes(servers)) == 2


def test_every_tier_says_how_many_and_how_fast(rack):
    said = captions(rack)
    for words in (
        "9 spines",
        "4 leaves 4 rails by color",
        "1,296 scale-up links 64.8 TB/s, 900 GB/s a GPU",
        "18 switch chips in 9 trays",
    ):
        assert words in said
    assert rack.get_suptitle() == "NVIDIA GB200 NVL72: 72 GPUs in 1 rack"


def test_squares_of_gpus_are_left_out_where_they_would_be_too_small():
    figure = draw_topology(load_machine("gb200_nvl72"), n_domains=5)
    assert len(squares(figure)) == 5 * 18 + 20 + 9
