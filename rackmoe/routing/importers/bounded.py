"""Read files, JSON, lines and base64 of strangers, within bounds and with one clear error."""

import base64
import binascii
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rackmoe.errors import TraceError

__all__ = [
    "MAX_TEXT_BYTES",
    "decode_base64",
    "files_in",
    "json_lines",
    "parse_json",
    "read_file",
    "read_json",
]

MAX_TEXT_BYTES = 1 << 30
"""JSON is parsed as a whole and takes about ten times its size in memory. [B]"""

_MAX_SHOWN = 60


def read_file(path: Path, *, limit_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return a whole file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    limit_bytes : int
        Largest size that is read. [B]

    Returns
    -------
    bytes
        The contents.

    Raises
    ------
    TraceError
        If there is no such file, it cannot be read, or it is too large.
    """
    try:
        n_bytes = path.stat().st_size
        if n_bytes > limit_bytes:
            raise TraceError(
                f"{path.name}: {n_bytes} bytes; expected at most {limit_bytes}; "
                "split the file into several traces"
            )
        return path.read_bytes()
    except OSError as error:
        raise TraceError(
            f"{path.name}: cannot be read ({error.strerror}); expected a trace; check the path"
        ) from error


def files_in(path: Path, *, suffix: str) -> list[Path]:
    """Return the files of a folder, or the file itself.

    Parameters
    ----------
    path : pathlib.Path
        A folder or one file.
    suffix : str
        Ending of the files in a folder.

    Returns
    -------
    list of pathlib.Path
        In the order of their names; numbers within them count as numbers.

    Raises
    ------
    TraceError
        If a folder has no such file.
    """
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"*{suffix}"), key=_natural)
    if not found:
        raise TraceError(
            f"{path.name}: no {suffix} file; expected at least one; check folder and format"
        )
    return found


def parse_json(text: bytes | str, *, place: str) -> Any:  # noqa: ANN401 - JSON says anything
    """Return the value of a JSON text.

    Parameters
    ----------
    text : bytes or str
        The text.
    place : str
        Where it stands, for the message.

    Returns
    -------
    object
        What it says.

    Raises
    ------
    TraceError
        If it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(
            f"{place}: not JSON ({error}); expected one JSON value; export the file again"
        ) from error


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON says anything
    """Return the value of a JSON file.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    object
        What it says.

    Raises
    ------
    TraceError
        If it is too large or not JSON.
    """
    return parse_json(read_file(path), place=path.name)


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of each line; a torn last line yields None.

    Parameters
    ----------
    path : pathlib.Path
        A file with one JSON value per line.

    Yields
    ------
    place : str
        File and line, for messages.
    value : object
        The value; None where the writer was stopped within the last line.

    Raises
    ------
    TraceError
        If a line is not JSON.
    """
    lines = read_file(path).split(b"\n")
    for number, line in enumerate(lines, start=1):
        place = f"{path.name}:{number}"
        if not line.strip():
            continue
        try:
            yield place, parse_json(line, place=place)
        except TraceError:
            if number < len(lines) or number == 1:
                raise
            yield place, None


def decode_base64(text: object, *, place: str) -> bytes:
    """Return what base64 text stands for.

    Parameters
    ----------
    text : object
        The text.
    place : str
        Where it stands, for the message.

    Returns
    -------
    bytes
        The decoded bytes.

    Raises
    ------
    TraceError
        If it is not base64.
    """
    problem = type(text).__name__
    if isinstance(text, str):
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            problem = str(error)
    raise TraceError(
        f"{place}: not base64 ({problem}); expected the text that the engine returned; "
        "store the response unchanged"
    )


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort rank2 before rank10."""
    words: list[tuple[int, str]] = []
    digits = ""
    for character in path.name + " ":
        if character.isascii() and character.isdigit():
            digits += character
            continue
        if digits:
            words.append((int(digits[:_MAX_SHOWN]), ""))
            digits = ""
        words.append((-1, character))
    return words, path.name
