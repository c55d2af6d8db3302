"""Open the zip files of strangers: no bombs, no surprises in the directory."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rackmoe.errors import TraceError

__all__ = ["SafeZip", "open_zip"]

_MAX_MEMBERS = 1_000_000
# routing data shrinks by 1.3 to 20 times; deflate can reach 1000, which only a bomb or zeros do
_MAX_INFLATION = 200
_SMALL_BYTES = 1 << 26  # below this size an inflated member harms nobody

_ERRORS = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
_UNSUPPORTED = (NotImplementedError, RuntimeError, OverflowError)
_MAX_SHOWN = 60
_IS_ENCRYPTED = 0x1  # bit of the general-purpose flags, APPNOTE.TXT 4.4.4


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeZip:
    """A zip file whose directory has been checked.

    Attributes
    ----------
    archive : zipfile.ZipFile
        The open file.
    members : dict of str to zipfile.ZipInfo
        Its members by name.
    place : str
        Name for messages.
    """

    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]
    place: str

    def read(self, name: str, *, limit_bytes: int | None = None) -> bytes:
        """Return a member.

        Parameters
        ----------
        name : str
            Name of the member.
        limit_bytes : int, optional
            Largest part of it that is read; all of it if not given. [B]

        Returns
        -------
        bytes
            The contents.

        Raises
        ------
        TraceError
            If there is no such member or it is damaged.
        """
        if name not in self.members:
            raise TraceError(
                f"{self.place}: {name[:_MAX_SHOWN]}: no such member; expected a whole archive; "
                "copy it again"
            )
        try:
            with self.archive.open(self.members[name]) as stream:
                return stream.read(-1 if limit_bytes is None else limit_bytes)
        except _ERRORS + _UNSUPPORTED as error:
            raise TraceError(
                f"{self.place}: {name[:_MAX_SHOWN]}: damaged ({str(error)[:_MAX_SHOWN]}); "
                "expected a whole archive; copy it again"
            ) from error


@contextmanager
def open_zip(path: Path) -> Iterator[SafeZip]:
    """Open a zip file and check what its directory promises.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Yields
    ------
    SafeZip
        The open file.

    Raises
    ------
    TraceError
        If it is no zip file, or its members overlap, are encrypted, unusually
        packed or inflate beyond measure.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _ERRORS + _UNSUPPORTED as error:
        raise TraceError(
            f"{path.name}: not a zip file ({str(error)[:_MAX_SHOWN]}); expected a whole archive; "
            "copy it again"
        ) from error
    with archive:
        infos = archive.infolist()
        members = {info.filename: info for info in infos}
        packed_bytes = sum(info.compress_size for info in infos)
        if len(infos) > _MAX_MEMBERS or len(members) != len(infos):
            raise TraceError(
                f"{path.name}: {len(infos)} members, {len(members)} names; expected at most "
                f"{_MAX_MEMBERS}, each once; export it again"
            )
        if packed_bytes > path.stat().st_size:
            raise TraceError(
                f"{path.name}: members of {packed_bytes} bytes in a file of "
                f"{path.stat().st_size}; expected members that do not overlap; do not trust it"
            )
        for info in infos:
            _check_member(info, place=path.name)
        yield SafeZip(archive=archive, members=members, place=path.name)


def _check_member(info: zipfile.ZipInfo, *, place: str) -> None:
    if info.flag_bits & _IS_ENCRYPTED or info.compress_type not in {
        zipfile.ZIP_STORED,
        zipfile.ZIP_DEFLATED,
    }:
        raise TraceError(
            f"{place}: {info.filename[:_MAX_SHOWN]!r}: encrypted or packed by method "
            f"{info.compress_type}; expected stored or deflated members; save it again"
        )
    if info.file_size > max(_SMALL_BYTES, info.compress_size * _MAX_INFLATION):
        raise TraceError(
            f"{place}: {info.filename[:_MAX_SHOWN]!r}: {info.compress_size} bytes that inflate to "
            f"{info.file_size}; expected at most {_MAX_INFLATION} times; do not trust it"
        )
