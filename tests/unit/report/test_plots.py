from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from rackmoe.errors import ConfigError
from rackmoe.report.plots import (
    draw_all,
    draw_breakdown,
    draw_comparison,
    draw_expert_load,
    draw_latencies,
    plot_breakdown,
    plot_comparison,
    plot_expert_load,
    plot_latencies,
)
from rackmoe.report.theme import machine_color


@pytest.fixture
def pair(make_outcome):
    return [make_outcome("base", machine="gb200_nvl72"), make_outcome("hgx", pool="aggregated")]


def texts(figure):
    """Return everything that a figure says outside its axes, and the titles inside."""
    outside = [text.get_text() for text in figure.texts]
    return " ".join([figure.get_suptitle(), figure.get_supxlabel(), *outside])


@pytest.mark.parametrize(
    "draw", [draw_comparison, draw_latencies, draw_breakdown, draw_expert_load]
)
def test_figure_states_scenario_machines_seed_and_that_it_is_modeled(draw, pair):
    said = texts(draw(pair))
    for words in ("A title", "NVIDIA gb200_nvl72, 8 GPUs", "seed 0", "modeled by rackmoe"):
        assert words in said


def test_bars_have_the_colors_of_their_machines_and_titles_their_units(pair):
    panel = draw_comparison(pair).axes[0]
    assert panel.get_title(loc="left") == "output per GPU\n[tokens/s]"
    colors = [to_hex(bar.get_facecolor()) for bar in panel.patches]
    assert colors == [machine_color("gb200_nvl72"), machine_color("hgx_h200")]
    assert [bar.get_width() for bar in panel.patches] == [200.0, 200.0]


def test_runs_of_one_machine_are_told_apart_by_hatches(make_outcome):
    panel = draw_comparison([make_outcome("a"), make_outcome("b")]).axes[0]
    assert [bar.get_hatch() for bar in panel.patches] == ["", "///"]


def test_distributions_rise_from_the_least_to_the_largest_in_milliseconds(pair):
    left, right = draw_latencies(pair).axes
    curve = left.lines[0]
    np.testing.assert_allclose(curve.get_xdata(), [100.0, 200.0, 400.0])
    np.testing.assert_allclose(curve.get_ydata(), [0.0, 50.0, 100.0])
    np.testing.assert_allclose(right.lines[0].get_xdata(), [20.0, 30.0])  # NaN left out
    assert left.get_xlabel() == "TTFT [ms], logarithmic"


def test_run_without_finished_requests_leaves_its_curve_out(make_outcome):
    empty = replace(make_outcome(), latencies=pd.DataFrame({"ttft_s": [], "tpot_s": []}))
    assert not draw_latencies([empty]).axes[0].lines


def test_stacks_have_a_panel_for_each_pool_and_show_their_sum(pair):
    decode, aggregated = draw_breakdown(pair).axes
    assert decode.get_title(loc="left") == "Decode step, mean over steps and ranks [ms]"
    assert [text.get_text() for text in decode.texts] == ["8 ms"]
    assert [label.get_text() for label in aggregated.get_yticklabels()] == ["hgx_h200"]


def test_breakdown_without_steps_is_refused(make_outcome):
    empty = replace(make_outcome(), breakdown=make_outcome().breakdown.iloc[:0])
    with pytest.raises(ConfigError, match="breakdown: no steps"):
        draw_breakdown([empty])


def test_heat_map_puts_the_busiest_experts_first(pair):
    panel = draw_expert_load(pair).axes[0]
    np.testing.assert_allclose(panel.images[0].get_array(), [[1.5, 0.5], [1.0, 1.0]])


def test_runs_without_expert_counts_have_no_heat_map(make_outcome):
    empty = replace(make_outcome(), expert_loads=pd.DataFrame())
    with pytest.raises(ConfigError, match="no assignments were recorded"):
        draw_expert_load([empty])
    assert "expert_load" not in draw_all([empty])
    assert list(draw_all([make_outcome()])) == [
        *("comparison", "latencies", "breakdown", "expert_load")
    ]


@pytest.mark.parametrize(
    "plot", [plot_comparison, plot_latencies, plot_breakdown, plot_expert_load]
)
def test_results_are_drawn_directly_in_a_notebook(plot, make_result):
    assert "tiny" in texts(plot(make_result()))
