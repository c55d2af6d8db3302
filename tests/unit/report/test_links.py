"""Hot links and the heat map of all links."""

import numpy as np
import pandas as pd
import pytest

from rackmoe.errors import ConfigError
from rackmoe.report.links import draw_link_heat, hot_links_frame

NOTE = "NVIDIA GB200 NVL72, seed 0"


@pytest.fixture
def links():
    """Four ports over 2 s: two of NVLink, two NICs, one of them idle."""
    return pd.DataFrame(
        {
            "replica": [0, 0, 0, 0],
            "rank": [0, 1, 0, 1],
            "tier": ["scale_up", "scale_up", "scale_out", "scale_out"],
            "capacity_bytes_per_s": [100.0, 100.0, 10.0, 10.0],
            "sent_bytes": [20.0, 100.0, 16.0, 0.0],
            "received_bytes": [120.0, 40.0, 2.0, 0.0],
            "busy_s": [0.5, 0.5, 1.5, 0.0],
        }
    )


@pytest.fixture
def detailed(links):
    return links.assign(
        port=[4, 5, 4, 5],
        collective_bytes=[140.0, 130.0, 0.0, 0.0],
        kv_bytes=[0.0, 10.0, 18.0, 0.0],
        p99_utilization_frac=[0.9, 0.8, 1.0, 0.0],
    )


def test_hottest_link_is_the_one_with_the_busiest_direction(links):
    hot = hot_links_frame(links, span_s=2.0)
    assert hot["link"].tolist() == ["scale_out 0", "scale_up 0", "scale_up 1", "scale_out 1"]
    assert hot["mean_utilization_frac"].tolist() == [0.8, 0.6, 0.5, 0.0]
    assert "mostly" not in hot


def test_only_as_many_as_asked_are_listed(links):
    assert len(hot_links_frame(links, span_s=2.0, n_links=2)) == 2


def test_links_carry_their_number_and_what_they_are_used_for(detailed):
    hot = hot_links_frame(detailed, span_s=2.0)
    assert hot["link"].tolist()[:2] == ["scale_out 4", "scale_up 4"]
    assert hot["mostly"].tolist()[:2] == ["kv", "collective"]
    assert hot["p99_utilization_frac"].tolist()[0] == 1.0


def test_panel_says_how_much_the_busiest_port_carried(detailed):
    up, out = draw_link_heat(detailed, span_s=2.0, title="A run", note=NOTE).axes[:2]
    assert (
        up.get_title("left")
        == "scale-up ports, 2 in use, at most 60.00% of one, 90.00% at its p99"
    )
    assert "1 in use, at most 80.00% of one, 100.00%" in out.get_title("left")


def test_every_fabric_has_a_panel_with_both_directions_in_per_cent(links):
    up, out = draw_link_heat(links, span_s=2.0, title="A run", note=NOTE).axes[:2]
    shown = np.asarray(up.images[0].get_array())
    assert shown == pytest.approx(np.array([[10.0, 50.0], [60.0, 20.0]]))
    assert [text.get_text() for text in up.get_yticklabels()] == ["sent", "received"]
    # the idle NIC is left out
    assert np.asarray(out.images[0].get_array()) == pytest.approx(np.array([[80.0], [10.0]]))


def test_classes_of_traffic_are_rows_of_their_own(detailed):
    panel = draw_link_heat(detailed, span_s=2.0, title="A run", note=NOTE).axes[0]
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels == ["sent", "received", "collective (both)", "kv (both)"]
    assert np.asarray(panel.images[0].get_array())[2] == pytest.approx([35.0, 32.5])
    assert [text.get_text() for text in panel.get_xticklabels()] == ["4", "5"]


def test_figure_states_run_machine_and_that_it_is_modeled(links):
    figure = draw_link_heat(links, span_s=2.0, title="A run", note=NOTE)
    assert figure.get_suptitle() == "A run: use of links"
    assert figure.get_supxlabel() == f"mean over 2 s; {NOTE}; modeled by rackmoe"


def test_run_without_traffic_has_no_figure(links):
    idle = links.assign(sent_bytes=0.0, received_bytes=0.0)
    with pytest.raises(ConfigError, match="none carried anything"):
        draw_link_heat(idle, span_s=2.0, title="A run", note=NOTE)


def test_run_of_no_time_is_refused(links):
    with pytest.raises(ConfigError, match=r"span_s: 0\.0; expected a positive time"):
        hot_links_frame(links, span_s=0.0)
