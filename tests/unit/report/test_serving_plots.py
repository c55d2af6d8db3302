import pytest
from serving_cases import ANSWERS, ROWS, row_of, validation

from rackmoe.report.serving_plots import OTHERS, draw_frontiers, draw_scatter, point_groups
from rackmoe.study.validation.serving import validate_answers


@pytest.fixture(scope="module")
def found():
    return validation()


def test_every_point_is_in_a_headline_stratum_or_among_the_others(found):
    groups = point_groups(found)
    assert list(groups) == ["GB200 NVL72 DeepSeek-R1 disaggregated", "HGX H200 DeepSeek-R1"]
    assert OTHERS not in groups
    assert sum(len(points) for points in groups.values()) == len(ROWS)


def test_scatter_shows_scored_points_failures_and_charts(found):
    figure = draw_scatter(found, metric="tpot")
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_visible()}
    h200 = panels["HGX H200 DeepSeek-R1"]
    drawn = [place for one in h200.collections for place in one.get_offsets().tolist()]
    assert [20.0, 22.0] in drawn
    assert [20.0, 40.0] in drawn
    assert h200.get_xscale() == h200.get_yscale() == "log"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"hgx_h200", "gb200_nvl72", "no answer", "not scored"} <= set(labels)
    assert any("median" in text.get_text() for text in h200.texts)


def test_what_nobody_measured_is_not_drawn(found):
    bare = (row_of("z", tpot_ms="", ttft_ms="", total_tokens_per_s_per_gpu=""),)
    empty = validate_answers(bare, answers={"z": ANSWERS["a"]}, file="z.csv")
    assert draw_scatter(found, metric="ttft") is not None
    assert draw_scatter(empty, metric="tpot") is None
    assert draw_frontiers(empty.points) is None


def test_a_frontier_is_measured_and_predicted_speed_and_throughput(found):
    figure = draw_frontiers(found.points)
    (axis,) = figure.axes
    assert axis.get_title(loc="left") == "h200"
    measured, predicted = (one.get_offsets().tolist() for one in axis.collections)
    assert measured == [[50.0, 500.0], [100.0, 250.0]]
    assert predicted[0] == pytest.approx([1000 / 22, 450.0])
