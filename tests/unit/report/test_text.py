from rackmoe.report.text import ReportFormat, TableFormat, TextTable

TABLE = TextTable(
    title="Title",
    head=("name", "size [B]"),
    rows=(("a|b", "1"), ("c", "200")),
    is_numeric=(False, True),
)


def test_columns_are_aligned_and_numbers_to_the_right():
    assert TABLE.aligned() == (
        "Title\nname  size [B]\n----  --------\na|b          1\nc          200\n"
    )


def test_markdown_escapes_bars_and_aligns_numbers():
    assert TABLE.markdown() == (
        "Title\n\n| name | size [B] |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 200 |\n"
    )


def test_table_without_rows_is_its_head():
    empty = TextTable(title="", head=("a",), rows=(), is_numeric=(False,))
    assert empty.aligned() == "a\n-\n"


def test_formats_are_those_of_the_command_line():
    assert [form.value for form in TableFormat] == ["table", "json", "csv", "md"]
    assert [form.value for form in ReportFormat] == ["table", "json", "csv", "md", "html"]
