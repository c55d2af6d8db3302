"""Which scenario a row of measured serving points stands for."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import load_machine
from rackmoe.model.config import load_model
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.study.validation.bench_sizes import bench_limits
from rackmoe.study.validation.points_csv import PointColumns, read_points
from rackmoe.study.validation.recipe_intake import recipe_intake_steps
from rackmoe.study.validation.recipe_slots import recipe_slots
from rackmoe.study.validation.recipe_steps import recipe_step_tokens
from rackmoe.study.validation.recipe_table import (
    MOST_USERS,
    published_recipe,
    recipe_cells,
    recipe_drafts,
    recipe_frontends,
    recipe_redundant_experts,
    recipe_running,
)
from rackmoe.study.validation.row_backends import dated_backend

__all__ = [
    "CLIENT_ROUNDS",
    "ServingRow",
    "loop_rounds",
    "read_serving_points",
    "row_backend",
    "row_document",
]

# Requests per user of a benchmark (scenarios/calibration/serving_points.csv: prompts are 10 x
# concurrency, after a warm-up that has ended).
CLIENT_ROUNDS: Final = 10
# Speculative tokens that fits compare acceptance at.
DEFAULT_DRAFTS: Final = 3
# Full steps of a saturated prefill; the first ones are like the last ones.
PREFILL_STEPS: Final = 5
# Rounds beyond the first of a saturated decode, which starts in its stationary state.
_DECODE_ROUNDS: Final = 1.5
# Bounds on the cost of one row: requests, and output tokens of one user after the other.
_MAX_REQUESTS: Final = 2000
_MAX_TOKENS_IN_A_ROW: Final = 40_000
_MIN_ROUNDS, _MAX_ROUNDS = 3, 5
# Steps whose load differs by less than this share one plan.
_STEP_TOLERANCE: Final = 0.03
# Routing of prompts that people wrote, where nobody recorded it.
_REAL_ROUTING: Final = "deepseek_chat"

# Sequences of an attention group where a recipe admits fewer users than the engine could hold.
_DEFAULT_SLOTS: Final = 512
_COLUMNS: Final = PointColumns(
    required=(
        *("id", "curve", "trust", "hardware", "model", "engine", "mode"),
        *("isl", "osl", "arrival"),
    ),
    numeric=frozenset(
        {
            *("n_gpus", "redundant_experts", "mtp_draft_tokens", "isl", "osl", "concurrency"),
            *("rate_per_s", "batch_per_gpu", "tpot_ms", "ttft_ms"),
            *("total_tokens_per_s_per_gpu", "output_tokens_per_s_per_gpu"),
            *("output_tokens_per_s_per_decode_gpu", "input_tokens_per_s_per_prefill_gpu"),
            *(
                f"{phase}_{name}"
                for phase in ("prefill", "decode")
                for name in ("workers", "tp", "ep", "attention_dp")
            ),
        }
    ),
    # a rate without bound is a batch that comes at once
    unbounded=frozenset({"rate_per_s", "concurrency"}),
    filled=frozenset({"id", "curve", "hardware", "model", "engine", "mode"}),
    example="scenarios/calibration/serving_points.csv",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingRow:
    """One measured point.

    Attributes
    ----------
    cells : mapping of str to str
        The cells of the file by column.
    """

    cells: Mapping[str, str]

    @property
    def id(self) -> str:
        """Name of the point."""
        return self.cells["id"]

    @property
    def curve(self) -> str:
        """Points measured alike."""
        return self.cells["curve"]

    def text(self, column: str) -> str:
        """Return a cell; empty where the source does not say."""
        return self.cells.get(column, "")

    def number(self, column: str) -> float | None:
        """Return a cell as a number; None where the source does not say."""
        text = self.text(column)
        return float(text) if text else None

    def count(self, column: str, *, default: int = 0) -> int:
        """Return a cell as a whole number."""
        value = self.number(column)
        return default if value is None or math.isinf(value) else int(value)

    def gpus(self, phase: str) -> int:
        """Return the GPUs of a phase's replicas, a count."""
        if not self.text(f"{phase}_workers"):
            return 0
        tp = self.count(f"{phase}_tp", default=1)
        groups = self.count(f"{phase}_attention_dp", default=1)
        return self.count(f"{phase}_workers", default=1) * tp * groups


def read_serving_points(path: str | Path) -> tuple[ServingRow, ...]:
    """Return the rows of a file of measured serving points.

    Parameters
    ----------
    path : str or pathlib.Path
        A CSV file with the columns of ``scenarios/calibration/serving_points.csv``.

    Returns
    -------
    tuple of ServingRow
        In the order of the file.

    Raises
    ------
    ConfigError
        If the file is damaged, as `read_points` says.
    """
    cells = read_points(path, columns=_COLUMNS)
    return tuple(ServingRow(cells=one) for one in recipe_cells(cells))


def loop_rounds(row: ServingRow) -> int:
    """Return how many requests each user of a closed loop sends one after the other.

    Parameters
    ----------
    row : ServingRow
        A row with a closed loop.

    Returns
    -------
    int
        From 3 to 5; fewer where requests or outputs would be too many.
    """
    by_requests = _MAX_REQUESTS // max(1, row.count("concurrency", default=1))
    replicas = row.count("decode_workers", default=1)
    by_tokens = _MAX_TOKENS_IN_A_ROW // max(1, row.count("osl", default=1) * replicas)
    return max(_MIN_ROUNDS, min(_MAX_ROUNDS, by_requests, by_tokens))


def row_backend(row: ServingRow) -> str:
    """Return the name of the backend profile of a row, by `dated_backend`."""
    return dated_backend(row.text("engine"), date=row.text("source_date"), place=row.id)


def row_document(row: ServingRow) -> ScenarioDocument:
    """Return the scenario of a row.

    A blank cell takes the default of the engine's profile. The rules, in the order of use:

    1.  The backend is that of the row's engine (`ENGINES`) in the half-year of its
        ``source_date``, or the nearest one that ships (`dated_backend`).
    2.  The GPUs of a replica are ``tp x attention_dp``; where the name of the row's recipe says
        how they share the attention, it decides (`published_recipe`). With ``ep`` above 1,
        whole experts are spread over all of them; otherwise every expert is split over them.
    3.  Redundant experts are those of the row, or of its recipe (`recipe_redundant_experts`),
        and as few more as make the experts divide.
    4.  The machine has as many racks or nodes as the pools of the row need.
    5.  NVFP4 checkpoints bring an FP8 cache, and so do SGLang's recipes for GPUs with FP4
        units (``kv-cache-dtype: fp8_e4m3`` in NVIDIA's srt-slurm). On GPUs without FP4 units,
        gpt-oss and the plain benchmark runs (a batch) keep the BF16 cache of their
        checkpoint. Others take that of the backend.
    6.  TensorRT-LLM multiplies MXFP4 experts with FP8 tokens where the GPU has FP4 units.
        The NVFP4 checkpoint of DeepSeek-R1 is the second one (InferenceX:
        nvidia/DeepSeek-R1-0528-FP4-V2), with the last projection of attention in NVFP4.
    7.  Speculation without a number of drafts has that of its recipe (`recipe_drafts`).
    8.  A closed loop starts empty, as the benchmark clients do. Of its `CLIENT_ROUNDS`
        requests per user the first few are simulated (`loop_rounds`); the later ones of them
        stand for the rest, the burst at the start for itself alone.
    9.  A batch sends all requests at once; so does a Poisson process of infinite rate.
    10. A saturated decode starts in its stationary state, its prompts computed by nobody.
        Without a batch size, each GPU holds what the backend and the memory allow.
    11. A saturated prefill computes `PREFILL_STEPS` full steps of prompts with one output token.
    12. Weights that do not fit a saturated prefill stream in from the memory of the CPUs.
    13. The decode engines of a disaggregated TensorRT-LLM have the slots of their recipe
        (`published_recipe`), or where there is none those of `recipe_slots`; those of SGLang
        have `recipe_running`; others have at least as many as users. A batch of requests
        has the engine of `bench_limits`.
    14. Schedulers look for new prompts as often as `recipe_intake_steps` says, and their steps
        take the tokens of `recipe_step_tokens`.
    15. Requests come through the frontends of `recipe_frontends`.
    16. Random tokens choose experts evenly with the noise of chance; ``eplb`` rows have the
        balancer's placement on drawn skew, ``real`` rows the same skew without the balancer.

    Parameters
    ----------
    row : ServingRow
        The row.

    Returns
    -------
    ScenarioDocument
        By these rules.

    Raises
    ------
    ConfigError
        If a name in the row is unknown.
    """
    engine = row.text("engine")
    tree: dict[str, Any] = {
        "schema": "rackmoe/scenario/1",
        "title": row.id,
        "backend": row_backend(row),
        "model": _model(row),
        "deployment": _deployment(row),
        "experts": {"placement": "eplb" if row.text("routing") == "eplb" else "contiguous"},
        "workload": _workload(row),
    }
    tree["hardware"] = _hardware(row, tree["deployment"])
    frontends = recipe_frontends(row.cells)
    if frontends > 1:
        tree["deployment"]["router"] = {"policy": "round_robin", "frontends": frontends}
    tree["deployment"]["intake_every_steps"] = recipe_intake_steps(
        engine=engine,
        hardware=row.text("hardware"),
        mode=row.text("mode"),
        n_users=row.count("concurrency"),
    )
    return ScenarioDocument.model_validate_json(json.dumps(tree))


def _model(row: ServingRow) -> dict[str, Any]:
    weights = row.text("weights_dtype")
    peaks = load_machine(row.text("hardware")).gpu.peak_flop_per_s
    if weights == "mxfp4" and row.text("engine") == "trtllm" and "fp4" in peaks:
        weights = "w4a8_mxfp4"
    if weights == "nvfp4" and row.text("model") == "deepseek-r1":
        weights = "nvfp4_wo"
    return {"name": row.text("model"), "weights": weights or None, "kv_cache": _cache(row)}


def _cache(row: ServingRow) -> str | None:
    if row.text("kv_dtype"):
        return row.text("kv_dtype")
    peaks = load_machine(row.text("hardware")).gpu.peak_flop_per_s
    has_fp8_recipe = row.text("engine") == "sglang" and "fp4" in peaks
    if row.text("weights_dtype") == "nvfp4" or has_fp8_recipe:
        return "fp8"
    is_plain = row.text("weights_dtype") == "mxfp4" or row.text("arrival") == "batch"
    return "bf16" if is_plain and "fp4" not in peaks else None


def _hardware(row: ServingRow, deployment: dict[str, Any]) -> dict[str, Any]:
    name = row.text("hardware")
    domain = load_machine(name).scale_up.domain_gpus
    used = sum(p["replicas"] * p["tp"] * p["attention_dp"] for p in deployment.values())
    return {"profile": name, "racks" if "nvl" in name else "nodes": -(-used // domain)}


def _deployment(row: ServingRow) -> dict[str, Any]:
    mode = row.text("mode")
    if mode == "disagg":
        return {"prefill": _pool(row, "prefill"), "decode": _pool(row, "decode")}
    return {"aggregated": _pool(row, "prefill" if mode == "prefill_only" else "decode")}


def _pool(row: ServingRow, phase: str) -> dict[str, Any]:
    tp, groups = row.count(f"{phase}_tp", default=1), row.count(f"{phase}_attention_dp", default=1)
    recipe = published_recipe(row.cells) if phase == "decode" else None
    if recipe is not None:
        gpus = tp * groups
        tp, groups = (1, gpus) if recipe.is_data_parallel else (gpus, 1)
    ep = tp * groups if row.count(f"{phase}_ep", default=1) > 1 else 1
    n_experts = load_model(row.text("model")).moe.n_routed_experts
    pool: dict[str, Any] = {"tp": tp, "attention_dp": groups, "ep": ep}
    pool["replicas"] = (
        1 if row.text("mode").endswith("_only") else row.count(f"{phase}_workers", default=1)
    )
    if ep > 1:
        asked = row.count("redundant_experts") or recipe_redundant_experts(row.cells, phase=phase)
        pool["redundant_experts"] = asked + -(n_experts + asked) % ep
    pool["two_batch_overlap"] = row.text("two_batch_overlap") == "yes"
    pool["offloads_weights"] = row.text("mode") == "prefill_only"
    if row.text("mode") == "prefill_only" and row.text("batch_per_gpu"):
        pool["max_tokens_per_step"] = row.count("batch_per_gpu")
    if row.text("mtp") == "on" and phase == "decode":
        pool["draft_tokens"] = row.count("mtp_draft_tokens", default=recipe_drafts(row.cells))
    step_tokens = recipe_step_tokens(
        cells=row.cells,
        phase=phase,
        tp=tp,
        n_groups=groups,
        draft_tokens=pool.get("draft_tokens", 0),
    )
    if step_tokens is not None:
        pool["max_tokens_per_step"] = step_tokens
    if row.text("arrival") == "closed" and phase == "decode":
        pool["max_batch_per_rank"] = _slots(row)
    if row.text("engine") == "trtllm" and row.text("arrival") == "batch":
        pool |= bench_limits(row.cells, pool=pool, model=_model(row))
    return pool


def _slots(row: ServingRow) -> int:
    """Return the sequences that an attention group of the decoding replicas takes."""
    users = row.count("concurrency")
    n_instances = row.count("decode_workers", default=1)
    n_groups = row.count("decode_attention_dp", default=1)
    running = recipe_running(row.cells)
    if running is not None:
        return max(1, running // n_groups)
    if row.text("engine") != "trtllm" or row.text("mode") != "disagg":
        return max(_DEFAULT_SLOTS, -(-users // (n_instances * n_groups)))
    recipe = published_recipe(row.cells)
    if recipe is not None:
        return recipe.slots
    return recipe_slots(
        users,
        n_instances=n_instances,
        n_groups=n_groups,
        most_users=row.count(MOST_USERS),
        default=_DEFAULT_SLOTS,
    )


def _workload(row: ServingRow) -> dict[str, Any]:
    mode = row.text("mode")
    workload: dict[str, Any] = {
        "routing": _routing(row),
        "lengths": {
            "input": row.count("isl"),
            "output": max(1, row.count("osl", default=1)),
            "spread": [0.8, 1.0] if row.text("length_model") == "uniform_0.8_1.0" else [1.0, 1.0],
        },
        "measurement": {"step_tolerance_frac": _STEP_TOLERANCE},
    }
    if mode == "decode_only":
        users = row.gpus("decode") * (row.count("batch_per_gpu") or _DECODE_BATCH)
        workload |= {
            "arrivals": {"closed_loop": users},
            "requests": int(_DECODE_ROUNDS * users),
            "is_prefilled": True,
        }
        workload["lengths"]["is_staggered"] = True
    elif mode == "prefill_only":
        per_step = (row.count("batch_per_gpu") or _PREFILL_TOKENS) * row.gpus("prefill")
        n_prompts = math.ceil(PREFILL_STEPS * per_step / row.count("isl"))
        workload |= {"arrivals": {"batch": True}, "requests": n_prompts}
        workload["lengths"]["output"] = 1
    elif row.text("arrival") == "closed":
        users = row.count("concurrency")
        workload |= {"arrivals": {"closed_loop": users}, "requests": users * loop_rounds(row)}
    elif row.text("arrival") == "batch":
        workload |= {"arrivals": {"batch": True}, "requests": row.count("concurrency")}
    else:
        raise ConfigError(
            f"{row.id}: arrival: '{row.text('arrival')}' with mode '{mode}'; expected closed, "
            "batch, or a saturated phase; correct the row"
        )
    return workload


# Where the source gives no batch: what the engines' profiles allow a GPU to hold and to prefill.
_DECODE_BATCH: Final = 512
_PREFILL_TOKENS: Final = 16_384


def _routing(row: ServingRow) -> dict[str, Any]:
    kind = row.text("routing")
    if kind == "balanced":
        return {"balanced": True}
    if kind in {"eplb", "real"}:
        return {"generator": _REAL_ROUTING}
    return {"uniform": True}
