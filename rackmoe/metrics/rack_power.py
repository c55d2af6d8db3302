"""What the machine draws: the power of every part over the steps of a run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rackmoe.hardware.machine import Machine
from rackmoe.metrics.window import Window, overlap_s
from rackmoe.power.parts import (
    GpuUtilization,
    PartPowers,
    RackUtilization,
    gpu_power_w,
    part_powers,
)
from rackmoe.records import Part, Table

__all__ = ["MachinePower", "machine_power"]

_PEAKS = ("bf16", "fp8", "fp4")
# Parts of a step in which kernels compute; a rank that waits for tokens draws less.
_KERNELS = ("attention_s", "dense_s", "expert_s", "shared_expert_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePower:
    """Mean power of a machine in a window, and between which bounds it lies.

    Attributes
    ----------
    mean, idle, largest : PartPowers
        Power of each part on average, with nothing to do and at most. [W]
    """

    mean: PartPowers
    idle: PartPowers
    largest: PartPowers

    @property
    def it_power_w(self) -> float:
        """Mean power at the inlet of the racks. [W]."""
        return float(self.mean.it_power_w)

    def write(self, table: Table, *, window: Window) -> None:
        """Append the parts to the power table.

        Parameters
        ----------
        table : Table
            The table to fill.
        window : Window
            The interval that the means describe.
        """
        for part, name in _PARTS.items():
            mean_w, idle_w, largest_w = (
                float(getattr(powers, name)) for powers in (self.mean, self.idle, self.largest)
            )
            table.append_row(
                (
                    part,
                    window.start_s,
                    window.duration_s,
                    mean_w,
                    idle_w,
                    largest_w,
                    mean_w * window.duration_s,
                )
            )


_PARTS = {
    Part.GPU: "gpu_w",
    Part.CPU: "cpu_w",
    Part.NIC: "nic_w",
    Part.SWITCH: "switch_w",
    Part.FAN: "fan_w",
    Part.FIXED: "fixed_w",
    Part.CONVERSION: "conversion_w",
}


def machine_power(
    steps: pd.DataFrame,
    *,
    machine: Machine,
    gpus_of_replica: NDArray[np.int64],
    n_gpus: int,
    window: Window,
) -> MachinePower:
    """Return the mean power of a machine over a window.

    Parameters
    ----------
    steps : DataFrame
        Steps of a run (`STEP_COLUMNS`).
    machine : Machine
        The machine.
    gpus_of_replica : ndarray of shape (n_replicas,)
        GPUs of each replica.
    n_gpus : int
        GPUs that are switched on, whether a replica uses them or not.
    window : Window
        The measured window.

    Returns
    -------
    MachinePower
        Mean and bounds of every part.

    Notes
    -----
    A GPU draws the power of its step while the step lasts, on average over the
    ranks, and its idle power otherwise. CPUs follow the share of the time in
    which their replicas step, switches the bytes that the ports send.
    """
    replica = steps["replica"].to_numpy(np.int64)
    start_s = steps["start_s"].to_numpy(np.float64)
    duration_s = steps["duration_s"].to_numpy(np.float64)
    within_s = overlap_s(start_s, end_s=start_s + duration_s, window=window)
    gpus = gpus_of_replica[replica].astype(np.float64)
    gpu_s = np.maximum(duration_s * gpus, np.finfo(np.float64).tiny)
    scale_up_frac = np.minimum(
        steps["scale_up_bytes"].to_numpy() / gpu_s / machine.scale_up.gpu_bandwidth_bytes_per_s, 1
    )
    utilization = GpuUtilization(
        busy_frac=np.minimum(steps[list(_KERNELS)].sum(axis=1).to_numpy() / duration_s, 1.0),
        tensor_frac=_tensor_frac(steps, machine, gpu_s),
        hbm_frac=np.minimum(
            steps["hbm_bytes"].to_numpy() / gpu_s / machine.gpu.hbm_bandwidth_bytes_per_s, 1.0
        ),
        scale_up_frac=scale_up_frac,
    )
    watts = gpu_power_w(machine, utilization=utilization)
    total_gpu_s = n_gpus * window.duration_s
    stepping_gpu_s = float((within_s * gpus).sum())
    idle_w = machine.gpu.idle_power_w
    mean_gpu_w = (
        float((within_s * gpus * watts).sum()) + (total_gpu_s - stepping_gpu_s) * idle_w
    ) / total_gpu_s
    mean_use = RackUtilization(
        cpu_frac=min(stepping_gpu_s / total_gpu_s, 1.0),
        scale_up_frac=float((within_s * gpus * scale_up_frac).sum()) / total_gpu_s,
    )
    full = RackUtilization(cpu_frac=1.0, scale_up_frac=1.0)
    return MachinePower(
        mean=part_powers(machine, n_gpus=n_gpus, gpu_w=mean_gpu_w, utilization=mean_use),
        idle=part_powers(machine, n_gpus=n_gpus, gpu_w=idle_w, utilization=RackUtilization()),
        largest=part_powers(
            machine, n_gpus=n_gpus, gpu_w=machine.gpu.max_power_w, utilization=full
        ),
    )


def _tensor_frac(
    steps: pd.DataFrame, machine: Machine, gpu_s: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the achieved share of each dense peak."""
    return {
        peak: np.minimum(
            steps[f"{peak}_flop"].to_numpy() / gpu_s / machine.gpu.peak_flop_per_s[peak], 1.0
        )
        for peak in _PEAKS
        if peak in machine.gpu.peak_flop_per_s
    }
