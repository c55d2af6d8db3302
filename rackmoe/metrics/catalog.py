"""What each figure means: name, unit and definition of every metric."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rackmoe.errors import ConfigError
from rackmoe.metrics.statistics import LOWER_TAIL, UPPER_TAIL, statistic_name
from rackmoe.records import BREAKDOWN_COLUMNS, STEP_COLUMNS

__all__ = ["METRICS", "Metric", "define_metric"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of merit.

    Parameters
    ----------
    name : str
        Name with its unit as suffix.
    unit : str
        Unit, ``1`` for counts and ratios.
    definition : str
        What it measures, in one line.
    """

    name: str
    unit: str
    definition: str


_QUANTITIES = {
    "ttft_s": "arrival to first output token, queueing included",
    "tpot_s": "(e2e_s - ttft_s) / (n_output_tokens - 1) of a request; undefined for one token",
    "itl_s": "one gap between consecutive output tokens, over all tokens of the window's steps",
    "e2e_s": "arrival to last output token",
    "queue_s": "arrival to the start of the first prefill step",
    "prefill_s": "start of the first prefill step to the end of the prompt",
    "transfer_s": "end of the prompt to the arrival of its KV cache at the decode replica",
    "decode_s": "rest of e2e_s after queue, prefill and transfer, preemptions included",
}

_STATISTICS = {
    "mean": "mean",
    **{
        statistic: f"percentile {statistic[1:]} (linear interpolation)"
        for statistic in dict.fromkeys((*UPPER_TAIL, *LOWER_TAIL))
        if statistic != "mean"
    },
}

_INTERACTIVITY = "1 / tpot_s: output tokens per second that one user sees"

_PLAIN = (
    ("window_s", "s", "length of the measurement window"),
    ("n_requests", "1", "requests that arrived within the window"),
    ("n_done", "1", "those of them that were done when the run ended"),
    ("n_rejected", "1", "those of them that were turned away"),
    ("n_preemptions", "1", "times that one of them lost its KV cache and was queued again"),
    ("n_swaps", "1", "preempted sequences whose cache was copied to host memory"),
    ("n_swaps_refused", "1", "preempted sequences computed again: host memory was full"),
    ("swap_out_bytes", "B", "caches copied from GPUs to host memory, over the run"),
    ("serving_gpu_hours", "h", "GPU-hours of replicas that served or finished their requests"),
    ("loading_gpu_hours", "h", "GPU-hours of replicas that loaded their weights"),
    ("off_gpu_hours", "h", "GPU-hours of replicas that were switched off"),
    ("failed_gpu_hours", "h", "GPU-hours of replicas that waited for a repair"),
    ("serving_replicas_mean", "1", "replicas that served, mean over the window"),
    ("swap_in_bytes", "B", "caches copied back from host memory, over the run"),
    ("requests_in_system_mean", "1", "mean number of requests waiting or served"),
    ("output_tokens_per_s", "1/s", "output tokens that came out within the window, per second"),
    ("input_tokens_per_s", "1/s", "prompt tokens processed within the window, per second"),
    ("total_tokens_per_s", "1/s", "input + output tokens per second"),
    ("output_tokens_per_s_per_gpu", "1/s", "output_tokens_per_s over all GPUs"),
    ("total_tokens_per_s_per_gpu", "1/s", "total_tokens_per_s over all GPUs"),
    ("output_tokens_per_s_per_decode_gpu", "1/s", "output_tokens_per_s over the decode GPUs"),
    ("input_tokens_per_s_per_prefill_gpu", "1/s", "input_tokens_per_s over the prefill GPUs"),
    ("completed_requests_per_s", "1/s", "requests that were done within the window, per second"),
    (
        "goodput_requests_per_s",
        "1/s",
        "requests done within the window that meet every SLO, per second",
    ),
    ("slo_met_frac", "1", "requests that meet every SLO, of those that arrived in the window"),
    (
        "prefix_hit_frac",
        "1",
        "prompt tokens found in a prefix cache, of those of the requests that were scheduled",
    ),
    (
        "output_ci95_tokens_per_s",
        "1/s",
        "half-width of the 95 % confidence interval of output_tokens_per_s, by batch means",
    ),
    ("ttft_mean_ci95_s", "s", "half-width of the 95 % confidence interval of ttft_mean_s"),
    ("tpot_mean_ci95_s", "s", "half-width of the 95 % confidence interval of tpot_mean_s"),
    (
        "settled_after_s",
        "s",
        "time from the start of the window until the TTFT has settled, by MSER-5",
    ),
    ("stepping_frac", "1", "share of the window in which a replica runs a step, mean"),
    ("gpu_busy_frac", "1", "share of the window in which the GPUs of a replica work, mean"),
    (
        "decode_batch_mean",
        "1",
        "sequences that decode in a step of one replica, mean over the time of such steps",
    ),
    ("imbalance_mean", "1", "max / mean expert load of the ranks, mean over step time"),
    ("it_power_w", "W", "mean power of GPU, CPU, NIC, switch, fan and conversion"),
    ("facility_power_w", "W", "it_power_w x PUE"),
    ("provisioned_power_w", "W", "nameplate IT power that the rack must be supplied with"),
    ("it_energy_j", "J", "it_power_w x window_s"),
    ("output_tokens_per_j", "1/J", "output tokens over IT energy"),
    ("total_tokens_per_j", "1/J", "input + output tokens over IT energy"),
    ("energy_per_output_token_j", "J", "IT energy over output tokens"),
    ("output_tokens_per_s_per_mw", "1/s/MW", "output_tokens_per_s per megawatt of it_power_w"),
    (
        "output_tokens_per_s_per_facility_mw",
        "1/s/MW",
        "output_tokens_per_s per megawatt of facility_power_w",
    ),
    (
        "output_tokens_per_s_per_provisioned_mw",
        "1/s/MW",
        "output_tokens_per_s per megawatt of provisioned_power_w",
    ),
    ("cost_usd_per_h", "USD/h", "GPUs times the cost of a GPU-hour"),
    ("usd_per_million_output_tokens", "USD/1e6", "whole cost over the output tokens"),
    ("usd_per_million_total_tokens", "USD/1e6", "whole cost over input + output tokens"),
    ("revenue_usd_per_h", "USD/h", "tokens per hour times their prices"),
    ("revenue_usd_per_h_per_rack", "USD/h", "revenue_usd_per_h over the racks"),
    ("revenue_usd_per_h_per_mw", "USD/h/MW", "revenue_usd_per_h per megawatt of it_power_w"),
    ("margin_frac", "1", "1 - cost / revenue"),
)


def _all_metrics() -> dict[str, Metric]:
    found = [Metric(name=name, unit=unit, definition=text) for name, unit, text in _PLAIN]
    for quantity, text in _QUANTITIES.items():
        found.append(Metric(name=quantity, unit="s", definition=text))
        found += [
            Metric(
                name=statistic_name(quantity, statistic=statistic),
                unit="s",
                definition=f"{_STATISTICS[statistic]} of {quantity}: {text}",
            )
            for statistic in UPPER_TAIL
        ]
    quantity = "interactivity_tokens_per_s"
    found.append(Metric(name=quantity, unit="1/s", definition=_INTERACTIVITY))
    found += [
        Metric(
            name=statistic_name(quantity, statistic=statistic),
            unit="1/s",
            definition=f"{_STATISTICS[statistic]} over the users of {_INTERACTIVITY}",
        )
        for statistic in LOWER_TAIL
    ]
    meanings = {column.name: column.meaning for column in STEP_COLUMNS}
    found += [
        Metric(
            name=f"{part.removesuffix('_s')}_time_frac",
            unit="1",
            definition=f"share of the step time, mean over the ranks: {meanings[part]}",
        )
        for part in BREAKDOWN_COLUMNS
    ]
    return {metric.name: metric for metric in found}


METRICS: Mapping[str, Metric] = MappingProxyType(_all_metrics())
"""Every metric, by name."""


def define_metric(name: str) -> Metric:
    """Return the definition of a metric.

    Parameters
    ----------
    name : str
        A key of `METRICS`.

    Returns
    -------
    Metric
        Name, unit and definition.

    Raises
    ------
    ConfigError
        If there is no such metric; the message suggests one.
    """
    if name in METRICS:
        return METRICS[name]
    near = difflib.get_close_matches(name, METRICS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(METRICS)}"
    raise ConfigError(f"{name}: unknown metric; {hint}")
