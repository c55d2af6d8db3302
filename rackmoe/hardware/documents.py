"""Which keys a hardware profile has, and what must agree between them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rackmoe.errors import ConfigError
from rackmoe.schema.documents import Document, Sourced
from rackmoe.schema.quantities import (
    Bytes,
    BytesPerSecond,
    FlopPerSecond,
    Seconds,
    Usd,
    UsdPerHour,
    UsdPerKwh,
    Watts,
)

__all__ = [
    "FacilityDocument",
    "GpuActivityDocument",
    "GpuDocument",
    "HostDocument",
    "MachineDocument",
    "PowerPartsDocument",
    "PricesDocument",
    "ReliabilityDocument",
    "ScaleOutDocument",
    "ScaleUpDocument",
]

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Field(gt=0)
PeakKey = Literal["bf16", "fp8", "fp4", "int8"]

_ROUNDING_FRAC = 1e-3
"""A sheet rounds; two figures of it that differ by less agree. Assumed."""


class GpuDocument(Document):
    """One GPU package."""

    name: str
    n_sms: Sourced[Count]
    peak_flop_per_s: dict[PeakKey, Sourced[Annotated[FlopPerSecond, Positive]]]
    hbm_bytes: Sourced[Annotated[Bytes, Positive]] = Field(alias="hbm_capacity")
    hbm_bandwidth_bytes_per_s: Sourced[Annotated[BytesPerSecond, Positive]]
    l2_bytes: Sourced[Bytes] = Field(alias="l2_capacity")
    idle_power_w: Sourced[Watts]
    max_power_w: Sourced[Watts]
    min_power_w: Sourced[Watts]

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse limits that no GPU can keep, and a GPU without a BF16 peak."""
        if "bf16" not in self.peak_flop_per_s:
            raise ConfigError("peak: no 'bf16'; expected the dense BF16 peak; add it")
        limit_w = self.max_power_w.value
        for key, value_w in (
            ("idle_power", self.idle_power_w.value),
            ("min_power", self.min_power_w.value),
        ):
            if not value_w < limit_w:
                raise ConfigError(
                    f"{key}: {value_w:g} W; expected less than max_power, {limit_w:g} W; "
                    "correct one of the two"
                )
        return self


class ScaleUpDocument(Document):
    """The NVLink domain."""

    domain_gpus: Sourced[Count]
    gpu_bandwidth_bytes_per_s: Sourced[Annotated[BytesPerSecond, Positive]]
    link_bandwidth_bytes_per_s: Sourced[Annotated[BytesPerSecond, Positive]]
    links_to_chips: Sourced[Annotated[tuple[Count, ...], Field(min_length=1)]]
    chips_per_tray: Sourced[Count]
    link_latency_s: Sourced[Seconds]
    switch_latency_s: Sourced[Seconds]
    copy_frac: Sourced[Share] = Field(alias="copy_efficiency")
    has_in_network_reduction: Sourced[bool]
    arbitration: Sourced[Literal["per_flow", "classes", "priority"]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse a port that is not the sum of its links."""
        links = sum(self.links_to_chips.value)
        port = self.gpu_bandwidth_bytes_per_s.value
        total = links * self.link_bandwidth_bytes_per_s.value
        if abs(total - port) > _ROUNDING_FRAC * port:
            raise ConfigError(
                f"gpu_bandwidth: {port:g} B/s; expected {links} links x link_bandwidth = "
                f"{total:g} B/s; give all three for one direction"
            )
        return self


class ScaleOutDocument(Document):
    """The fabric between domains."""

    nic_bandwidth_bytes_per_s: Sourced[Annotated[BytesPerSecond, Positive]]
    nics_per_gpu: Sourced[Count]
    n_rails: Sourced[Count]
    unit_nodes: Sourced[Count]
    unit_leaves_per_rail: Sourced[Count]
    unit_spines: Sourced[Count]
    max_units: Sourced[Count]
    leaf_uplinks: Sourced[Count]
    endpoint_latency_s: Sourced[Seconds]
    switch_latency_s: Sourced[Seconds]
    copy_frac: Sourced[Share] = Field(alias="copy_efficiency")


class HostDocument(Document):
    """CPUs and the links to them."""

    gpus_per_cpu: Sourced[Count]
    gpus_per_node: Sourced[Count]
    nodes_per_rack: Sourced[Count]
    link_bandwidth_bytes_per_s: Sourced[Annotated[BytesPerSecond, Positive]]
    link_latency_s: Sourced[Seconds]
    copy_frac: Sourced[Share] = Field(alias="copy_efficiency")
    memory_bytes: Sourced[Bytes] = Field(alias="memory_capacity")
    memory_bandwidth_bytes_per_s: Sourced[Annotated[BytesPerSecond, Positive]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse a node that shares a CPU with another."""
        per_cpu, per_node = self.gpus_per_cpu.value, self.gpus_per_node.value
        if per_node % per_cpu:
            raise ConfigError(
                f"gpus_per_cpu: {per_cpu}; expected a divisor of gpus_per_node, {per_node}; "
                "count the GPUs of one socket"
            )
        return self


class GpuActivityDocument(Document):
    """What work adds to the idle power of a GPU."""

    busy_power_w: Sourced[Watts]
    tensor_power_w: dict[PeakKey, Sourced[Watts]]
    hbm_power_w: Sourced[Watts]
    scale_up_power_w: Sourced[Watts]


class FacilityDocument(Document):
    """What surrounds the rack."""

    pue: Sourced[Annotated[float, Field(ge=1)]]
    fabric_power_w_per_gpu: Sourced[Watts]
    all_in_power_w_per_gpu: Sourced[Watts]
    all_in_utility_power_w_per_gpu: Sourced[Watts]


class PowerPartsDocument(Document):
    """Power of the parts of the rack."""

    gpu: GpuActivityDocument
    cpu_idle_power_w: Sourced[Watts]
    cpu_max_power_w: Sourced[Watts]
    nic_power_w: Sourced[Watts]
    node_fixed_power_w: Sourced[Watts]
    fan_max_power_w: Sourced[Watts]
    fan_min_speed_frac: Sourced[Share]
    switch_chip_idle_power_w: Sourced[Watts]
    switch_chip_max_power_w: Sourced[Watts]
    conversion_frac: Sourced[Share] = Field(alias="conversion_efficiency")
    nameplate_power_w: Sourced[Watts]
    facility: FacilityDocument

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse parts that draw more at rest than at work."""
        for part, idle_w, max_w in (
            ("cpu", self.cpu_idle_power_w.value, self.cpu_max_power_w.value),
            (
                "switch_chip",
                self.switch_chip_idle_power_w.value,
                self.switch_chip_max_power_w.value,
            ),
        ):
            if idle_w > max_w:
                raise ConfigError(
                    f"{part}_idle_power: {idle_w:g} W; expected at most {part}_max_power, "
                    f"{max_w:g} W; correct one of the two"
                )
        return self


class PricesDocument(Document):
    """What a GPU costs."""

    owning_usd_per_h: Sourced[UsdPerHour]
    neocloud_usd_per_h: Sourced[UsdPerHour]
    rental_3_year_usd_per_h: Sourced[UsdPerHour]
    rental_usd_per_h: Sourced[UsdPerHour]
    capex_usd: Sourced[Usd] | None = None
    electricity_usd_per_kwh: Sourced[UsdPerKwh]


class ReliabilityDocument(Document):
    """Mean time between failures."""

    interruption_mtbf_s: Sourced[Annotated[Seconds, Positive]]
    gpu_mtbf_s: Sourced[Annotated[Seconds, Positive]]
    hbm_mtbf_s: Sourced[Annotated[Seconds, Positive]]
    network_mtbf_s: Sourced[Annotated[Seconds, Positive]]
    repair_s: Sourced[Seconds]


class MachineDocument(Document):
    """A hardware profile: every leaf a value, its kind and its source."""

    schema_id: Literal["rackmoe/hardware/1"] = Field(alias="schema")
    name: str
    title: str
    status: Literal["shipping", "announced"]
    gpu: GpuDocument
    scale_up: ScaleUpDocument
    scale_out: ScaleOutDocument
    host: HostDocument
    power: PowerPartsDocument
    prices: PricesDocument
    reliability: ReliabilityDocument
    sources: dict[str, str]

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse parts that do not fit together."""
        per_node = self.host.gpus_per_node.value
        domain_gpus = self.scale_up.domain_gpus.value
        if domain_gpus % per_node:
            raise ConfigError(
                f"scale_up.domain_gpus: {domain_gpus}; expected whole nodes of {per_node} GPUs; "
                "correct it or host.gpus_per_node"
            )
        n_rails = self.scale_out.n_rails.value
        node_nics = per_node * self.scale_out.nics_per_gpu.value
        if node_nics % n_rails:
            raise ConfigError(
                f"scale_out.n_rails: {n_rails}; expected a divisor of the {node_nics} NICs of a "
                "node; give one rail to each NIC of a node"
            )
        if self.power.gpu.tensor_power_w.keys() != self.gpu.peak_flop_per_s.keys():
            raise ConfigError(
                f"power.gpu.tensor_power: {', '.join(self.power.gpu.tensor_power_w)}; expected "
                f"the keys of gpu.peak, {', '.join(self.gpu.peak_flop_per_s)}; give one power "
                "for each"
            )
        return self
