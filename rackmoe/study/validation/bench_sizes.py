"""How large TensorRT-LLM's benchmark tool builds an engine where nobody says it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from rackmoe.hardware.profile import load_machine
from rackmoe.model.config import load_model
from rackmoe.model.memory import MemoryBudget, Sharding, check_fit

__all__ = ["bench_limits", "bench_sizes"]

# Share of the free memory that trtllm-bench counts on (kv_cache_free_gpu_mem_fraction), and
# the cache of its options in TensorRT-LLM's perf-overview.md.
_CACHE_FRAC: Final = 0.9
_CACHE_FORMAT: Final = "fp8"

# tensorrt_llm/bench/build/tuning.py: most sequences, most tokens of a step, and the steps in
# which both are rounded up, by the value below which each applies.
_MOST_SEQUENCES: Final = 4096
_MOST_TOKENS: Final = 32_768
_FEWEST_SEQUENCES: Final = 64
_FEWEST_TOKENS: Final = 2048
_SEQUENCE_STEPS: Final = ((256, 32), (1024, 128), (math.inf, 256))
_TOKEN_STEPS: Final = ((4096, 256), (8192, 512), (math.inf, 1024))


def bench_limits(
    cells: Mapping[str, str], *, pool: Mapping[str, Any], model: Mapping[str, str | None]
) -> dict[str, int]:
    """Return the limits of the engine that serves a batch of requests.

    Parameters
    ----------
    cells : mapping of str to str
        The cells of a row of measured serving points.
    pool, model : mapping
        Pool and model of its scenario.

    Returns
    -------
    dict of str to int
        ``max_batch_per_rank`` and ``max_tokens_per_step`` of the pool.
    """
    arch = load_model(cells["model"], weights=model["weights"])
    # the tool counts every layer as a full one
    full = replace(arch, layers=replace(arch.layers, windows=(None,) * arch.n_layers))
    machine = load_machine(cells["hardware"])
    plan = check_fit(
        full,
        sharding=Sharding(tp=pool["tp"], attention_dp=pool["attention_dp"], ep=pool["ep"]),
        budget=MemoryBudget(
            hbm_bytes=machine.gpu.hbm_bytes, usable_frac=_CACHE_FRAC, is_share_of_free=True
        ),
        kv_dtype=model["kv_cache"] or _CACHE_FORMAT,
    )
    n_sequences, n_tokens = bench_sizes(
        cached_tokens=pool["attention_dp"] * plan.capacity_tokens(),
        n_input_tokens=int(float(cells["isl"])),
        n_output_tokens=max(1, int(float(cells["osl"]))),
    )
    return {"max_batch_per_rank": n_sequences, "max_tokens_per_step": n_tokens}


def bench_sizes(
    *, cached_tokens: int, n_input_tokens: int, n_output_tokens: int
) -> tuple[int, int]:
    """Return the sequences and tokens of a step that ``trtllm-bench`` allows.

    It asks how many sequences of the data set the cache holds, all GPUs together, and takes
    prompts to arrive as fast as outputs end. A prompt is never cut, so that one fits beside
    all decoding sequences (``tensorrt_llm/bench/benchmark/utils/general.py``).

    Parameters
    ----------
    cached_tokens : int
        Tokens that fit the caches of all attention groups, a count.
    n_input_tokens, n_output_tokens : int
        Lengths of a request, counts.

    Returns
    -------
    n_sequences, n_tokens : int
        Largest batch and largest step of an attention group, counts.
    """
    n_fitting = cached_tokens / (n_input_tokens + n_output_tokens)
    n_raw = min(n_fitting, float(_MOST_SEQUENCES))
    n_raw_tokens = min(n_raw * (1 + n_input_tokens / n_output_tokens), float(_MOST_TOKENS))
    n_sequences = max(_FEWEST_SEQUENCES, _rounded_up(n_raw, steps=_SEQUENCE_STEPS))
    n_tokens = max(_FEWEST_TOKENS, _rounded_up(n_raw_tokens, steps=_TOKEN_STEPS))
    return n_sequences, max(n_tokens, n_input_tokens + n_sequences)


def _rounded_up(value: float, *, steps: tuple[tuple[float, int], ...]) -> int:
    step = next(step for below, step in steps if value < below)
    return step * math.ceil(value / step)
