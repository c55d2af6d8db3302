"""What a machine is, as plain numbers that the laws take."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "Facility",
    "Gpu",
    "GpuActivity",
    "Host",
    "Machine",
    "PowerParts",
    "Prices",
    "Reliability",
    "ScaleOut",
    "ScaleUp",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU package.

    Attributes
    ----------
    name : str
        Key of the fitted constants, for example ``gb200``.
    n_sms : int
        Streaming multiprocessors that are enabled.
    peak_flop_per_s : mapping of str to float
        Dense peak for each of ``bf16, fp8, fp4, int8``; a type that the GPU
        cannot compute is absent. [FLOP/s]
    hbm_bytes : float
        HBM capacity that the driver reports. [B]
    hbm_bandwidth_bytes_per_s : float
        Peak HBM bandwidth. [B/s]
    l2_bytes : float
        L2 capacity. [B]
    idle_power_w : float
        Board power with the model resident and no kernel running. [W]
    max_power_w : float
        Board power limit. [W]
    min_power_w : float
        Lowest limit that the driver accepts. [W]
    """

    name: str
    n_sms: int
    peak_flop_per_s: Mapping[str, float]
    hbm_bytes: float
    hbm_bandwidth_bytes_per_s: float
    l2_bytes: float
    idle_power_w: float
    max_power_w: float
    min_power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp:
    """The NVLink domain: GPUs joined by switch chips.

    Attributes
    ----------
    domain_gpus : int
        GPUs of one domain.
    gpu_bandwidth_bytes_per_s : float
        Port of one GPU, all links, one direction. [B/s]
    link_bandwidth_bytes_per_s : float
        One link, one direction. [B/s]
    links_to_chips : tuple of int
        Links from a GPU to each switch chip of its domain.
    chips_per_tray : int
        Switch chips that fail together.
    link_latency_s : float
        One way, GPU to switch chip or back. [s]
    switch_latency_s : float
        Through a switch chip. [s]
    copy_frac : float
        Share of the port that a large point-to-point copy reaches.
    has_in_network_reduction : bool
        Whether the switches reduce and multicast.
    arbitration : str
        How a port is shared: ``per_flow``, ``classes`` or ``priority``.
    """

    domain_gpus: int
    gpu_bandwidth_bytes_per_s: float
    link_bandwidth_bytes_per_s: float
    links_to_chips: tuple[int, ...]
    chips_per_tray: int
    link_latency_s: float
    switch_latency_s: float
    copy_frac: float
    has_in_network_reduction: bool
    arbitration: str

    @property
    def links_per_gpu(self) -> int:
        """Links of one GPU, over all switch chips."""
        return sum(self.links_to_chips)

    @property
    def n_switch_chips(self) -> int:
        """Switch chips of one domain."""
        return len(self.links_to_chips)

    @property
    def latency_s(self) -> float:
        """One way from GPU to GPU through one switch chip. [s]."""
        return self.link_latency_s + self.switch_latency_s + self.link_latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOut:
    """The rail-optimized fabric between domains, in units of a reference design.

    Attributes
    ----------
    nic_bandwidth_bytes_per_s : float
        One NIC port, one direction. [B/s]
    nics_per_gpu : int
        NIC ports of one GPU.
    n_rails : int
        Rails; GPU ``i`` of a domain is on rail ``i`` modulo this.
    unit_nodes : int
        Nodes of one full unit.
    unit_leaves_per_rail : int
        Leaf switches of a rail in one unit.
    unit_spines : int
        Spine switches that each unit adds.
    max_units : int
        Units for which the counts hold.
    leaf_uplinks : int
        Links of a leaf to all spines together.
    endpoint_latency_s : float
        NIC, host stack and cable of one end. [s]
    switch_latency_s : float
        One switch with its cable. [s]
    copy_frac : float
        Share of a NIC port that a large transfer reaches.
    """

    nic_bandwidth_bytes_per_s: float
    nics_per_gpu: int
    n_rails: int
    unit_nodes: int
    unit_leaves_per_rail: int
    unit_spines: int
    max_units: int
    leaf_uplinks: int
    endpoint_latency_s: float
    switch_latency_s: float
    copy_frac: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """CPUs, their memory and the links from GPU to CPU.

    Attributes
    ----------
    gpus_per_cpu : int
        GPUs that share one CPU socket.
    gpus_per_node : int
        GPUs under one operating system.
    nodes_per_rack : int
        Nodes of one cabinet.
    link_bandwidth_bytes_per_s : float
        GPU to CPU (C2C or PCIe) for one GPU, one direction, peak. [B/s]
    link_latency_s : float
        GPU to CPU, one way. [s]
    copy_frac : float
        Share of that link that a large copy reaches.
    memory_bytes : float
        Memory of one CPU. [B]
    memory_bandwidth_bytes_per_s : float
        Memory bandwidth of one CPU. [B/s]
    """

    gpus_per_cpu: int
    gpus_per_node: int
    nodes_per_rack: int
    link_bandwidth_bytes_per_s: float
    link_latency_s: float
    copy_frac: float
    memory_bytes: float
    memory_bandwidth_bytes_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuActivity:
    """What each kind of work adds to the idle power of a GPU, at full utilization.

    Attributes
    ----------
    busy_power_w : float
        Kernels resident on the SMs, whatever they do. [W]
    tensor_power_w : mapping of str to float
        Tensor cores at their dense peak, for each peak of the GPU. [W]
    hbm_power_w : float
        HBM at its peak bandwidth. [W]
    scale_up_power_w : float
        All links of the GPU at their peak. [W]
    """

    busy_power_w: float
    tensor_power_w: Mapping[str, float]
    hbm_power_w: float
    scale_up_power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Facility:
    """What surrounds the rack, and the published figures that include it.

    Attributes
    ----------
    pue : float
        Facility power over IT power.
    fabric_power_w_per_gpu : float
        Scale-out switches and optics outside the rack, for each GPU. [W]
    all_in_power_w_per_gpu : float
        Published provisioned constant, IT equipment only. [W]
    all_in_utility_power_w_per_gpu : float
        Published provisioned constant, facility included. [W]
    """

    pue: float
    fabric_power_w_per_gpu: float
    all_in_power_w_per_gpu: float
    all_in_utility_power_w_per_gpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerParts:
    """Power of everything in the rack but the limits of its GPUs.

    Attributes
    ----------
    gpu : GpuActivity
        Activity terms of the GPU.
    cpu_idle_power_w, cpu_max_power_w : float
        One CPU with its memory. [W]
    nic_power_w : float
        One NIC port with its transceiver. [W]
    node_fixed_power_w : float
        DPU, storage and management of one node. [W]
    fan_max_power_w : float
        Fans of one node at full speed. [W]
    fan_min_speed_frac : float
        Fan speed of an idle node over full speed.
    switch_chip_idle_power_w, switch_chip_max_power_w : float
        One scale-up switch chip with its share of the tray. [W]
    conversion_frac : float
        Power that reaches the parts over power drawn by the rack.
    nameplate_power_w : float
        Provisioned power of one scale-up domain. [W]
    facility : Facility
        What surrounds the rack.
    """

    gpu: GpuActivity
    cpu_idle_power_w: float
    cpu_max_power_w: float
    nic_power_w: float
    node_fixed_power_w: float
    fan_max_power_w: float
    fan_min_speed_frac: float
    switch_chip_idle_power_w: float
    switch_chip_max_power_w: float
    conversion_frac: float
    nameplate_power_w: float
    facility: Facility


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a GPU costs.

    Attributes
    ----------
    owning_usd_per_h : float
        Total cost of ownership at hyperscaler terms, for each GPU. [USD/h]
    neocloud_usd_per_h : float
        Total cost of ownership at neocloud terms, for each GPU. [USD/h]
    rental_3_year_usd_per_h : float
        Three-year rental, for each GPU. [USD/h]
    rental_usd_per_h : float
        Newest market rental, for each GPU. [USD/h]
    capex_usd : float or None
        Purchase price of one scale-up domain; None where no source has one. [USD]
    electricity_usd_per_kwh : float
        Energy. [USD/kWh]
    """

    owning_usd_per_h: float
    neocloud_usd_per_h: float
    rental_3_year_usd_per_h: float
    rental_usd_per_h: float
    capex_usd: float | None
    electricity_usd_per_kwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """Mean time between failures of each part.

    Attributes
    ----------
    interruption_mtbf_s : float
        Any unexpected interruption, for each GPU. [s]
    gpu_mtbf_s : float
        GPU with its NVLink, HBM apart. [s]
    hbm_mtbf_s : float
        HBM of one GPU. [s]
    network_mtbf_s : float
        Scale-out switch or cable, for each GPU. [s]
    repair_s : float
        Until the part is replaced. [s]
    """

    interruption_mtbf_s: float
    gpu_mtbf_s: float
    hbm_mtbf_s: float
    network_mtbf_s: float
    repair_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine: racks of an NVLink-switched GPU, or HGX nodes.

    Attributes
    ----------
    name : str
        Name of the profile, for example ``gb200_nvl72``.
    title : str
        Name for people.
    status : str
        ``shipping`` or ``announced``.
    gpu, scale_up, scale_out, host, power, prices, reliability
        The parts.
    """

    name: str
    title: str
    status: str
    gpu: Gpu
    scale_up: ScaleUp
    scale_out: ScaleOut
    host: Host
    power: PowerParts
    prices: Prices
    reliability: Reliability

    @property
    def nodes_per_domain(self) -> int:
        """Nodes of one scale-up domain: 18 trays of an NVL72, 1 HGX node."""
        return self.scale_up.domain_gpus // self.host.gpus_per_node
