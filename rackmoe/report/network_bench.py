"""What a collective costs over its size, as a table and as a figure beside measured points."""

from collections.abc import Sequence
from dataclasses import asdict

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from rackmoe.errors import ConfigError
from rackmoe.hardware.machine import Machine
from rackmoe.network.collectives import BUS_FACTORS
from rackmoe.report.theme import Drawing, figure_style, machine_color
from rackmoe.study.network_bench import BenchRow

__all__ = ["bench_frame", "draw_bench"]

_US_PER_S = 1e6
_GB = 1e9
_PALE, _DARK = "#c9c9c9", "#101010"


def bench_frame(rows: Sequence[BenchRow], *, operation: str) -> pd.DataFrame:
    """Return the sizes of a collective as a table.

    Parameters
    ----------
    rows : sequence of BenchRow
        From `bench_network`.
    operation : str
        What was timed; it decides whether a size counts tokens or bytes.

    Returns
    -------
    DataFrame
        A row for each size; ``error_frac`` is law over measured time minus 1, NaN where
        nobody measured.
    """
    frame = pd.DataFrame([asdict(row) for row in rows])
    if frame.empty:
        return frame
    if operation in BUS_FACTORS:
        frame = frame.drop(columns=["size", "dtype"]).rename(columns={"n_bytes": "buffer_bytes"})
        frame = frame.rename(columns={"bandwidth_bytes_per_s": "bus_bandwidth_bytes_per_s"})
    else:
        frame["size"] = frame["size"].astype(int)
        frame = frame.rename(columns={"size": "tokens_per_rank", "n_bytes": "sent_bytes"})
    kind = frame.pop("kind")
    frame["error_frac"] = frame["latency_s"] / frame["measured_s"] - 1.0
    frame["constants"] = kind
    return frame


def draw_bench(rows: Sequence[BenchRow], *, machine: Machine, operation: str) -> Figure:
    """Draw latency and bandwidth over the size: lines of the law, dots of measurements.

    Parameters
    ----------
    rows : sequence of BenchRow
        From `bench_network`, best with the measured sizes.
    machine : Machine
        Where; its ports bound the bandwidth.
    operation : str
        What was timed.

    Returns
    -------
    Figure
        A row of two logarithmic panels for each family, a line for each group.

    Raises
    ------
    ConfigError
        If there are no rows.
    """
    if not rows:
        raise ConfigError(
            f"{operation}: no group that a family can serve; expected at least one row;"
            " choose smaller groups or another family"
        )
    is_dense = operation in BUS_FACTORS
    families = list(dict.fromkeys(operation if is_dense else row.algorithm for row in rows))
    with figure_style():
        figure = Drawing(figsize=(9.0, 0.9 + 2.9 * len(families)), layout="constrained")
        grid = figure.subplots(len(families), 2, squeeze=False, sharex="all", sharey="col")
        for panels, family in zip(grid, families, strict=True):
            shown = [row for row in rows if is_dense or row.algorithm == family]
            _draw_family(panels.tolist(), shown, machine=machine, is_dense=is_dense)
            panels[0].set_title(f"{family.replace('_', ' ')}: time [µs]")
            panels[1].set_title("bus bandwidth [GB/s]" if is_dense else "sent by a rank [GB/s]")
        for panel in grid[-1]:
            panel.set_xlabel("whole buffer [B]" if is_dense else "tokens of a rank")
        figure.suptitle(
            f"{operation.replace('_', ' ').capitalize()} on {machine.title}", x=0.01, ha="left"
        )
        shape = "" if is_dense else " hidden 7168, top-8 of 256 experts;"
        figure.supxlabel(
            f"balanced traffic;{shape} lines: laws of rackmoe (modeled, no seed);"
            " dots: measured, as shipped in scenarios/calibration",
            x=0.01,
            ha="left",
            fontsize=7.5,
            color="#555555",
        )
    return figure


def _draw_family(
    panels: Sequence[Axes], rows: Sequence[BenchRow], *, machine: Machine, is_dense: bool
) -> None:
    groups = list(dict.fromkeys(row.n_ranks for row in rows))
    shades = _shades(machine.name, n_shades=len(groups))
    time, rate = panels
    for n_ranks, color in zip(groups, shades, strict=True):
        group = [row for row in rows if row.n_ranks == n_ranks]
        size = np.array([row.size for row in group])
        latency_s = np.array([row.latency_s for row in group])
        measured_s = np.array([row.measured_s for row in group])
        bandwidth = np.array([row.bandwidth_bytes_per_s for row in group]) / _GB
        label = f"{n_ranks} GPUs, {group[0].library} {group[0].dtype}".rstrip()
        for panel, modeled, measured in (
            (time, latency_s * _US_PER_S, measured_s * _US_PER_S),
            (rate, bandwidth, bandwidth * latency_s / measured_s),
        ):
            panel.plot(size, modeled, color=color, label=label)
            panel.plot(
                *(size, measured, "o"),
                color=color,
                markersize=4,
                markeredgecolor="white",
                markeredgewidth=0.4,
            )
    _draw_bounds(rate, groups, machine=machine)
    for panel in panels:
        panel.set_xscale("log", base=2 if is_dense else 10)
        panel.set_yscale("log")
    time.legend(loc="upper left", fontsize=7.5)


def _draw_bounds(panel: Axes, groups: Sequence[int], *, machine: Machine) -> None:
    """Draw the ports that bound the bandwidth: the NIC only where a group crosses domains."""
    up, out = machine.scale_up, machine.scale_out
    bounds = {"scale-up port": up.gpu_bandwidth_bytes_per_s}
    if max(groups) > up.domain_gpus:
        bounds["NICs of a GPU"] = out.nic_bandwidth_bytes_per_s * out.nics_per_gpu
    for name, bytes_per_s in bounds.items():
        panel.axhline(bytes_per_s / _GB, color="#777777", linewidth=0.9, linestyle=":")
        panel.annotate(
            f"{name}, {bytes_per_s / _GB:g}",
            (0.01, bytes_per_s / _GB),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=7.5,
            color="#555555",
        )


def _shades(machine: str, *, n_shades: int) -> list[str]:
    """Return the color of a machine from pale to dark."""
    ramp = LinearSegmentedColormap.from_list("shades", [_PALE, machine_color(machine), _DARK])
    places = np.linspace(0.28, 0.8, n_shades) if n_shades > 1 else [0.5]
    return [mpl.colors.to_hex(ramp(place)) for place in places]
