from rackmoe.report.law_page import draw_law, law_sections, render_law
from rackmoe.report.law_points import LawPoint
from rackmoe.report.text import ReportFormat, TextTable

STRATA = [{"name": "gemm", "n": 3, "error_median": 0.125, "bias": 0.1}]
POINTS = [
    LawPoint(name="row 1", group="gemm", measured=10.0, predicted=11.0, unit="us"),
    LawPoint(name="row 2", group="gemm", measured=100.0, predicted=50.0, unit="us"),
    LawPoint(name="row 3", group="gemm", measured=7.0, predicted=None, unit="us", reason="no law"),
    LawPoint(name="row 4", group="gemm", measured=1.0, predicted=9.0, unit="us", is_left_out=True),
]


def test_worst_points_leave_out_what_strata_leave_out():
    strata, worst, unanswered = law_sections(STRATA, points=POINTS)
    assert strata.tables[0].rows[0] == ("gemm", "3", "12 %", "+10 %")
    assert [row[0] for row in worst.tables[0].rows] == ["row 2", "row 1"]
    assert unanswered.tables[0].rows == (("row 3", "gemm", "no law"),)


def test_a_file_that_is_answered_says_so():
    assert law_sections(STRATA, points=POINTS[:2])[-1].words == ("Every row was answered.",)


def test_a_figure_has_a_panel_for_each_group():
    figure = draw_law(POINTS)
    (axis,) = figure.axes
    assert axis.get_title(loc="left").startswith("gemm\n2 points, median error 30.0%")
    assert axis.collections[-1].get_offsets().tolist() == [[10.0, 11.0], [100.0, 50.0]]
    assert draw_law(POINTS[2:]) is None


def test_reports_are_markdown_or_a_page_with_further_tables():
    extra = (TextTable(title="Left out", head=("a",), rows=(("1",),), is_numeric=(True,)),)
    sections = law_sections(STRATA, points=POINTS, extra=extra, has_figure=True)
    page = render_law(sections, title="T", lead="L.", form=ReportFormat.HTML)
    assert page.count("<svg") == 1
    assert "row 1: 10, 11" in page
    assert "Left out" in page
    text = render_law(sections, title="T", lead="L.", form=ReportFormat.MD)
    assert text.startswith("### T\n\nL.\n\n#### Strata\n\n| name |")
