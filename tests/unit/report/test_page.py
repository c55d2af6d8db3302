import re

import pytest

from rackmoe.report.page import TIP_MARK, Section, figure_svg, html_page, markdown_page
from rackmoe.report.text import TextTable
from rackmoe.report.theme import Drawing, figure_style

TABLE = TextTable(
    title="Below <1", head=("name", "ms"), rows=(("a|b & c", "1.5"),), is_numeric=(False, True)
)


def drawing():
    with figure_style():
        figure = Drawing(figsize=(2, 2))
        axis = figure.subplots()
        axis.scatter([1, 2], [1, 2], urls=[f"{TIP_MARK}first <1>", f"{TIP_MARK}second"])
    return figure


@pytest.fixture(scope="module")
def page():
    section = Section(title="One", words=("Words.",), figures=(drawing(),), tables=(TABLE,))
    folded = Section(title="Two", tables=(TABLE,), is_folded=True)
    return html_page("R & D", lead="What it is.", sections=[section, folded])


def test_a_page_needs_nothing_from_elsewhere(page):
    assert page.startswith("<!DOCTYPE html>")
    assert "<script" not in page
    outside = re.findall(r'(?:src|href)="(?!#)([^"]*)"', page)
    assert outside == []
    assert "@import" not in page


def test_text_is_escaped_and_numbers_stand_right(page):
    assert "<title>R &amp; D</title>" in page
    assert "Below &lt;1" in page
    assert '<td>a|b &amp; c</td><td class="n">1.5</td>' in page


def test_folded_parts_open_on_demand(page):
    assert "<details>\n<summary>Two</summary>" in page
    assert "<section>\n<h2>One</h2>" in page


def test_marks_become_tooltips_and_equal_figures_equal_text():
    text = figure_svg(drawing())
    assert "<title>first &lt;1&gt;</title>" in text
    assert text.count("<g><title>") == 2
    assert "<a " not in text
    assert text == figure_svg(drawing())


def test_markdown_has_headings_and_tables_to_paste():
    text = markdown_page("R", lead="What.", sections=[Section(title="One", tables=(TABLE,))])
    assert text.startswith(
        "### R\n\nWhat.\n\n#### One\n\nBelow <1\n\n| name | ms |\n| --- | ---: |\n"
    )
    assert text.endswith("|\n")
