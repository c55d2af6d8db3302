import pytest

from rackmoe.errors import ConfigError
from rackmoe.schema.text import MAX_BYTES, decode_text, mark_at, read_text


def test_utf8_is_read_with_and_without_a_byte_order_mark():
    assert decode_text("a: \u00b5".encode(), place="f") == "a: \u00b5"
    assert decode_text("a: \u00b5".encode("utf-8-sig"), place="f") == "a: \u00b5"


def test_a_byte_that_is_not_utf8_is_named_with_its_place():
    with pytest.raises(ConfigError, match=r"f.yaml:2:5: byte 0xFF; expected UTF-8; save"):
        decode_text(b"a: 1\nb: \xc2\xb5\xff", place="f.yaml")


def test_utf16_is_refused():
    with pytest.raises(ConfigError, match=r"f.yaml:1:1: byte 0xFF; expected UTF-8"):
        decode_text("a: 1".encode("utf-16"), place="f.yaml")


def test_a_file_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=f"big.yaml: too large; expected at most {MAX_BYTES}"):
        read_text(path)
    path.write_bytes(b"#" * MAX_BYTES)
    assert len(read_text(path)) == MAX_BYTES


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"gone.yaml: no such file or directory; .*check the path"
    ):
        read_text(tmp_path / "gone.yaml")
    with pytest.raises(ConfigError, match=r"is a directory; expected a readable file"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("index", "line", "column"), [(0, 1, 1), (1, 1, 2), (2, 1, 3), (3, 2, 1), (5, 3, 1)]
)
def test_places_count_from_one(index, line, column):
    mark = mark_at("ab\nc\nd", index=index, place="f")
    assert (mark.line, mark.column, str(mark)) == (line, column, f"f:{line}:{column}")
