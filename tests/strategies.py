"""Small random scenarios: tiny models, few GPUs, short requests, sometimes little memory."""

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from hypothesis import strategies as st

from rackmoe.model.cache import index_bytes_per_token, kv_bytes_per_token, kv_window_bytes
from rackmoe.model.memory import Sharding, rank_weight_bytes
from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.scenario.simulation import Fault, Simulation
from rackmoe.schema.shipped import shipped_path
from rackmoe.simulation import simulate

__all__ = [
    "BACKENDS",
    "MODELS",
    "Case",
    "Shape",
    "build",
    "cases",
    "fault_lists",
    "run",
    "with_faults",
    "write_model",
]

_COMMON = {
    "vocab_size": 512,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
_GROUPED = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32}

MODELS = {
    # one leading dense layer, a shared expert, latent attention
    "latent": {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "q_lora_rank": 64,
        "kv_lora_rank": 128,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
        "intermediate_size": 512,
        "moe_intermediate_size": 128,
        "n_routed_experts": 16,
        "n_shared_experts": 1,
        "num_experts_per_tok": 4,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "n_group": 1,
        "topk_group": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "norm_topk_prob": True,
        **_COMMON,
    },
    # experts in every layer
    "grouped": {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "hidden_size": 256,
        "num_hidden_layers": 3,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "intermediate_size": 256,
        "sliding_window": None,
        **_GROUPED,
        **_COMMON,
    },
    # every second layer sees a sliding window
    "windowed": {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "intermediate_size": 256,
        "attention_bias": True,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        **_GROUPED,
        **_COMMON,
    },
    # experts in every second layer, local attention in chunks
    "alternate": {
        "architectures": ["Llama4ForConditionalGeneration"],
        "model_type": "llama4",
        "text_config": {
            "model_type": "llama4_text",
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "attention_bias": False,
            "use_qk_norm": False,
            "attention_chunk_size": 32,
            "interleave_moe_layer_step": 2,
            "intermediate_size": 128,
            "intermediate_size_mlp": 256,
            "num_local_experts": 8,
            "num_experts_per_tok": 1,
            **_GROUPED,
            **_COMMON,
        },
    },
}
"""Tiny relatives of DeepSeek-V3, Mixtral, gpt-oss and Llama 4, as their config files say it."""

BACKENDS = ("ideal", "trtllm-2026h1")
"""The bound without overheads, and a fitted engine."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How one pool uses its GPUs."""

    tp: int = 1
    attention_dp: int = 1
    ep: int = 1
    replicas: int = 1
    redundant_experts: int = 0
    two_batch_overlap: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scenario in few words; `build` makes it whole."""

    model: str = "latent"
    backend: str = "ideal"
    hardware: str = "gb200_nvl72"
    n_units: int = 2
    policy: str = "mixed"
    group_choice: str = "shortest_queue"
    pools: tuple[Shape, ...] = (Shape(),)
    max_batch: int = 8
    max_tokens: int = 64
    block_tokens: int = 8
    kv_tokens: int | None = None
    arrivals: tuple[str, str | int | bool] = ("batch", True)
    lengths: tuple[int, int] = (40, 8)
    spread: tuple[float, float] = (0.5, 1.5)
    requests: int = 8
    routing: str = "uniform"
    step_tolerance: float = 0.0
    overrides: tuple[tuple[str, str], ...] = ()
    host: tuple[str, str] | None = None

    @property
    def is_split(self) -> bool:
        return len(self.pools) > 1


def write_model(name, folder):
    """Write the config file of a tiny model and return its path."""
    path = folder / name / "config.json"
    if not path.is_file():
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(MODELS[name]), encoding="utf-8")
    return path


def _write_backend(case, folder):
    """Write a shipped backend profile with the scheduler of a case and return its path."""
    text = shipped_path("scenarios/backends", name=case.backend).read_text(encoding="utf-8")
    step, gap = case.host or (None, None)
    wanted = {
        "  policy: ": case.policy,
        "  group_choice: ": case.group_choice,
        "  block_tokens: ": case.block_tokens,
        "  step: ": step and f"{{value: {step}, kind: assumed, source: host}}",
        "  gap: ": gap and f"{{value: {gap}, kind: assumed, source: host}}",
    }
    lines = text.splitlines()
    for start, value in wanted.items():
        (at,) = (i for i, line in enumerate(lines) if line.startswith(start))
        if value is not None:
            lines[at] = f"{start}{value}"
    key = "-".join(str(value) for value in (case.backend, *wanted.values()))
    path = folder / f"{abs(_digest(key)):x}.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _digest(text):
    return int.from_bytes(text.encode("utf-8"), "big") % (2**61 - 1)


def _document(case, folder, overrides):
    names = ("aggregated",) if len(case.pools) == 1 else ("prefill", "decode")
    pools = {
        name: {
            "replicas": shape.replicas,
            "tp": shape.tp,
            "attention_dp": shape.attention_dp,
            "ep": shape.ep,
            "redundant_experts": shape.redundant_experts,
            "two_batch_overlap": shape.two_batch_overlap,
            "max_batch_per_rank": case.max_batch,
            "max_tokens_per_step": case.max_tokens,
        }
        for name, shape in zip(names, case.pools, strict=True)
    }
    kind, value = case.arrivals
    amount = "racks" if case.hardware.endswith("nvl72") else "nodes"
    return ScenarioDocument.model_validate(
        {
            "schema": "rackmoe/scenario/1",
            "title": "a small random case",
            "hardware": {"profile": case.hardware, amount: case.n_units, "overrides": overrides},
            "model": {"name": str(write_model(case.model, folder))},
            "backend": str(_write_backend(case, folder)),
            "deployment": pools,
            "workload": {
                "arrivals": {kind: value},
                "lengths": {
                    "input": case.lengths[0],
                    "output": case.lengths[1],
                    "spread": case.spread,
                },
                "routing": {case.routing: True},
                "requests": case.requests,
                "measurement": {"step_tolerance": case.step_tolerance},
            },
        }
    )


def _small_hbm_bytes(scenario, kv_tokens):
    """Return the HBM that leaves every rank of every pool room for so many tokens."""
    arch, memory = scenario.arch, scenario.backend.memory
    needs = []
    for pool in scenario.document.deployment.pools.values():
        sharding = Sharding(
            tp=pool.tp,
            attention_dp=pool.attention_dp,
            ep=pool.ep,
            n_redundant=pool.redundant_experts,
        )
        weights = sum(rank_weight_bytes(arch, sharding=sharding).values())
        token = kv_bytes_per_token(arch, kv_dtype=scenario.kv_dtype, tp=pool.tp)
        window = kv_window_bytes(arch, kv_dtype=scenario.kv_dtype, tp=pool.tp)
        cache = (kv_tokens + 1) * (token + index_bytes_per_token(arch))
        needs.append(weights + cache + pool.max_batch_per_rank * window)
    return (max(needs) + memory.workspace_bytes.value) / memory.usable_frac.value


@cache
def build(case, folder):
    """Return the scenario of a case; its files are written to the folder."""
    overrides = dict(case.overrides)
    scenario = resolve_scenario(_document(case, folder, overrides), name="case")
    if case.kv_tokens is None:
        return scenario
    hbm = int(np.ceil(_small_hbm_bytes(scenario, case.kv_tokens)))
    overrides["gpu.hbm_capacity"] = f"{hbm} B"
    return resolve_scenario(_document(case, folder, overrides), name="case")


_SHAPES = (
    Shape(),
    Shape(replicas=2),
    Shape(tp=2),
    Shape(tp=2, ep=2),
    Shape(attention_dp=2),
    Shape(attention_dp=4, ep=4),
    Shape(attention_dp=4, ep=4, redundant_experts=4),
    Shape(attention_dp=4, ep=4, two_batch_overlap=True),
    Shape(tp=2, attention_dp=2, ep=4, replicas=2),
)


def _arrivals():
    return st.one_of(
        st.just(("batch", True)),
        st.integers(1, 6).map(lambda n: ("closed_loop", n)),
        st.sampled_from(["100 /s", "1000 /s", "20000 /s"]).map(lambda rate: ("poisson", rate)),
    )


@st.composite
def cases(draw, **fixed):
    """Draw a case; keywords fix what must not vary."""
    shapes = st.sampled_from(_SHAPES)
    wanted = {
        "model": st.sampled_from(sorted(MODELS)),
        "backend": st.sampled_from(BACKENDS),
        "policy": st.sampled_from(["mixed", "prefill_first"]),
        "group_choice": st.sampled_from(["round_robin", "shortest_queue", "least_kv"]),
        "pools": st.one_of(st.tuples(shapes), st.tuples(shapes, shapes)),
        "max_batch": st.integers(1, 6),
        "max_tokens": st.sampled_from([16, 50, 128]),
        "block_tokens": st.sampled_from([1, 8, 32]),
        "kv_tokens": st.none() | st.integers(48, 200),
        "arrivals": _arrivals(),
        "lengths": st.tuples(st.integers(1, 80), st.integers(1, 16)),
        "requests": st.integers(1, 14),
        "routing": st.sampled_from(["uniform", "balanced"]),
        "step_tolerance": st.sampled_from([0.0, 0.0, 0.2]),
    }
    values = {name: draw(strategy) for name, strategy in wanted.items() if name not in fixed}
    return Case(**(values | fixed))


@cache
def run(case, folder, seed=0):
    """Return the result of a case."""
    return simulate(build(case, folder), seed=seed)


def fault_lists(kinds=("link", "plane", "switch_tray", "gpu", "compute_tray", "nic", "slow_link")):
    """Return up to three faults early in a run, each repaired soon."""
    fault = st.builds(
        Fault,
        kind=st.sampled_from(kinds),
        at_s=st.floats(0.0, 3e-3),
        for_s=st.floats(1e-5, 3e-3),
        where=st.just(0),
    )
    return st.lists(fault, min_size=1, max_size=3).map(tuple)


def with_faults(case, folder, faults):
    """Return the scenario of a case in which parts fail."""
    scenario = build(case, folder)
    document = scenario.document.model_copy(update={"simulation": Simulation(faults=faults)})
    return replace(scenario, document=document)
