"""What the commands of traces share: where a trace is, and which files they may write."""

from pathlib import Path
from typing import TYPE_CHECKING

from rackmoe.cli.catalog import find_entry
from rackmoe.errors import ConfigError

if TYPE_CHECKING:
    from rackmoe.routing.traces import TokenTrace

__all__ = ["check_new", "found_trace"]


def check_new(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over a file that nobody gave up.

    Parameters
    ----------
    path : pathlib.Path
        What is to be written.
    overwrite : bool
        Whether a file may be replaced; a folder never is.

    Raises
    ------
    ConfigError
        If something is there.
    """
    if path.is_dir():
        raise ConfigError(f"{path}: a folder; expected a new name; choose another")
    if path.exists() and not overwrite:
        raise ConfigError(
            f"{path}: the file exists; expected a new one; choose another or pass --overwrite"
        )


def found_trace(name: str) -> "TokenTrace":
    """Return a token trace by its path or shipped name.

    Parameters
    ----------
    name : str
        Path of a trace, or name of a shipped one.

    Returns
    -------
    TokenTrace
        The trace.

    Raises
    ------
    ConfigError
        If there is none of this name.
    TraceError
        If it is no token trace.
    """
    from rackmoe.routing.trace_files import load_token_trace

    path = Path(name) if Path(name).exists() else find_entry(name, kind="routing-trace").path
    return load_token_trace(path)
