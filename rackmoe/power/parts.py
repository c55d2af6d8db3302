"""How many watts each part of a rack draws at a given utilization."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rackmoe.errors import ShapeError
from rackmoe.hardware.machine import Facility, Machine

__all__ = [
    "GpuUtilization",
    "PartPowers",
    "RackUtilization",
    "facility_power_w",
    "gpu_demand_power_w",
    "gpu_power_w",
    "it_power_w",
    "part_powers",
]

FloatArray = NDArray[np.float64]

FAN_EXPONENT = 3
"""Fan power over fan speed; the affinity law of fans (derived)."""


ROUNDING_FRAC = 1e-9
"""How far rounding may lift a share above 1; chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUtilization:
    """What share of each unit of a GPU is at work; all arrays broadcast together.

    Attributes
    ----------
    busy_frac : array_like
        Share of the time in which a kernel runs.
    tensor_frac : mapping of str to array_like
        Achieved over peak FLOP/s by peak key (``bf16, fp8, fp4, int8``).
    hbm_frac : array_like
        Achieved over peak HBM bandwidth.
    scale_up_frac : array_like
        Achieved over peak of the scale-up port, mean of both directions.
    """

    busy_frac: ArrayLike
    tensor_frac: Mapping[str, ArrayLike]
    hbm_frac: ArrayLike = 0.0
    scale_up_frac: ArrayLike = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RackUtilization:
    """What share of the rest of a rack is at work; all arrays broadcast together.

    Attributes
    ----------
    cpu_frac : array_like
        Mean utilization of the CPUs.
    scale_up_frac : array_like
        Mean utilization of the scale-up ports, both directions.
    """

    cpu_frac: ArrayLike = 0.0
    scale_up_frac: ArrayLike = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPowers:
    """Power of each part, summed over the machine; arrays of one shape.

    Attributes
    ----------
    gpu_w, cpu_w, nic_w, switch_w, fan_w, fixed_w : ndarray
        Parts, at their own terminals. Switches are those of the scale-up. [W]
    conversion_w : ndarray
        Loss between the inlet of the rack and the parts. [W]
    """

    gpu_w: FloatArray
    cpu_w: FloatArray
    nic_w: FloatArray
    switch_w: FloatArray
    fan_w: FloatArray
    fixed_w: FloatArray
    conversion_w: FloatArray

    @property
    def it_power_w(self) -> FloatArray:
        """Power at the inlet of the rack: the sum over its parts. [W]."""
        parts = self.gpu_w + self.cpu_w + self.nic_w + self.switch_w + self.fan_w + self.fixed_w
        return parts + self.conversion_w


def gpu_demand_power_w(machine: Machine, *, utilization: GpuUtilization) -> FloatArray:
    r"""Return what a GPU would draw without its limit.

    Parameters
    ----------
    machine : Machine
        Its GPU and the activity terms.
    utilization : GpuUtilization
        Shares at work, each between 0 and 1.

    Returns
    -------
    ndarray
        Board power before the cap. [W]

    Raises
    ------
    ShapeError
        If a share is outside 0 to 1, or a type has no tensor cores.

    Notes
    -----
    .. math:: P = P_{idle} + u_{busy} P_{busy} + \sum_d u_d P_d + u_{hbm} P_{hbm}
              + u_{nvl} P_{nvl}

    linear in the utilizations, as fitted in `rackmoe.study.power_fit` on the power
    columns of the aiconfigurator tables [1]_. Where the cap binds, the clock would
    drop and the kernels would stretch; the law leaves that to its caller.

    References
    ----------
    .. [1] NVIDIA, aiconfigurator 0.12.0, attention and MoE tables of B200 with NVML power.
    """
    activity = machine.power.gpu
    demand_w = machine.gpu.idle_power_w + activity.busy_power_w * _share(
        utilization.busy_frac, "busy_frac"
    )
    for dtype, frac in utilization.tensor_frac.items():
        if dtype not in activity.tensor_power_w:
            raise ShapeError(
                f"{machine.name}: tensor_frac has '{dtype}'; expected one of "
                f"{', '.join(activity.tensor_power_w)}; map the number format to its peak"
            )
        demand_w = demand_w + activity.tensor_power_w[dtype] * _share(frac, "tensor_frac")
    demand_w = demand_w + activity.hbm_power_w * _share(utilization.hbm_frac, "hbm_frac")
    scale_up_w = activity.scale_up_power_w * _share(utilization.scale_up_frac, "scale_up_frac")
    return np.asarray(demand_w + scale_up_w, dtype=np.float64)


def gpu_power_w(
    machine: Machine, *, utilization: GpuUtilization, limit_w: float | None = None
) -> FloatArray:
    """Return the board power of a GPU, capped at its limit.

    Parameters
    ----------
    machine : Machine
        Its GPU and the activity terms.
    utilization : GpuUtilization
        Shares at work, each between 0 and 1.
    limit_w : float, optional
        A limit below that of the GPU. [W]

    Returns
    -------
    ndarray
        Board power. [W]

    Raises
    ------
    ShapeError
        As `gpu_demand_power_w`, or if the limit is outside what the driver accepts.
    """
    gpu = machine.gpu
    limit_w = gpu.max_power_w if limit_w is None else limit_w
    if not gpu.min_power_w <= limit_w <= gpu.max_power_w:
        raise ShapeError(
            f"{machine.name}: power limit of {limit_w:g} W; expected {gpu.min_power_w:g} to "
            f"{gpu.max_power_w:g} W; choose a limit that the driver accepts"
        )
    return np.minimum(gpu_demand_power_w(machine, utilization=utilization), limit_w)


def part_powers(
    machine: Machine, *, n_gpus: int, gpu_w: ArrayLike, utilization: RackUtilization
) -> PartPowers:
    r"""Return the power of each part of a machine.

    Parameters
    ----------
    machine : Machine
        Its power parts.
    n_gpus : int
        GPUs that are switched on, at work or not, in whole nodes.
    gpu_w : array_like
        Mean board power over these GPUs, for example over time steps. [W]
    utilization : RackUtilization
        Shares at work of the rest.

    Returns
    -------
    PartPowers
        Arrays of the common shape of the inputs.

    Raises
    ------
    ShapeError
        If `n_gpus` is not a number of whole nodes or a share is outside 0 to 1.

    Notes
    -----
    CPUs and switch chips go from their idle to their maximum power with their
    utilization; NICs and fixed loads do not change. The speed of the fans follows the
    heat of the GPUs from its lower end to full speed, and their power its cube:

    .. math:: P_{fan} = P_{max} (s_0 + (1 - s_0)
              \frac{P_{gpu} - P_{idle}}{P_{limit} - P_{idle}})^3

    Conversion divides the sum by its efficiency. All switch chips of a domain run,
    however many of its nodes do.
    """
    nodes, left = divmod(n_gpus, machine.host.gpus_per_node)
    if left or nodes <= 0:
        raise ShapeError(
            f"{machine.name}: {n_gpus} GPUs; expected whole nodes of "
            f"{machine.host.gpus_per_node} GPUs; count every GPU that is switched on"
        )
    power = machine.power
    mean_gpu_w, cpu_frac, scale_up_frac = np.broadcast_arrays(
        np.asarray(gpu_w, dtype=np.float64),
        _share(utilization.cpu_frac, "cpu_frac"),
        _share(utilization.scale_up_frac, "scale_up_frac"),
    )
    n_cpus = n_gpus // machine.host.gpus_per_cpu
    n_chips = -(-n_gpus // machine.scale_up.domain_gpus) * machine.scale_up.n_switch_chips
    cpu_range_w = power.cpu_max_power_w - power.cpu_idle_power_w
    chip_range_w = power.switch_chip_max_power_w - power.switch_chip_idle_power_w
    constant = np.ones_like(mean_gpu_w)
    parts = {
        "gpu_w": n_gpus * mean_gpu_w,
        "cpu_w": n_cpus * (power.cpu_idle_power_w + cpu_frac * cpu_range_w),
        "nic_w": n_gpus * machine.scale_out.nics_per_gpu * power.nic_power_w * constant,
        "switch_w": n_chips * (power.switch_chip_idle_power_w + scale_up_frac * chip_range_w),
        "fan_w": nodes * _fan_power_w(machine, mean_gpu_w),
        "fixed_w": nodes * power.node_fixed_power_w * constant,
    }
    loss_frac = 1 / power.conversion_frac - 1
    return PartPowers(**parts, conversion_w=np.asarray(loss_frac * sum(parts.values())))


def it_power_w(
    machine: Machine, *, n_gpus: int, gpu_w: ArrayLike, utilization: RackUtilization
) -> FloatArray:
    """Return the power at the inlet of a rack, or of several nodes.

    Scale-out switches stand elsewhere and are not in it; the profile has them in
    `Facility.fabric_power_w_per_gpu`.

    Parameters
    ----------
    machine : Machine
        Its power parts.
    n_gpus : int
        GPUs that are switched on, in whole nodes.
    gpu_w : array_like
        Mean board power over these GPUs. [W]
    utilization : RackUtilization
        Shares at work of the rest.

    Returns
    -------
    ndarray
        GPU, CPU, NIC, switch, fan, fixed loads and conversion. [W]
    """
    return part_powers(machine, n_gpus=n_gpus, gpu_w=gpu_w, utilization=utilization).it_power_w


def facility_power_w(facility: Facility, *, it_power_w: ArrayLike) -> FloatArray:
    """Return what the facility draws for some IT power.

    Parameters
    ----------
    facility : Facility
        Its power usage effectiveness.
    it_power_w : array_like
        Power at the inlets of the racks. [W]

    Returns
    -------
    ndarray
        IT power times the PUE. [W]
    """
    return facility.pue * np.asarray(it_power_w, dtype=np.float64)


def _fan_power_w(machine: Machine, gpu_w: FloatArray) -> FloatArray:
    """Return the power of the fans of one node by the heat of its GPUs."""
    gpu, power = machine.gpu, machine.power
    heat_frac = (gpu_w - gpu.idle_power_w) / (gpu.max_power_w - gpu.idle_power_w)
    speed_range_frac = 1 - power.fan_min_speed_frac
    speed_frac = power.fan_min_speed_frac + speed_range_frac * np.clip(heat_frac, 0.0, 1.0)
    return np.asarray(power.fan_max_power_w * speed_frac**FAN_EXPONENT)


def _share(values: ArrayLike, name: str) -> FloatArray:
    """Return shares as an array; refuse what is outside 0 to 1."""
    array = np.asarray(values, dtype=np.float64)
    if not np.all((array >= 0) & (array <= 1 + ROUNDING_FRAC)):
        raise ShapeError(
            f"{name}: {array.min():g} to {array.max():g}; expected shares of 0 to 1; "
            "divide the achieved rate by the peak"
        )
    return array
