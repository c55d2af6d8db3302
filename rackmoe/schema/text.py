"""What the text of a file is, and where a character of it stands."""

import os
from pathlib import Path

from rackmoe.errors import ConfigError
from rackmoe.schema.tree import Mark

__all__ = ["MAX_BYTES", "decode_text", "mark_at", "read_text"]

MAX_BYTES = 1_000_000


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    ConfigError
        If it cannot be read, is too large or not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise ConfigError(f"{path}: {reason}; expected a readable file; check the path") from error
    return decode_text(data, place=str(path))


def decode_text(data: bytes, *, place: str) -> str:
    """Return the text of bytes in UTF-8, with or without a byte order mark.

    Parameters
    ----------
    data : bytes
        The content of a file.
    place : str
        The file, for the messages.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ConfigError
        If the content is too large or not UTF-8.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{place}: too large; expected at most {MAX_BYTES} bytes; split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", errors="replace")
        mark = mark_at(before, index=len(before), place=place)
        raise ConfigError(
            f"{mark}: byte 0x{data[error.start]:02X}; expected UTF-8; save the file as UTF-8"
        ) from error


def mark_at(text: str, *, index: int, place: str) -> Mark:
    """Return the place of the character at an index."""
    before = text[:index]
    line_start = before.rfind("\n") + 1
    return Mark(place=place, line=before.count("\n") + 1, column=index - line_start + 1)
