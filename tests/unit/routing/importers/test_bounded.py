import base64

import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.bounded import (
    decode_base64,
    files_in,
    json_lines,
    parse_json,
    read_file,
    read_json,
)


def test_file_within_its_limit_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"a": 1}')
    assert read_file(tmp_path / "a.json", limit_bytes=8) == b'{"a": 1}'
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_large_and_missing_files_are_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b"123456789")
    with pytest.raises(TraceError, match=r"a\.json: 9 bytes; expected at most 8; split"):
        read_file(tmp_path / "a.json", limit_bytes=8)
    with pytest.raises(TraceError, match=r"b\.json: cannot be read \(No such file"):
        read_file(tmp_path / "b.json")


@pytest.mark.parametrize("text", ["{", "[1,]", "[" * 100_000, "1" * 5000, b"\xff\xff"])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(TraceError, match="a: not JSON"):
        parse_json(text, place="a")


def test_lines_have_places_and_blank_ones_are_skipped(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n[2]\n')
    assert list(json_lines(tmp_path / "a.jsonl")) == [("a.jsonl:1", {"a": 1}), ("a.jsonl:3", [2])]


def test_torn_last_line_is_none_and_a_torn_other_line_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": ')
    assert list(json_lines(tmp_path / "a.jsonl"))[1] == ("a.jsonl:2", None)
    (tmp_path / "b.jsonl").write_text('{"a": 1}\n{"a": \n{}\n')
    with pytest.raises(TraceError, match=r"b\.jsonl:2: not JSON"):
        list(json_lines(tmp_path / "b.jsonl"))
    (tmp_path / "c.jsonl").write_text("hello")
    with pytest.raises(TraceError, match=r"c\.jsonl:1: not JSON"):
        list(json_lines(tmp_path / "c.jsonl"))


def test_base64_is_decoded_strictly():
    assert decode_base64(base64.b64encode(b"abc").decode(), place="a") == b"abc"
    for text in ("!!!!", "abc", None, 3):
        with pytest.raises(TraceError, match="a: not base64"):
            decode_base64(text, place="a")


def test_files_of_a_folder_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("r10.pt", "r2.pt", "r1.pt", "note.txt"):
        (tmp_path / name).touch()
    assert [file.name for file in files_in(tmp_path, suffix=".pt")] == ["r1.pt", "r2.pt", "r10.pt"]
    assert files_in(tmp_path / "r2.pt", suffix=".pt") == [tmp_path / "r2.pt"]
    with pytest.raises(TraceError, match=r"no \.npy file; expected at least one"):
        files_in(tmp_path, suffix=".npy")
