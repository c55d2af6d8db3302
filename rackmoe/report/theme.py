"""What every figure looks like: one color for each machine, and the same bytes on every run."""

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from rackmoe.errors import ConfigError

__all__ = [
    "MACHINE_COLORS",
    "PART_COLORS",
    "Drawing",
    "figure_style",
    "machine_color",
    "save_figure",
]

# Greens for NVL72 racks, blues to reds for HGX by generation; told apart in gray and with
# color blindness by lightness, and by hatches and labels in the figures.
MACHINE_COLORS: Mapping[str, str] = MappingProxyType(
    {
        "gb200_nvl72": "#1b7f3b",
        "gb300_nvl72": "#55a868",
        "vera_rubin_nvl72": "#0d4f4f",
        "hgx_h100": "#5fa8d3",
        "hgx_h200": "#2171b5",
        "hgx_h800": "#8073ac",
        "hgx_b200": "#e6842a",
        "hgx_b300": "#b03a2e",
    }
)
"""The color of each shipped machine in every figure."""

_OTHER_COLORS = ("#7b4ea3", "#8c6d31", "#c75a9a", "#4d4d4d", "#a6a61d", "#17a2b8")

_PARTS = (
    ("attention", "#2f6690"),
    ("dense", "#81b1d6"),
    ("dispatch", "#e07a1f"),
    ("dispatch_wait", "#f6c48f"),
    ("expert", "#1b7f3b"),
    ("shared_expert", "#8fcf9a"),
    ("combine", "#b03a2e"),
    ("combine_wait", "#eaa69f"),
    ("host", "#555555"),
    ("other", "#b9b9b9"),
)
PART_COLORS: Mapping[str, str] = MappingProxyType(dict(_PARTS))
"""The color of each part of a step; waiting is the pale form of what is waited for."""

_STYLE: Mapping[Any, Any] = MappingProxyType(
    {
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "figure.dpi": 100,
        "figure.titlesize": 12,
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "savefig.dpi": 150,
        "svg.fonttype": "path",
        "svg.hashsalt": "rackmoe",
    }
)
_SUFFIXES = (".svg", ".png", ".pdf")


def machine_color(name: str) -> str:
    """Return the color that stands for a machine.

    Parameters
    ----------
    name : str
        Name of the machine's profile.

    Returns
    -------
    str
        A color; for a profile of the user it follows from the name alone.
    """
    if name in MACHINE_COLORS:
        return MACHINE_COLORS[name]
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return _OTHER_COLORS[number % len(_OTHER_COLORS)]


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw what is inside in the style of rackmoe, and leave the user's settings alone."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


class Drawing(Figure):
    """A figure that a notebook shows without any set-up."""

    def _repr_png_(self) -> bytes:
        """Return the picture for a notebook, equal for equal figures."""
        picture = io.BytesIO()
        with figure_style():
            self.savefig(
                picture, format="png", metadata={"Software": "rackmoe"}, bbox_inches="tight"
            )
        return picture.getvalue()


def save_figure(figure: Figure, *, path: Path | str) -> Path:
    """Write a figure so that equal figures have equal bytes.

    Parameters
    ----------
    figure : Figure
        From `rackmoe.report.plots`.
    path : path
        File that ends in ``.svg``, ``.png`` or ``.pdf``.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ConfigError
        If the ending is another.
    """
    target = Path(path)
    if target.suffix not in _SUFFIXES:
        raise ConfigError(
            f"{target}: '{target.suffix}'; expected one of {', '.join(_SUFFIXES)};"
            " choose such an ending"
        )
    metadata: dict[str, str | None] = {"Creator": "rackmoe", "Date": None}
    if target.suffix == ".png":
        metadata = {"Software": "rackmoe"}
    if target.suffix == ".pdf":
        metadata = {"Creator": "rackmoe", "CreationDate": None}
    with figure_style():
        figure.savefig(target, metadata=metadata, bbox_inches="tight")
    return target
