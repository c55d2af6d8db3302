"""Which file a scenario means by the name of a trace."""

from pathlib import Path

from rackmoe.errors import ConfigError
from rackmoe.schema.shipped import shipped_folder
from rackmoe.schema.tree import did_you_mean

__all__ = ["find_client_pool", "find_request_trace"]

_FOLDER = "scenarios/traces/requests"


def find_request_trace(name: str, *, key: str = "arrivals.trace") -> Path:
    """Return the file of a request trace.

    Parameters
    ----------
    name : str
        Name of a shipped trace, or path of a file.
    key : str
        Where the workload names it, for messages.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        If there is no such trace.
    """
    return _find(name, suffixes={".csv", ".jsonl", ".gz"}, place=f"workload.{key}", what="trace")


def find_client_pool(name: str) -> Path:
    """Return the file of a pool of clients.

    Parameters
    ----------
    name : str
        Name of a shipped pool, or path of a file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        If there is no such pool.
    """
    return _find(name, suffixes={".xz"}, place="workload.arrivals.clients.pool", what="pool")


def _find(name: str, *, suffixes: set[str], place: str, what: str) -> Path:
    given = Path(name)
    if given.is_file():
        return given
    shipped = {
        path.name.split(".")[0]: path
        for path in sorted(shipped_folder(_FOLDER).iterdir())
        if path.suffix in suffixes
    }
    if name in shipped:
        return shipped[name]
    raise ConfigError(
        f"{place}: no file or shipped {what} '{name}'; {did_you_mean(name, known=shipped)}"
    )
