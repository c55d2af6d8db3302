import pytest

from rackmoe.errors import ConfigError
from rackmoe.study.validation.points_csv import PointColumns, read_points

COLUMNS = PointColumns(
    required=("id", "hardware"),
    numeric=frozenset({"tpot_ms", "rate"}),
    unbounded=frozenset({"rate"}),
    filled=frozenset({"id", "hardware"}),
    example="points.csv",
)
GOOD = "id,hardware,tpot_ms,rate\na,hgx_h200,20,inf\nb,hgx_h200,,\n"


def read(path, text, *, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return read_points(path, columns=COLUMNS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.csv"


def test_marks_and_line_ends_of_spreadsheets_change_nothing(path):
    plain = read(path, GOOD)
    assert [row["tpot_ms"] for row in plain] == ["20", ""]
    assert read(path, GOOD, encoding="utf-8-sig") == plain
    assert read(path, GOOD.replace("\n", "\r\n")) == plain
    assert read(path, GOOD.replace("a,", " a ,") + "\n\n") == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("hardware,", "machine,"), "no column hardware; expected the columns of points.csv"),
        (("hardware", "hardwar"), "rename 'hardwar' to 'hardware'"),
        (("tpot_ms", "rate"), "column rate: occurs twice; expected it once; remove one"),
        (("20", "nan"), "row 2: tpot_ms: 'nan'; expected a number of at least 0; leave the cell"),
        (("20", "inf"), "row 2: tpot_ms: 'inf'"),
        (("20", "-3"), "row 2: tpot_ms: '-3'"),
        (("20", "20 ms"), "row 2: tpot_ms: '20 ms'"),
        (("b,", "a,"), "row 3: id 'a': also in row 2; expected one row each; rename or remove"),
        (("b,hgx_h200", "b,"), "row 3: hardware: empty; expected a value in every row"),
        (("20,inf", "20"), "row 2: 3 cells; expected 4 as in the header"),
        ((",", ";"), "separate cells by commas"),
    ],
)
def test_a_damaged_file_is_one_error_with_place_value_and_remedy(path, change, message):
    with pytest.raises(ConfigError) as caught:
        read(path, GOOD.replace(*change))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "the file is empty; expected"), ("id,hardware\n", "no row below the header")],
)
def test_a_file_without_rows_is_refused(path, text, message):
    with pytest.raises(ConfigError, match=message):
        read(path, text)


def test_files_that_are_no_text_or_not_there_are_refused(path):
    with pytest.raises(ConfigError, match="check the path"):
        read_points(path, columns=COLUMNS)
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(path, GOOD.replace("a,", "ä,"), encoding="latin-1")


def test_many_problems_are_shortened_to_a_few(path):
    rows = "".join(f"{i},hgx_h200,x,\n" for i in range(9))
    with pytest.raises(ConfigError) as caught:
        read(path, "id,hardware,tpot_ms,rate\n" + rows)
    assert len(caught.value.problems) == 6
    assert "4 more problems" in caught.value.problems[-1]
