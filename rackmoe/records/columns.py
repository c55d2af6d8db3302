"""The columns, units and types of every table that a run writes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType

__all__ = [
    "BREAKDOWN_COLUMNS",
    "EXPERT_COLUMNS",
    "LINK_COLUMNS",
    "POWER_COLUMNS",
    "REBALANCE_COLUMNS",
    "REPLICA_COLUMNS",
    "REQUEST_COLUMNS",
    "STEP_COLUMNS",
    "TABLES",
    "Column",
    "Part",
    "Pool",
    "ServiceState",
    "State",
    "Tier",
]


class Pool(IntEnum):
    """The pool that a replica belongs to."""

    AGGREGATED = 0
    PREFILL = 1
    DECODE = 2


class State(IntEnum):
    """Where a request stands when the run ends (LAW-04)."""

    WAITING = 0
    RUNNING = 1
    DONE = 2
    REJECTED = 3


class ServiceState(IntEnum):
    """What a replica is doing, whether requests are there or not."""

    SERVING = 0
    LOADING = 1
    DRAINING = 2
    OFF = 3
    FAILED = 4


class Tier(IntEnum):
    """The fabric that a port belongs to."""

    SCALE_UP = 0
    SCALE_OUT = 1
    HOST = 2
    LEAF = 3


class Part(IntEnum):
    """A part of the rack that draws power."""

    GPU = 0
    CPU = 1
    NIC = 2
    SWITCH = 3
    FAN = 4
    FIXED = 5
    CONVERSION = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name : str
        Name with its unit as suffix.
    dtype : str
        NumPy type of the column; a column with `labels` holds their codes.
    unit : str
        Unit, ``1`` for counts and ratios.
    meaning : str
        What one value says, for the documentation of result files.
    labels : tuple of str
        Names of the codes 0, 1, ... of a categorical column; empty otherwise.
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()


def _count(name: str, meaning: str) -> Column:
    return Column(name=name, dtype="int64", unit="1", meaning=meaning)


def _real(name: str, unit: str, meaning: str) -> Column:
    return Column(name=name, dtype="float64", unit=unit, meaning=meaning)


def _label(name: str, kind: type[IntEnum], meaning: str) -> Column:
    labels = tuple(member.name.lower() for member in kind)
    return Column(name=name, dtype="int8", unit="1", meaning=meaning, labels=labels)


REQUEST_COLUMNS = (
    _count("request_id", "row of the request table"),
    _real("arrival_s", "s", "the client sends the request"),
    _real("scheduled_s", "s", "its first prefill step starts; NaN before that"),
    _real("prefill_end_s", "s", "its prompt has been processed; NaN before that"),
    _real("transfer_end_s", "s", "its KV cache is at the decode replica; NaN where none moves"),
    _real("first_token_s", "s", "its first output token is out; NaN before that"),
    _real("last_token_s", "s", "its latest output token is out; NaN before the first"),
    _count("n_input_tokens", "prompt length"),
    _count("n_output_tokens", "output tokens emitted so far: all of them once it is done"),
    _count("n_preemptions", "times that it lost its KV cache and was queued again"),
    _count("prefill_replica", "replica that processed the prompt; -1 before that"),
    _count("decode_replica", "replica that generates; -1 before that"),
    _count("decode_rank", "attention rank within that replica; -1 before that"),
    _label("state", State, "where it stands when the run ends"),
    _count("n_cached_tokens", "prompt tokens found in the prefix cache when it was scheduled"),
    replace(
        _count("application", "which application sent it"), dtype="int16", labels=("default",)
    ),
)

_BREAKDOWN = (
    _real("attention_s", "s", "attention kernels"),
    _real("dense_s", "s", "projections, dense layers, router, norms and output head"),
    _real("dispatch_s", "s", "tokens on their way to experts"),
    _real("dispatch_wait_s", "s", "waiting for tokens of slower ranks"),
    _real("expert_s", "s", "routed experts"),
    _real("shared_expert_s", "s", "shared expert that nothing hides"),
    _real("combine_s", "s", "expert outputs on their way back"),
    _real("combine_wait_s", "s", "waiting for expert outputs of slower ranks"),
    _real("host_s", "s", "GPU idle while the host prepares or post-processes the step"),
    _real("other_s", "s", "everything else: sampling, tensor-parallel and pipeline collectives"),
)

BREAKDOWN_COLUMNS = tuple(column.name for column in _BREAKDOWN)
"""Parts of a step's duration, each a mean over the ranks; they sum to `duration_s`."""

STEP_COLUMNS = (
    _count("replica", "replica that ran the step"),
    _label("pool", Pool, "pool of that replica"),
    _real("start_s", "s", "the step starts"),
    _real("duration_s", "s", "until its outputs are out and the next step can start"),
    _real("gpu_busy_s", "s", "part of the duration in which the GPUs work, mean over the ranks"),
    _count("n_decode_tokens", "output tokens emitted by its decoding sequences"),
    _count("n_prefill_tokens", "prompt tokens processed"),
    _count("n_sequences", "sequences that decode in the step, over all ranks"),
    *_BREAKDOWN,
    _real("flop", "FLOP", "arithmetic of the step, over all ranks"),
    _real("bf16_flop", "FLOP", "part of `flop` at the 16-bit peak"),
    _real("fp8_flop", "FLOP", "part of `flop` at the 8-bit peak"),
    _real("fp4_flop", "FLOP", "part of `flop` at the 4-bit peak"),
    _real("hbm_bytes", "B", "HBM traffic, over all ranks"),
    _real("scale_up_bytes", "B", "bytes sent into the scale-up fabric, over all ranks"),
    _real("scale_out_bytes", "B", "bytes sent into the scale-out fabric, over all ranks"),
    _real("imbalance", "1", "max / mean expert load of the ranks, mean over the layers"),
)

LINK_COLUMNS = (
    _count("replica", "replica of the GPU that has the port; -1 without one"),
    _count("rank", "rank of that GPU in the replica; -1 without one"),
    _label("tier", Tier, "fabric of the port; a leaf has all its uplinks as one"),
    _count("port", "number of the GPU, NIC or leaf in the machine"),
    _real("capacity_bytes_per_s", "B/s", "peak bandwidth of the port, one direction"),
    _real("sent_bytes", "B", "bytes sent through it: away from the GPU, up from a leaf"),
    _real("received_bytes", "B", "bytes received through it"),
    _real("collective_bytes", "B", "of both: exchanges among the ranks of a replica"),
    _real("kv_bytes", "B", "of both: KV caches"),
    _real("expert_bytes", "B", "of both: experts that move"),
    _real("other_bytes", "B", "of both: weights and pipeline stages"),
    _real("mean_utilization_frac", "1", "mean over the run, busier direction"),
    _real("p99_utilization_frac", "1", "99th percentile over windows of at least 1 ms, same"),
    _real("busy_s", "s", "time with exchanges plus time with transfers, at most the run"),
    _real("collective_busy_s", "s", "time with exchanges, busier direction"),
    _real("kv_busy_s", "s", "time with KV caches, busier direction"),
    _real("expert_busy_s", "s", "time with experts that move, busier direction"),
    _real("other_busy_s", "s", "time with weights and with pipeline stages, busier direction"),
)

EXPERT_COLUMNS = (
    _count("layer", "MoE layer, by its number in the model"),
    _count("physical_expert", "slot that holds a copy"),
    _count("logical_expert", "expert in the weights"),
    _count("rank", "rank that holds the slot"),
    _count("n_assignments", "(token, expert) pairs computed"),
)

POWER_COLUMNS = (
    _label("part", Part, "part of the rack"),
    _real("start_s", "s", "the interval starts"),
    _real("duration_s", "s", "length of the interval"),
    _real("power_w", "W", "mean power in the interval"),
    _real("idle_power_w", "W", "power of the idle part"),
    _real("max_power_w", "W", "highest power that the part can draw"),
    _real("energy_j", "J", "energy of the interval"),
)

REBALANCE_COLUMNS = (
    _label("pool", Pool, "pool whose experts were placed anew"),
    _real("start_s", "s", "the new placement is decided"),
    _real("end_s", "s", "the last layer changes over; NaN where the run ended before"),
    _count("n_moves", "experts that had to travel, over all replicas"),
    _real("moved_bytes", "B", "weights put on the fabric until `end_s`"),
    _real("imbalance_before", "1", "max / mean load of the window by the old placement"),
    _real("imbalance_after", "1", "the same by the new placement"),
    _real("stall_s", "s", "time in which no step could start, mean over the replicas"),
)

REPLICA_COLUMNS = (
    _count("replica", "number of the replica"),
    _label("pool", Pool, "pool of that replica"),
    _label("state", ServiceState, "whether it serves, loads weights, drains, is off or failed"),
    _real("start_s", "s", "since when"),
    _real("duration_s", "s", "how long, at most to the end of the run"),
)

TABLES: Mapping[str, tuple[Column, ...]] = MappingProxyType(
    {
        "requests": REQUEST_COLUMNS,
        "steps": STEP_COLUMNS,
        "links": LINK_COLUMNS,
        "experts": EXPERT_COLUMNS,
        "power": POWER_COLUMNS,
        "rebalances": REBALANCE_COLUMNS,
        "replicas": REPLICA_COLUMNS,
    }
)
"""Columns of every table of a run, by table name."""
