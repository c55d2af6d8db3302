"""Whether the compiled kernels are on disk, or the first run has to wait for them."""

import os
from pathlib import Path

__all__ = ["cache_folders", "is_cold"]

_PACKAGE = Path(__file__).resolve().parents[1]
_INDEX_FILES = "*.nbi"


def cache_folders() -> list[Path]:
    """Return the folders in which numba looks for compiled kernels of rackmoe.

    Returns
    -------
    list of pathlib.Path
        The one that the environment names, else those beside the modules.
    """
    if named := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(named)]
    return [folder for folder in _PACKAGE.rglob("__pycache__") if "shipped" not in folder.parts]


def is_cold() -> bool:
    """Return whether no kernel has been compiled yet."""
    return not any(
        next(folder.rglob(_INDEX_FILES), None) for folder in cache_folders() if folder.is_dir()
    )
