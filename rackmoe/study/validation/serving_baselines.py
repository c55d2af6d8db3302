"""What two simple methods say about serving points, for comparison."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np

from rackmoe.errors import RackmoeError
from rackmoe.hardware.machine import Machine
from rackmoe.hardware.profile import load_machine
from rackmoe.model.architecture import ModelArchitecture
from rackmoe.model.cache import kv_bytes_per_token
from rackmoe.model.config import load_model
from rackmoe.model.dtypes import BITS_PER_BYTE, weight_bits
from rackmoe.model.parameters import parameters
from rackmoe.study.validation.serving_rows import ServingRow
from rackmoe.study.validation.serving_run import FIGURES
from rackmoe.study.validation.serving_score import measured_throughput, row_errors

__all__ = ["BASELINES", "nearest_points", "roofline_points"]

BASELINES: Final = {
    "roofline": "bytes and FLOP at the peaks times one efficiency, the best for the file",
    "nearest": "nearest point of another curve, times scaled by peak HBM bandwidth",
}

_MS: Final = 1e-3
# Users of a saturated phase, where a row names none.
_SATURATED_BATCH: Final = 512
_FLOP_PER_PARAMETER: Final = 2
# Equally near points differ by rounding only; of these the first in the file counts.
_DIGITS: Final = 9
# How much farther a point of another kind is, in units of a factor e of a number.
_OTHER_MODEL, _OTHER_MODE, _OTHER_ENGINE, _OTHER_SPECULATION = 4.0, 4.0, 0.5, 1.0


def roofline_points(rows: Sequence[ServingRow]) -> dict[str, dict[str, float | None]]:
    """Return a roofline with one constant efficiency.

    A decode step reads the weights that its tokens need and the caches of its users; a
    prompt costs the FLOP of its parameters. Nothing waits, and nothing is exchanged. The
    efficiency is the one for which half of the scored steps are slower.

    Parameters
    ----------
    rows : sequence of ServingRow
        The rows; their own times give the efficiency, which favors this baseline.

    Returns
    -------
    dict of str to dict
        Figures by id and column, in milliseconds and tokens per second and GPU.
    """
    known = _known(rows)
    ideal = {row.id: _ideal(row) for row in known}
    ratios = [
        times["tpot_ms"] / measured
        for row in known
        if (measured := row.number("tpot_ms")) and (times := ideal[row.id])["tpot_ms"]
    ]
    efficiency = float(np.median(ratios)) if ratios else 1.0
    found: dict[str, dict[str, float | None]] = {row.id: dict.fromkeys(FIGURES) for row in rows}
    for row in known:
        times = {name: value / efficiency for name, value in ideal[row.id].items()}
        found[row.id] |= _with_rates(row, times)
    return found


def _known(rows: Sequence[ServingRow]) -> tuple[ServingRow, ...]:
    """Return the rows whose machine and model there are, with counts above 0."""
    known = []
    for row in rows:
        try:
            _with_rates(row, _ideal(row))
        except (RackmoeError, ArithmeticError):
            continue
        known.append(row)
    return tuple(known)


def _ideal(row: ServingRow) -> dict[str, float]:
    """Return time per token and to the first token at the peaks, in milliseconds."""
    machine, arch = _machine(row.text("hardware")), _model(row)
    n_decode = max(row.gpus("decode"), 1)
    n_prefill = row.gpus("prefill") if row.text("mode") != "agg" else n_decode
    replicas = row.count("decode_workers", default=1)
    users = _users(row) / replicas
    tokens = max(users, 1.0)
    weights = _read_bytes(arch, tokens=tokens) / (n_decode / replicas)
    context = row.count("isl") + row.count("osl") / 2
    cache = tokens * context * kv_bytes_per_token(arch, kv_dtype="fp8", tp=1)
    cache /= n_decode / replicas
    peak = max(machine.gpu.peak_flop_per_s.values())
    flop = _FLOP_PER_PARAMETER * parameters(arch)["active"]
    step_s = max(
        (weights + cache) / machine.gpu.hbm_bandwidth_bytes_per_s,
        tokens * flop / (n_decode / replicas * peak),
    )
    prompt_s = row.count("isl") * flop / (max(n_prefill, 1) * peak)
    return {"tpot_ms": step_s / _MS, "ttft_ms": prompt_s / _MS}


def _users(row: ServingRow) -> float:
    batch = row.count("batch_per_gpu") or _SATURATED_BATCH
    return row.number("concurrency") or batch * max(row.gpus("decode"), 1)


def _model(row: ServingRow) -> ModelArchitecture:
    return _architecture(row.text("model"), row.text("weights_dtype"))


# a file has hundreds of rows on a few machines
@cache
def _machine(name: str) -> Machine:
    return load_machine(name)


@cache
def _architecture(name: str, weights: str) -> ModelArchitecture:
    return load_model(name, weights=weights or None)


def _read_bytes(arch: ModelArchitecture, *, tokens: float) -> float:
    """Return the weights that a step reads: experts by the chance that a token chose them."""
    totals = parameters(arch)
    moe = arch.moe
    chosen: float = 1 - (1 - moe.top_k / moe.n_routed_experts) ** tokens
    spread = (totals["total"] - totals["active"]) / (1 - moe.top_k / moe.n_routed_experts)
    always = totals["total"] - spread
    bits = weight_bits(arch.dtypes.routed_expert)
    return (always * weight_bits(arch.dtypes.attention) + spread * chosen * bits) / BITS_PER_BYTE


def _with_rates(row: ServingRow, times: Mapping[str, float]) -> dict[str, float | None]:
    """Return the figures of a row by Little's law."""
    osl, isl = row.count("osl"), row.count("isl")
    n_prefill, n_decode = max(row.gpus("prefill"), 1), max(row.gpus("decode"), 1)
    stay_s = (times["ttft_ms"] + max(osl - 1, 1) * times["tpot_ms"]) * _MS
    requests_per_s = _users(row) / stay_s
    mode = row.text("mode")
    n_gpus = n_decode + (n_prefill if mode == "disagg" else 0)
    if mode == "prefill_only":
        return {"input_tokens_per_s_per_prefill_gpu": isl / n_prefill / (times["ttft_ms"] * _MS)}
    return {
        **times,
        "total_tokens_per_s_per_gpu": requests_per_s * (isl + osl) / n_gpus,
        "output_tokens_per_s_per_gpu": requests_per_s * osl / n_gpus,
        "output_tokens_per_s_per_decode_gpu": requests_per_s * osl / n_decode,
        "input_tokens_per_s_per_prefill_gpu": requests_per_s * isl / n_prefill,
    }


def nearest_points(rows: Sequence[ServingRow]) -> dict[str, dict[str, float | None]]:
    """Return the nearest measured point of another curve, scaled by peak HBM bandwidth.

    Nearness is the sum of logarithms between users per GPU, lengths and bytes of a weight,
    with a fixed distance for another model, phase, engine or speculation.

    Parameters
    ----------
    rows : sequence of ServingRow
        The rows.

    Returns
    -------
    dict of str to dict
        Figures by id and column, in milliseconds and tokens per second and GPU.
    """
    known = _known(rows)
    machines = {name: _machine(name) for name in {row.text("hardware") for row in known}}
    found: dict[str, dict[str, float | None]] = {row.id: dict.fromkeys(FIGURES) for row in rows}
    asked = {row.id: _asked(row) for row in known}
    numbers = {row.id: np.log(_numbers(row)) for row in known}
    for row in known:
        steps = np.abs(np.array([numbers[one.id] for one in known]) - numbers[row.id]).sum(axis=1)
        far = np.round(steps + [_difference(row, one) for one in known], _DIGITS)
        for metric, column in asked[row.id].items():
            others = [
                place
                for place, one in enumerate(known)
                if one.curve != row.curve and metric in asked[one.id] and one.number(column)
            ]
            if others:
                near = known[min(others, key=far.__getitem__)]
                found[row.id][column] = _scaled(near, row, column=column, machines=machines)
    return found


def _asked(row: ServingRow) -> dict[str, str]:
    """Return the column of every figure that a row is scored on."""
    columns = {"tpot": "tpot_ms", "ttft": "ttft_ms", "throughput": measured_throughput(row) or ""}
    return {metric: columns[metric] for metric in row_errors(row, figures={})}


def _scaled(
    near: ServingRow, row: ServingRow, *, column: str, machines: Mapping[str, Machine]
) -> float:
    there, here = (
        machines[one.text("hardware")].gpu.hbm_bandwidth_bytes_per_s for one in (near, row)
    )
    value = near.number(column) or 0.0
    return value * there / here if column.endswith("_ms") else value * here / there


def _difference(row: ServingRow, other: ServingRow) -> float:
    """Return how much farther a row of another kind is."""
    distance = 0.0
    for name, cost in (
        ("model", _OTHER_MODEL),
        ("mode", _OTHER_MODE),
        ("engine", _OTHER_ENGINE),
        ("mtp", _OTHER_SPECULATION),
    ):
        distance += cost * (row.text(name) != other.text(name))
    return distance


def _numbers(row: ServingRow) -> tuple[float, ...]:
    n_gpus = max(row.gpus("decode") or row.gpus("prefill"), 1)
    bits = {"nvfp4": 4.0, "mxfp4": 4.0, "int4": 4.0, "fp8": 8.0}
    return (
        _users(row) / n_gpus,
        float(n_gpus),
        float(max(row.count("isl"), 1)),
        float(max(row.count("osl"), 1)),
        bits.get(row.text("weights_dtype"), 16.0),
    )
