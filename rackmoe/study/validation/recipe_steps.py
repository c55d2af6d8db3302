"""How many tokens a step of a benchmark recipe takes."""

from collections.abc import Mapping
from typing import Final

__all__ = ["recipe_step_tokens"]

# SGLang's --chunked-prefill-size in the recipes for DeepSeek-R1, which attention groups share
# (InferenceX, benchmarks/dsr1_fp8_b200.sh, dsr1_fp4_b200.sh and dsr1_fp8_h200.sh; srt-slurm,
# recipes/b200-*, gb200-*, h200 and h100).
_SGLANG_AGGREGATED: Final[Mapping[tuple[str, str, int], int]] = {
    ("hgx_b200", "fp8", 8): 32_768,
    ("hgx_b200", "fp8", 4): 8192,
    ("hgx_b200", "nvfp4", 8): 16_384,
    ("hgx_b200", "nvfp4", 4): 16_384,
    ("hgx_h200", "fp8", 8): 32_768,
}
_SGLANG_SPLIT: Final[Mapping[tuple[str, str], int]] = {
    ("hgx_b200", "1024"): 32_768,
    ("hgx_b200", "8192"): 32_768,
    ("hgx_h200", "1024"): 163_840,
    ("hgx_h200", "8192"): 32_768,
    ("hgx_h100", "1024"): 2048,
    ("hgx_h100", "8192"): 2048,
}
# On a rack 131072 over 8 groups with FP8 weights, 65536 over 4 with NVFP4
# (gb200-fp8/1k1k/max-tpt.yaml, gb200-fp4/1k1k/mid-curve.yaml); without groups 131072 for each of
# several engines (gb300-fp4/8k1k/mid_curve.yaml), 8192 for a single one (low-latency.yaml).
_SGLANG_SINGLE: Final = 8192
_SGLANG_RACK_ENGINE: Final = 131_072
_SGLANG_RACK_GROUP: Final = 16_384
_RACKS: Final = frozenset({"gb200_nvl72", "gb300_nvl72"})
# max_num_tokens of TensorRT-LLM's context servers (srt-slurm, recipes/trtllm), rounded.
_CONTEXT_TOKENS: Final = 16_384
_CONTEXT_TOKENS_H100: Final = 2048
# Aggregated TensorRT-LLM with drafts (InferenceX, dsr1_fp4_b200_trt_mtp.sh): whole prompts and
# the decoding batch, in multiples of 64; without drafts at least 8192, as in the profile.
_ROUND, _EXTRA = 64, 127
# --max_num_tokens of TensorRT-LLM for gpt-oss (InferenceX, gptoss_fp4_h200_trt.sh).
_GPT_OSS_TOKENS: Final = 20_000


def recipe_step_tokens(
    *, cells: Mapping[str, str], phase: str, tp: int, n_groups: int, draft_tokens: int
) -> int | None:
    """Return the tokens of an attention group in a step that the recipe of a row allows.

    Parameters
    ----------
    cells : mapping of str to str
        The cells of a row of measured serving points.
    phase : str
        ``prefill`` or ``decode``: whose engines; aggregated ones are those of ``decode``.
    tp, n_groups : int
        GPUs of an attention group, and groups of a replica.
    draft_tokens : int
        Speculative tokens of a step.

    Returns
    -------
    int or None
        None where the profile of the engine decides: the recipes are those of DeepSeek-R1 and
        gpt-oss with random tokens.
    """
    of_gpt_oss = ("gpt-oss-120b", "hgx_h200", "trtllm", "closed")
    if tuple(cells.get(name) for name in ("model", "hardware", "engine", "arrival")) == of_gpt_oss:
        return _GPT_OSS_TOKENS
    cells_of_recipes = {"model": "deepseek-r1", "routing": "uniform_random", "arrival": "closed"}
    if any(cells.get(name) != value for name, value in cells_of_recipes.items()):
        return None
    is_prefill = phase == "prefill"
    is_decoding_only = cells["mode"] == "disagg" and not is_prefill
    if is_decoding_only or cells.get("engine") not in {"sglang", "trtllm"}:
        return None
    if cells["engine"] == "sglang":
        return _sglang(cells, is_prefill=is_prefill, tp=tp, n_groups=n_groups)
    if is_prefill:
        return _CONTEXT_TOKENS_H100 if cells["hardware"] == "hgx_h100" else _CONTEXT_TOKENS
    return _with_drafts(cells, n_groups=n_groups, draft_tokens=draft_tokens)


def _with_drafts(cells: Mapping[str, str], *, n_groups: int, draft_tokens: int) -> int | None:
    if not draft_tokens:
        return None
    sequences = int(float(cells["concurrency"])) // n_groups
    tokens = (1 + draft_tokens) * sequences + int(float(cells["isl"]))
    return (tokens + _EXTRA) // _ROUND * _ROUND


def _sglang(cells: Mapping[str, str], *, is_prefill: bool, tp: int, n_groups: int) -> int | None:
    hardware = cells["hardware"]
    if is_prefill and hardware in _RACKS:
        is_single = int(float(cells["prefill_workers"])) == 1
        whole = _SGLANG_SINGLE if is_single else _SGLANG_RACK_ENGINE
        return _SGLANG_RACK_GROUP if n_groups > 1 else whole
    if is_prefill:
        shared = _SGLANG_SPLIT.get((hardware, str(int(float(cells["isl"])))))
    else:
        shared = _SGLANG_AGGREGATED.get((hardware, cells["weights_dtype"], tp * n_groups))
    return None if shared is None else max(shared // n_groups, 1)
