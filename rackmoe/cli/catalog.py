"""Which shipped files there are, found without reading more of them than a title."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rackmoe.errors import ConfigError
from rackmoe.schema.shipped import shipped_folder
from rackmoe.schema.tree import did_you_mean

__all__ = ["KINDS", "Entry", "entries", "find_entry"]

KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "machine": ("hardware_profiles", ".yaml"),
        "model": ("scenarios/models", ".json"),
        "backend": ("scenarios/backends", ".yaml"),
        "scenario": ("scenarios", ".yaml"),
        "published": ("scenarios/published", ".yaml"),
        "request-trace": ("scenarios/traces/requests", ""),
        "routing-trace": ("scenarios/traces/routing", ".npz"),
    }
)
"""Folder and ending of the files of each kind."""

_TRACE_ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")
_TITLE = re.compile(r"^title: *(?P<title>.+)$", re.MULTILINE)
_SCHEMA_KINDS = MappingProxyType(
    {
        "rackmoe/hardware/": "machine",
        "rackmoe/backend/": "backend",
        "rackmoe/scenario/": "scenario",
    }
)
_HEAD_CHARACTERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that a command can show.

    Attributes
    ----------
    kind : str
        A key of `KINDS`.
    name : str
        Name of a shipped thing, or the path of a user's file.
    path : pathlib.Path
        The file.
    title : str
        What it is, for people; may be empty.
    """

    kind: str
    name: str
    path: Path
    title: str


def entries(kind: str) -> Iterator[Entry]:
    """Yield the shipped things of a kind, by name.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.

    Yields
    ------
    Entry
        Name, file and title.
    """
    folder, suffix = KINDS[kind]
    try:
        paths = sorted(path for path in shipped_folder(folder).iterdir() if path.is_file())
    except ConfigError:
        return  # this kind ships no files
    for path in paths:
        endings = (suffix,) if suffix else _TRACE_ENDINGS
        if path.name.endswith(endings):
            name = path.name.split(".")[0] if not suffix else path.name.removesuffix(suffix)
            yield Entry(kind=kind, name=name, path=path, title=_title(path))


def find_entry(name: str, *, kind: str | None = None) -> Entry:
    """Return what a name or a path means.

    Parameters
    ----------
    name : str
        Name of a shipped thing, or path of a file.
    kind : str, optional
        A key of `KINDS`, where a name is of several kinds.

    Returns
    -------
    Entry
        The thing.

    Raises
    ------
    ConfigError
        If there is nothing of this name, or several things are.
    """
    path = Path(name)
    if path.is_file() or (path / "config.json").is_file():
        return Entry(kind=kind or _kind_of_file(path), name=name, path=path, title="")
    known = [entry for one in ([kind] if kind else KINDS) for entry in entries(one)]
    found = [entry for entry in known if entry.name == name]
    if not found:
        names = sorted({entry.name for entry in known})
        raise ConfigError(f"{name}: nothing of this name; {did_you_mean(name, known=names)}")
    if len(found) > 1:
        kinds = ", ".join(entry.kind for entry in found)
        raise ConfigError(f"{name}: {kinds}; expected one thing; choose it with --kind")
    return found[0]


def _kind_of_file(path: Path) -> str:
    if path.is_dir() or path.suffix == ".json":
        return "model"
    if path.suffix == ".npz":
        return "routing-trace"
    if path.name.endswith(_TRACE_ENDINGS):
        return "request-trace"
    head = _head(path)
    for word, kind in _SCHEMA_KINDS.items():
        if word in head:
            return kind
    raise ConfigError(
        f"{path}: no known kind of file; expected a first line such as"
        " 'schema: rackmoe/scenario/1'; add it or choose --kind"
    )


def _title(path: Path) -> str:
    if path.suffix == ".json":
        return str(
            json.loads(path.read_text(encoding="utf-8")).get("rackmoe", {}).get("title", "")
        )
    if path.suffix != ".yaml":
        return ""
    found = _TITLE.search(_head(path))
    return found["title"].strip().strip("\"'") if found else ""


def _head(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_HEAD_CHARACTERS)
