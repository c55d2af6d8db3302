"""Hot links and pictures of the fabric, from a result."""

from dataclasses import replace

from rackmoe.records import Records
from rackmoe.report.fabric import draw_fabric, hot_links_of, hot_links_table


def test_run_of_one_gpu_has_no_hot_links_and_only_its_wiring_to_draw(make_result):
    result = make_result()
    quiet = replace(result, run=replace(result.run, records=Records()))
    assert hot_links_of(quiet).empty
    assert list(draw_fabric(quiet)) == ["topology"]


def test_links_that_carried_something_are_listed_and_drawn(make_result):
    hot = hot_links_of(make_result())
    assert hot["link"].tolist() == ["scale_up 0"]
    assert hot["mostly"].tolist() == ["collective"]
    figures = draw_fabric(make_result(seed=4))
    assert list(figures) == ["links", "topology"]
    assert "GPUs, seed 4" in figures["links"].get_supxlabel()


def test_table_for_people_gives_use_in_per_cent(make_result):
    hot = hot_links_of(make_result()).assign(mean_utilization_frac=0.25, p99_utilization_frac=0.5)
    table = hot_links_table(hot, title="Links")
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert (row["mean use, %"], row["p99 use, %"]) == ("25", "50")
