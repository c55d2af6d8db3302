import struct
import zipfile

import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.zips import open_zip


def write(path, members, *, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def patch_directory(path, *, offset, data):
    """Change bytes of the first entry of the central directory."""
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + offset
    raw[at : at + len(data)] = data
    path.write_bytes(raw)


def open_and_close(path):
    with open_zip(path) as archive:
        return {name: archive.read(name) for name in archive.members}


def test_sound_members_are_read(tmp_path):
    path = write(tmp_path / "a.zip", {"one": b"1" * 10, "two": b""})
    assert open_and_close(path) == {"one": b"1" * 10, "two": b""}


def test_a_part_is_read_where_a_part_is_asked(tmp_path):
    with open_zip(write(tmp_path / "a.zip", {"one": b"12345"})) as archive:
        assert archive.read("one", limit_bytes=2) == b"12"


def test_bomb_is_refused(tmp_path):
    path = write(tmp_path / "bomb.zip", {"zeros": bytes(1 << 27)})
    with pytest.raises(
        TraceError, match=r"bomb\.zip: 'zeros': \d+ bytes that inflate to 134217728"
    ):
        open_and_close(path)


def test_zeros_of_moderate_size_are_fine(tmp_path):
    path = write(tmp_path / "a.zip", {"zeros": bytes(1 << 20)})
    assert len(open_and_close(path)["zeros"]) == 1 << 20


def test_overlapping_members_are_refused(tmp_path):
    path = write(tmp_path / "a.zip", {"one": b"x" * 100}, compression=zipfile.ZIP_STORED)
    patch_directory(path, offset=20, data=struct.pack("<II", 10**6, 10**6))
    with pytest.raises(TraceError, match="members of 1000000 bytes in a file of"):
        open_and_close(path)


def test_repeated_name_is_refused(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("one", b"2")
    with pytest.raises(TraceError, match=r"2 members, 1 names; expected .* each once"):
        open_and_close(path)


def test_encrypted_member_is_refused(tmp_path):
    path = write(tmp_path / "a.zip", {"one": b"1"})
    patch_directory(path, offset=8, data=struct.pack("<H", 1))
    with pytest.raises(TraceError, match="encrypted or packed by method 8"):
        open_and_close(path)


def test_unusual_packing_is_refused(tmp_path):
    path = write(tmp_path / "a.zip", {"one": b"1"}, compression=zipfile.ZIP_LZMA)
    with pytest.raises(TraceError, match="packed by method 14; expected stored or deflated"):
        open_and_close(path)


def test_damaged_member_is_refused(tmp_path):
    path = write(tmp_path / "a.zip", {"one": b"x" * 100}, compression=zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[60] ^= 1
    path.write_bytes(raw)
    with pytest.raises(TraceError, match=r"one: damaged \(Bad CRC"):
        open_and_close(path)


def test_missing_member_and_other_files_are_refused(tmp_path):
    with (
        open_zip(write(tmp_path / "a.zip", {"one": b"1"})) as archive,
        pytest.raises(TraceError, match="two: no such member"),
    ):
        archive.read("two")
    (tmp_path / "b.zip").write_bytes(b"hello")
    with pytest.raises(TraceError, match=r"b\.zip: not a zip file"):
        open_and_close(tmp_path / "b.zip")
    with pytest.raises(TraceError, match=r"c\.zip: not a zip file"):
        open_and_close(tmp_path / "c.zip")
