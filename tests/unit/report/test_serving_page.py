import pytest
from serving_cases import validation

from rackmoe.report.serving_page import accuracy_table, render_serving, serving_sections
from rackmoe.report.text import ReportFormat


@pytest.fixture(scope="module")
def found():
    return validation()


def test_the_first_table_has_headline_strata_then_all_rows(found):
    table = accuracy_table(found)
    names = [row[0] for row in table.rows]
    assert names == ["GB200 NVL72 DeepSeek-R1 disaggregated", "HGX H200 DeepSeek-R1", "all"]
    h200 = dict(zip(table.head, table.rows[1], strict=True))
    assert h200["TPOT median / mean"] == "25 % / 25 %"
    assert h200["TTFT median / mean"] == "50 % / 50 %"
    assert h200["answered points in curves"] == "2 of 2 in 1"


def test_markdown_can_be_pasted_and_lists_what_has_no_answer(found):
    text = render_serving(found, form=ReportFormat.MD)
    assert text.startswith("### Serving accuracy: points.csv\n\n3 of 4 rows answered.")
    assert "| stratum | answered points in curves | TPOT median / mean |" in text
    assert "| d | gb200/two | weights do not fit; raise ep |" in text


def test_the_page_holds_figures_strata_curves_and_worst_points(found):
    text = render_serving(found, form=ReportFormat.HTML)
    assert text.count("<svg") == 4
    assert "Farthest off in time per output token [ms]" in text
    assert "roofline" in text
    assert "a: measured 20, predicted 22" in text


def test_terminals_get_the_tables_without_figures(found):
    sections = serving_sections(found)
    assert not any(one.figures for one in sections)
    assert [one.title for one in sections][-1] == "Rows without an answer"
