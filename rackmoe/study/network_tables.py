"""Which communication was timed by each row of a table of measurements."""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from rackmoe.backend.collectives import CollectiveKey, Family
from rackmoe.errors import ConfigError
from rackmoe.study.network_cases import CollectiveCase, ExchangeCase, Measurement
from rackmoe.study.network_cells import (
    family_of_kernel,
    positive_number,
    whole_number,
    wire_format,
)

__all__ = ["SLOW_CLUSTER_KERNEL", "read_measurements"]

_US = 1e-6
_GB = 1e9
_GBIT = 1e9 / 8
# nccl-tests sweeps up to 8 GiB and prints the largest bus bandwidth.
_PEAK_BYTES = 8 * 2.0**30
_ALLTOALL_COLUMNS = {
    *("source", "kernel", "op", "dtype", "ep", "nodes"),
    *("hidden", "topk", "experts", "sms", "tokens_per_rank", "latency_us"),
}
_COLLECTIVE_COLUMNS = {"system", "lib", "op", "gpus", "bytes", "latency_us"}
_POINT_COLUMNS = {
    *("id", "hardware", "n_gpus", "fabric", "library", "operation", "payload"),
    *("tokens_per_gpu", "message_bytes", "latency_us", "bandwidth_gb_per_s"),
    *("load_unit", "metric", "notes"),
}
_OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "alltoall": "all_to_all",
        "custom_all_reduce": "all_reduce",
        "sendrecv": "send_recv",
        "peak bus bandwidth over mnnvl": "all_reduce",
    }
)
_DENSE_LIBRARIES = ("NCCL 2", "NCCL (version", "nccl", "all-reduce")
_DENSE_OPERATIONS = frozenset({"all_reduce", "all_gather", "reduce_scatter", "all_to_all"})
_WORDS: Mapping[str, str] = MappingProxyType({"two": "2", "three": "3"})
_SYSTEMS: Mapping[str, str] = MappingProxyType(
    {
        "gb200": "gb200_nvl72",
        "gb300": "gb300_nvl72",
        "h200": "hgx_h200",
        "h100": "hgx_h100",
        "b200": "hgx_b200",
        "b300": "hgx_b300",
        "h800": "hgx_h800",
    }
)
# The 8-node rows of this source ran at half the NIC bandwidth of its 2-node rows and of other
# sources: another or a congested cluster, so they have constants of their own.
_SLOW_SOURCE, _SLOW_KERNEL, _SLOW_NODES = "sglang-0.5.6.post2", "deepep_normal", 8
SLOW_CLUSTER_KERNEL = f"{_SLOW_KERNEL} on {_SLOW_NODES} nodes"
"""Kernel of the rows of an odd cluster."""


def read_measurements(path: Path | str, *, hardware: str = "") -> list[Measurement]:
    """Return the rows of a table of communication times.

    Parameters
    ----------
    path : path-like
        A CSV file in the layout of ``communication_points.csv``, of
        ``kernels/alltoall_*.csv`` or of ``kernels/collectives.csv``.
    hardware : str
        Profile of the machine for rows that do not name one; taken from the name of the
        file (``alltoall_gb200.csv``) if left out.

    Returns
    -------
    list of Measurement
        One for each row, also for those that cannot be answered.

    Raises
    ------
    ConfigError
        If the file cannot be read or has another layout.
    """
    place = Path(path)
    try:
        table = pd.read_csv(place, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place}: {error}; expected a CSV file; check the path") from error
    table = table.fillna("")
    columns = set(table.columns)
    named = hardware or _system_in(place.stem)
    for needed, read in _LAYOUTS:
        if needed <= columns:
            rows = [dict(zip(table.columns, cells, strict=True)) for cells in table.to_numpy()]
            return [
                _read_row(read, row, number=i, hardware=named)
                for i, row in enumerate(rows, start=1)
            ]
    raise ConfigError(
        f"{place}: columns {', '.join(sorted(columns))}; expected the layout of "
        "communication_points.csv, alltoall_*.csv or collectives.csv; rename the columns"
    )


def _read_row(
    read: Callable[..., Measurement], row: Mapping[str, str], *, number: int, hardware: str
) -> Measurement:
    """Return the measurement of a row, or why it has none."""
    name = row.get("id") or str(number)
    try:
        return read(row, name=name, hardware=hardware)
    except (ConfigError, ValueError, KeyError) as error:
        reason = f"row cannot be read: {error}"
        return Measurement(
            row=name, hardware=hardware, case=None, measured=math.nan, reason=reason
        )


def _system_in(text: str) -> str:
    """Return the profile of a GPU that a text names; empty if it names none."""
    return next((profile for gpu, profile in _SYSTEMS.items() if gpu in text.lower()), "")


def _alltoall_row(row: Mapping[str, str], *, name: str, hardware: str) -> Measurement:
    """Read a row of ``alltoall_*.csv``."""
    source, kernel, operation = row["source"], row["kernel"], row["op"]
    profile = "hgx_h100" if "H100" in kernel else hardware
    if (source, kernel) == (_SLOW_SOURCE, _SLOW_KERNEL) and whole_number(
        row, column="nodes"
    ) >= _SLOW_NODES:
        kernel = SLOW_CLUSTER_KERNEL
    n_sms = whole_number(row, column="sms", least=0) if row["sms"] else 0
    case = ExchangeCase(
        key=CollectiveKey(library=source, kernel=kernel, operation=operation, dtype=row["dtype"]),
        family=family_of_kernel(kernel),
        payload_dtype=_payload(operation, dtype=row["dtype"], kernel=kernel),
        n_ranks=whole_number(row, column="ep"),
        tokens=whole_number(row, column="tokens_per_rank"),
        hidden=whole_number(row, column="hidden"),
        top_k=whole_number(row, column="topk"),
        n_experts=whole_number(row, column="experts"),
        n_sms=n_sms or None,
    )
    measured_s = positive_number(row, column="latency_us") * _US
    return Measurement(row=name, hardware=profile, case=case, measured=measured_s)


def _payload(operation: str, *, dtype: str, kernel: str) -> str:
    """Return the format on the wire: combines send bf16 unless they are low-precision ones."""
    if operation == "combine_low_precision":
        return "nvfp4"
    if operation == "combine" and not (dtype == "fp4" and "_ll" in kernel):
        return "bf16"
    return wire_format(dtype)


def _collective_row(row: Mapping[str, str], *, name: str, hardware: str) -> Measurement:
    """Read a row of ``collectives.csv``."""
    key = CollectiveKey(
        library=row["lib"], kernel=row["lib"], operation=_OPERATIONS.get(row["op"], row["op"])
    )
    case = CollectiveCase(
        key=key,
        n_ranks=whole_number(row, column="gpus"),
        n_bytes=positive_number(row, column="bytes"),
    )
    return Measurement(
        row=name,
        hardware=_system_in(row["system"]) or hardware,
        case=case,
        measured=positive_number(row, column="latency_us") * _US,
    )


def _point_row(row: Mapping[str, str], *, name: str, hardware: str) -> Measurement:
    """Read a row of ``communication_points.csv``."""
    profile = row["hardware"] or hardware
    is_time = bool(row["latency_us"])
    measured = (
        positive_number(row, column="latency_us") * _US
        if is_time
        else positive_number(row, column="bandwidth_gb_per_s") * _GB
    )
    unit = "s" if is_time else "B/s"
    library = row["library"]
    if "in serving" in row["metric"]:
        reason = "time in serving, which includes waiting for the slowest rank, not the exchange"
        return Measurement(
            row=name, hardware=profile, case=None, measured=measured, unit=unit, reason=reason
        )
    case: ExchangeCase | CollectiveCase
    named_dense = any(word in library for word in _DENSE_LIBRARIES)
    operation = _OPERATIONS.get(row["operation"], row["operation"])
    if named_dense or (operation in _DENSE_OPERATIONS and row["message_bytes"]):
        case = _point_collective(row, is_time=is_time)
    else:
        case = _point_exchange(row, is_time=is_time)
    return Measurement(row=name, hardware=profile, case=case, measured=measured, unit=unit)


def _point_collective(row: Mapping[str, str], *, is_time: bool) -> CollectiveCase:
    """Return the dense collective of a row."""
    library, n_ranks = row["library"], whole_number(row, column="n_gpus")
    name = "nccl-tests"
    if library.startswith("NCCL 2"):
        name = library.replace(" ", "-").lower()
    elif "version not stated" in library:
        name = "nccl-unstated"
    elif "all-reduce" in library:
        name = "trtllm-" + library.split()[1]
    operation = _OPERATIONS.get(row["operation"], row["operation"])
    n_bytes = positive_number(row, column="message_bytes") if row["message_bytes"] else _PEAK_BYTES
    if "shard contributed" in row["notes"]:
        n_bytes *= n_ranks
    racks = re.search(r"(\d+|two|three) racks", f"{row['fabric']} {row['notes']}")
    return CollectiveCase(
        key=CollectiveKey(library=name, kernel=name, operation=operation),
        n_ranks=n_ranks,
        n_bytes=n_bytes,
        n_local=n_ranks // int(_WORDS.get(racks[1], racks[1])) if racks else None,
        is_bus_bandwidth=not is_time,
    )


def _point_exchange(row: Mapping[str, str], *, is_time: bool) -> ExchangeCase:
    """Return the dispatch or combine of a row."""
    library, operation = row["library"], row["operation"]
    if "low_precision" in row["metric"]:
        operation = "combine_low_precision"
    name, kernel, family, is_shared = _point_kernel(library, metric=row["metric"])
    dtype, payload = _point_dtype(row["payload"], operation=operation, family=family)
    logical = ""
    if not is_time:
        is_rank = "NVLink" in row["metric"] or "NVLink only" in row["fabric"]
        logical = "rank" if is_rank else "domain"
    sms = re.search(r"(\d+) SMs", row["notes"])
    top_k = re.search(r"top-(\d+)", row["load_unit"])
    experts = re.search(r"(\d+) experts", row["load_unit"])
    hidden = re.search(r"hidden (\d+)", row["load_unit"])
    return ExchangeCase(
        key=CollectiveKey(
            library=name,
            kernel=kernel,
            operation=operation,
            dtype="" if is_shared else dtype,
        ),
        family=family,
        payload_dtype=payload,
        n_ranks=whole_number(row, column="n_gpus"),
        tokens=whole_number(row, column="tokens_per_gpu"),
        hidden=int(hidden[1]) if hidden else 7168,
        top_k=int(top_k[1]) if top_k else 8,
        n_experts=int(experts[1]) if experts else 256,
        n_sms=int(sms[1]) if sms else None,
        nic_bandwidth_bytes_per_s=_adapter_bytes_per_s(row["fabric"]),
        logical_parts=logical,
    )


def _adapter_bytes_per_s(fabric: str) -> float | None:
    """Return the bandwidth of the EFA adapters of a GPU that a row names. [B/s]."""
    found = re.search(r"(?:(\d+)x)?(\d+)G EFA", fabric)
    return int(found[1] or 1) * int(found[2]) * _GBIT if found else None


def _point_dtype(payload: str, *, operation: str, family: Family) -> tuple[str, str]:
    """Return the number format as the tables name it, and the format on the wire."""
    text = payload.lower()
    is_combine = operation.startswith("combine")
    if "bf16" in text and "fp8" not in text:
        dtype = "bfloat16"
    elif "nvfp4" in text:
        dtype = "nvfp4"
    else:
        dtype = "bfloat16" if is_combine else "fp8"
    kernel = "_ll" if family is Family.DEEPEP_LOW_LATENCY else ""
    return dtype, _payload(operation, dtype=dtype, kernel=kernel)


def _point_kernel(library: str, *, metric: str) -> tuple[str, str, Family, bool]:
    """Return library, kernel, family, and whether dispatch and combine share constants."""
    text = f"{library} {metric}"
    engine = re.search(r"SGLang (\S+?)\)", library)
    for words, name, kernel, family, is_shared in _KERNELS:
        if all(word in text for word in words):
            if engine and not name:
                name = _SGLANG.get(engine[1], f"sglang-{engine[1]}")  # noqa: PLW2901 - filled in
            return name or library, kernel, family, is_shared
    # a library that the tables do not have: its name may still say how it moves tokens
    return library, library, family_of_kernel(text.strip()), False


# The H200 rows called 0.5.0 are those of the table of 0.5.6.post2, number for number; likewise
# TensorRT-LLM 1.2.0rc6 ran the kernels of the table of 1.3.0rc10.
_SGLANG: Mapping[str, str] = MappingProxyType({"0.5.0": _SLOW_SOURCE})
_LL, _RDMA, _HT = (
    Family.DEEPEP_LOW_LATENCY,
    Family.DEEPEP_LOW_LATENCY_RDMA,
    Family.DEEPEP_NORMAL,
)
_ONE, _TWO = Family.NVLINK_ONE_SIDED, Family.NVLINK_TWO_SIDED
# Words that must all occur in library and metric; library (empty: as given), kernel, family,
# and whether dispatch and combine share their constants. The first line that fits counts.
_KERNELS: tuple[tuple[tuple[str, ...], str, str, Family, bool], ...] = (
    (("NVLinkOneSided AlltoAll",), "trtllm-moe-comm-bench", "NVLinkOneSided", _ONE, False),
    (("NVLinkOneSided",), "trtllm-1.3.0rc10", "NVLinkOneSided", _ONE, False),
    (("NVLinkTwoSided",), "trtllm-1.3.0rc10", "NVLinkTwoSided", _TWO, False),
    (("pplx", "DeepEP"), "deepep-v0", "deepep_ll_rdma", _RDMA, False),
    (("pplx", "IBGDA"), "pplx-kernels-v0", "ibgda", _RDMA, True),
    (("pplx", "NVLink"), "pplx-kernels-v0", "nvlink", _LL, False),
    (("UCCL", "low latency"), "uccl-ep", "uccl_ll", _LL, False),
    (("UCCL", "normal"), "uccl-ep", "uccl_normal", _HT, False),
    (("DeepEP V2",), "deepep-v2", "deepep_v2", _HT, True),
    (("DeepEP V1", "low-latency"), "deepep-v1", "deepep_v1_ll", _LL, False),
    (("DeepEP V1", "normal"), "deepep-v1", "deepep_v1_normal", _HT, True),
    (("low-latency",), "", "deepep_ll", _LL, False),
    (("low latency",), "", "deepep_ll", _LL, False),
    (("normal",), "", "deepep_normal", _HT, False),
    (("DeepEP",), "", "deepep_normal", _HT, False),
)
_LAYOUTS: tuple[tuple[set[str], Callable[..., Measurement]], ...] = (
    (_ALLTOALL_COLUMNS, _alltoall_row),
    (_COLLECTIVE_COLUMNS, _collective_row),
    (_POINT_COLUMNS, _point_row),
)
