"""What the published recipes of a benchmark say about its engines, beyond a row's cells."""

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from rackmoe.errors import ConfigError
from rackmoe.schema.shipped import shipped_folder

__all__ = [
    "MOST_USERS",
    "Recipe",
    "published_recipe",
    "recipe_cells",
    "recipe_drafts",
    "recipe_frontends",
    "recipe_redundant_experts",
    "recipe_running",
]

MOST_USERS: Final = "most_users"
"""Not a column of the file: most users among the points that share their decode engines.

Powers of two apart, which are sweeps of other recipes."""

_FILE: Final = "serving_recipes.csv"
_NAME: Final = re.compile(
    r"ctx(?P<contexts>\d+)_gen(?P<engines>\d+)_(?P<kind>tp|tep|dep)(?P<gpus>\d+)"
    r"_batch(?P<slots>\d+)_eplb(?P<balanced>\d+)_mtp(?P<drafts>\d)"
)
_KEY: Final = ("hardware", "weights_dtype", "isl", "osl")
_SAME_ENGINES: Final = ("curve", "decode_workers", "decode_tp", "decode_attention_dp")

# SGLang's --speculative-num-steps in the recipes for DeepSeek-R1 on B200, H100 and GB200
# (InferenceX, benchmarks/dsr1_fp8_b200_mtp.sh; srt-slurm, recipes/b200-fp4/8k1k-mtp.yaml and
# recipes/h100): 2, of which 3 tokens are verified.
_SGLANG_DRAFTS: Final = 2
# num_nextn_predict_layers of aggregated TensorRT-LLM (InferenceX, dsr1_fp4_b200_trt_mtp.sh and
# dsr1_fp8_b200_trt_mtp.sh): 1 with data-parallel attention, else 3.
_DATA_PARALLEL_DRAFTS: Final = 1
_DRAFTS: Final = 3
# Routed experts of DeepSeek-R1; "eplb288" in a name is 288 slots, "eplb0" no balancer.
_EXPERTS: Final = 256
# --ep-num-redundant-experts of SGLang's engines with DeepEP on racks (srt-slurm,
# recipes/gb200-fp8/1k1k/max-tpt.yaml, gb200-fp4/1k1k/mid-curve.yaml and their like for GB300):
# those that decode, and with FP8 weights those that prefill.
_DEEPEP_REDUNDANT: Final = 32
_RACKS: Final = frozenset({"gb200_nvl72", "gb300_nvl72"})
_DEEPEP_WEIGHTS: Final[Mapping[str, frozenset[str]]] = {
    "decode": frozenset({"fp8", "nvfp4"}),
    "prefill": frozenset({"fp8"}),
}
# --max-running-requests of SGLang's decode engines with drafts, over all attention groups
# (srt-slurm, recipes/h200/1k1k/bs256-1p6d-dep-mtp.yaml, recipes/b200-fp4/8k1k-mtp.yaml).
_RUNNING: Final[Mapping[str, int]] = {"hgx_h200": 128, "hgx_b200": 512}
# Frontends of a disaggregated run (srt-slurm, docs, "frontend"): nginx in front of 1 + 9 by
# default. The recipes of TensorRT-LLM on GB300, H200 and H100, and on B200 with FP8 weights,
# switch them off (recipes/trtllm/*, enable_multiple_frontends: false); those of SGLang on B200
# have 1 + 4 (recipes/b200-fp4/8k1k-mtp.yaml).
_FRONTENDS: Final[Mapping[tuple[str, str, str], int]] = {
    ("trtllm", "gb200_nvl72", "nvfp4"): 10,
    ("trtllm", "gb200_nvl72", "fp8"): 10,
    ("trtllm", "hgx_b200", "nvfp4"): 10,
    ("sglang", "gb200_nvl72", "nvfp4"): 10,
    ("sglang", "gb200_nvl72", "fp8"): 10,
    ("sglang", "gb300_nvl72", "nvfp4"): 10,
    ("sglang", "gb300_nvl72", "fp8"): 10,
    ("sglang", "hgx_b200", "nvfp4"): 5,
    ("sglang", "hgx_h200", "fp8"): 10,
    ("sglang", "hgx_h100", "fp8"): 10,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Limits of the decode engines of a benchmark run.

    Attributes
    ----------
    slots : int
        Sequences that an attention group decodes.
    drafts : int
        Speculative tokens of a step; 0 without speculation.
    is_data_parallel : bool
        Whether each GPU is an attention group of its own; all share one otherwise.
    redundant_experts : int
        Slots for copies of experts.
    """

    slots: int
    drafts: int
    is_data_parallel: bool
    redundant_experts: int


def published_recipe(cells: Mapping[str, str]) -> Recipe | None:
    """Return the recipe of a disaggregated TensorRT-LLM run.

    The recipes of InferenceX are named after their engines (``ctx1_gen4_tep8_batch32_eplb0_mtp0``:
    one prefill and four decode engines with tensor-parallel attention over 8 GPUs, 32
    sequences of each attention group, no drafts) and listed with the numbers of users that
    they were run with. The list calls the attention of one of them data-parallel that is
    tensor-parallel by its name; the name decides.

    Parameters
    ----------
    cells : mapping of str to str
        The cells of a row of measured serving points.

    Returns
    -------
    Recipe or None
        None where no recipe has the engines, lengths and users of the row.
    """
    if cells.get("engine") != "trtllm" or not _is_split(cells):
        return None
    key = _row_key(cells)
    is_data_parallel = _number(cells, "decode_attention_dp") > 1
    own, other = (
        _recipes().get((*key, kind)) for kind in (is_data_parallel, not is_data_parallel)
    )
    return own or other


def recipe_drafts(cells: Mapping[str, str]) -> int:
    """Return the drafts of a run that speculates, where its source does not say.

    Parameters
    ----------
    cells : mapping of str to str
        The cells of a row of measured serving points.

    Returns
    -------
    int
        Speculative tokens of a step.
    """
    recipe = published_recipe(cells)
    if recipe is not None:
        return recipe.drafts
    if cells.get("engine") == "sglang":
        return _SGLANG_DRAFTS
    is_spread = cells.get("mode") == "agg" and _number(cells, "decode_attention_dp") > 1
    if cells.get("engine") == "trtllm" and is_spread and _is_random(cells):
        return _DATA_PARALLEL_DRAFTS
    return _DRAFTS


def recipe_redundant_experts(cells: Mapping[str, str], *, phase: str) -> int:
    """Return the copies of experts that the engines of a row have room for.

    Parameters
    ----------
    cells : mapping of str to str
        The cells of a row of measured serving points.
    phase : str
        ``prefill`` or ``decode``: whose engines.

    Returns
    -------
    int
        Over all ranks of an engine; 0 where the recipe has none.
    """
    recipe = published_recipe(cells)
    if recipe is not None:
        return recipe.redundant_experts if phase == "decode" else 0
    is_deepep = cells.get("engine") == "sglang" and cells.get("hardware") in _RACKS
    is_spread = _number(cells, f"{phase}_attention_dp") > 1
    if not is_deepep or not is_spread or not _is_split(cells) or not _is_random(cells):
        return 0
    return _DEEPEP_REDUNDANT if cells["weights_dtype"] in _DEEPEP_WEIGHTS[phase] else 0


def recipe_running(cells: Mapping[str, str]) -> int | None:
    """Return the sequences that a decode engine of a row runs at once.

    Parameters
    ----------
    cells : mapping of str to str
        The cells of a row of measured serving points.

    Returns
    -------
    int or None
        Over all attention groups; None where its recipe does not bound them.
    """
    if not _is_split(cells) or cells.get("engine") != "sglang" or cells.get("mtp") != "on":
        return None
    return _RUNNING.get(cells.get("hardware", ""))


def recipe_frontends(cells: Mapping[str, str]) -> int:
    """Return the frontends that deal requests to the engines of a row.

    Parameters
    ----------
    cells : mapping of str to str
        The cells of a row of measured serving points.

    Returns
    -------
    int
        1 unless the recipe is one of srt-slurm's for DeepSeek-R1 that has several.
    """
    if not _is_split(cells) or not _is_random(cells):
        return 1
    kind = cells.get("engine", ""), cells.get("hardware", ""), cells.get("weights_dtype", "")
    return _FRONTENDS.get(kind, 1)


def recipe_cells(rows: Iterable[Mapping[str, str]]) -> tuple[dict[str, str], ...]:
    """Fill in what the recipes of rows say.

    Parameters
    ----------
    rows : iterable of mapping of str to str
        The cells of rows of measured serving points.

    Returns
    -------
    tuple of dict of str to str
        With drafts where the source does not say them, and `MOST_USERS`.
    """
    filled = [dict(cells) for cells in rows]
    most: dict[tuple[str, ...], int] = {}
    for cells in filled:
        engines = tuple(cells.get(name, "") for name in _SAME_ENGINES)
        users = _number(cells, "concurrency")
        if users & (users - 1):
            most[engines] = max(most.get(engines, 0), users)
    for cells in filled:
        engines = tuple(cells.get(name, "") for name in _SAME_ENGINES)
        cells[MOST_USERS] = str(most.get(engines, 0))
        if cells.get("mtp") == "on" and not cells.get("mtp_draft_tokens"):
            cells["mtp_draft_tokens"] = str(recipe_drafts(cells))
    return tuple(filled)


def _is_split(cells: Mapping[str, str]) -> bool:
    return cells.get("mode") == "disagg" and cells.get("model") == "deepseek-r1"


def _is_random(cells: Mapping[str, str]) -> bool:
    """Return whether the benchmark with these recipes ran it: it sends random tokens."""
    return cells.get("routing") == "uniform_random"


def _number(cells: Mapping[str, str], column: str) -> int:
    value = float(cells.get(column) or 0)
    return 0 if math.isinf(value) else int(value)


def _row_key(cells: Mapping[str, str]) -> tuple[str, ...]:
    gpus = max(_number(cells, "decode_attention_dp"), 1) * max(_number(cells, "decode_tp"), 1)
    return (
        *(cells.get(name, "") for name in _KEY[:2]),
        *(str(_number(cells, name)) for name in _KEY[2:]),
        str(_number(cells, "prefill_workers")),
        str(_number(cells, "decode_workers")),
        str(gpus),
        "drafts" if cells.get("mtp") == "on" else "none",
        str(_number(cells, "concurrency")),
    )


@cache
def _recipes() -> dict[tuple[str | bool, ...], Recipe]:
    path = shipped_folder("scenarios/calibration") / _FILE
    found: dict[tuple[str | bool, ...], Recipe] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            name = _NAME.fullmatch(row["recipe"])
            if name is None:
                raise ConfigError(
                    f"{_FILE}: recipe '{row['recipe']}'; expected a name such as "
                    "ctx1_gen4_tep8_batch32_eplb0_mtp0; correct it"
                )
            for users in row["concurrencies"].split():
                key = (
                    *(row[column] for column in _KEY),
                    name["contexts"],
                    name["engines"],
                    name["gpus"],
                    "drafts" if name["drafts"] != "0" else "none",
                    users,
                )
                recipe = Recipe(
                    slots=int(name["slots"]),
                    drafts=int(name["drafts"]),
                    is_data_parallel=name["kind"] == "dep",
                    redundant_experts=max(0, int(name["balanced"]) - _EXPERTS),
                )
                found[*key, recipe.is_data_parallel] = recipe
    return found
