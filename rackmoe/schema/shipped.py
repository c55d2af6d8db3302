"""Where the files that come with rackmoe are."""

from pathlib import Path

from rackmoe.errors import ConfigError
from rackmoe.schema.tree import did_you_mean

__all__ = ["shipped_folder", "shipped_names", "shipped_path"]

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(folder: str) -> Path:
    """Return a folder of shipped files, in an installed package or in the source tree.

    Parameters
    ----------
    folder : str
        ``hardware_profiles``, or ``scenarios`` and folders in it such as
        ``scenarios/models``.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ConfigError
        If neither place has it.
    """
    for root in (_PACKAGE / "shipped", _PACKAGE.parent):
        if (root / folder).is_dir():
            return root / folder
    raise ConfigError(
        f"{folder}: not a shipped folder; expected the files of rackmoe; reinstall it"
    )


def shipped_names(folder: str, *, suffix: str = ".yaml") -> tuple[str, ...]:
    """Return the names of the shipped files with a suffix, without it, sorted."""
    files = shipped_folder(folder).glob(f"*{suffix}")
    return tuple(sorted(path.name.removesuffix(suffix) for path in files))


def shipped_path(
    folder: str, *, name: str, suffix: str = ".yaml", inside: tuple[str, ...] = ()
) -> Path:
    """Return the file that a name or a path of the user means.

    Parameters
    ----------
    folder : str
        Where the shipped files of this kind are.
    name : str
        The path of a file, or the name of a shipped one.
    suffix : str
        The ending of shipped files.
    inside : tuple of str
        Folders in `folder` with more files of this kind.

    Returns
    -------
    pathlib.Path
        The user's file where there is one at this path, else the shipped file.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    own = Path(name)
    if own.is_file():
        return own
    if name.endswith(suffix) or len(own.parts) != 1:
        raise ConfigError(f"{name}: no such file; expected a path or a shipped name; check it")
    known = {
        one: place
        for place in (folder, *(f"{folder}/{part}" for part in inside))
        for one in shipped_names(place, suffix=suffix)
    }
    if name not in known:
        raise ConfigError(f"{name}: not in {folder}; {did_you_mean(name, known=known)}")
    return shipped_folder(known[name]) / f"{name}{suffix}"
