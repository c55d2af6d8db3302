import pytest

from rackmoe.study.validation.recipe_steps import recipe_step_tokens

CELLS = {
    "model": "deepseek-r1",
    "routing": "uniform_random",
    "arrival": "closed",
    "engine": "sglang",
    "mode": "agg",
    "hardware": "hgx_b200",
    "weights_dtype": "fp8",
    "isl": "1024",
    "prefill_workers": "1",
    "concurrency": "32",
}
SPLIT = {"mode": "disagg"}
RACK = SPLIT | {"hardware": "gb200_nvl72"}
TRTLLM = {"engine": "trtllm", "weights_dtype": "nvfp4"}


@pytest.mark.parametrize(
    ("change", "phase", "gpus", "drafts", "tokens"),
    [
        ({}, "decode", (8, 1), 0, 32_768),
        ({}, "decode", (4, 1), 0, 8192),
        ({"weights_dtype": "nvfp4"}, "decode", (1, 4), 0, 4096),
        ({"hardware": "hgx_h100"}, "decode", (8, 1), 0, None),
        (SPLIT, "prefill", (1, 8), 0, 4096),
        (SPLIT, "decode", (1, 8), 0, None),
        (SPLIT | {"hardware": "hgx_h200"}, "prefill", (8, 1), 0, 163_840),
        (SPLIT | {"hardware": "hgx_h200", "isl": "8192.0"}, "prefill", (8, 1), 0, 32_768),
        (SPLIT | {"hardware": "hgx_h100"}, "prefill", (16, 1), 0, 2048),
        (RACK, "prefill", (1, 8), 0, 16_384),
        (RACK, "prefill", (4, 1), 0, 8192),
        (RACK | {"prefill_workers": "6"}, "prefill", (4, 1), 0, 131_072),
        (RACK | TRTLLM, "prefill", (1, 8), 0, 16_384),
        (RACK | TRTLLM, "decode", (1, 32), 3, None),
        (SPLIT | TRTLLM | {"hardware": "hgx_h100"}, "prefill", (1, 16), 0, 2048),
        (TRTLLM, "decode", (4, 1), 0, None),
        # (4 x 32 + 1024 + 64 + 63) / 64 x 64, in whole numbers
        (TRTLLM, "decode", (4, 1), 3, 1216),
        (TRTLLM | {"concurrency": "256"}, "decode", (1, 4), 1, 1216),
        ({"engine": "vllm"}, "decode", (8, 1), 0, None),
        ({"model": "kimi-k2"}, "decode", (8, 1), 0, None),
        ({"routing": "real"}, "decode", (8, 1), 0, None),
        ({"arrival": "batch"}, "decode", (8, 1), 0, None),
    ],
)
def test_steps_take_the_tokens_of_the_recipe(change, phase, gpus, drafts, tokens):
    tp, n_groups = gpus
    found = recipe_step_tokens(
        cells=CELLS | change, phase=phase, tp=tp, n_groups=n_groups, draft_tokens=drafts
    )
    assert found == tokens


def test_gpt_oss_on_h200_takes_several_prompts_at_once():
    cells = {"model": "gpt-oss-120b", "hardware": "hgx_h200", "engine": "trtllm", "mode": "agg"}
    shape = {"phase": "decode", "tp": 1, "n_groups": 1, "draft_tokens": 0}
    assert recipe_step_tokens(cells=cells | {"arrival": "closed"}, **shape) == 20_000
    assert recipe_step_tokens(cells=cells | {"arrival": "batch"}, **shape) is None
