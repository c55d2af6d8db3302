import pytest

from rackmoe.study.validation.recipe_table import (
    MOST_USERS,
    Recipe,
    published_recipe,
    recipe_cells,
    recipe_drafts,
    recipe_frontends,
    recipe_redundant_experts,
    recipe_running,
)

# gb200-fp4/8k1k/stp/ctx1_gen4_tep8_batch16_eplb0_mtp0, run with 12, 44 and 76 users
CELLS = {
    "curve": "one",
    "engine": "trtllm",
    "mode": "disagg",
    "hardware": "gb200_nvl72",
    "model": "deepseek-r1",
    "weights_dtype": "nvfp4",
    "isl": "8192",
    "osl": "1024",
    "prefill_workers": "1",
    "decode_workers": "4",
    "decode_tp": "8",
    "decode_attention_dp": "1",
    "mtp": "off",
    "concurrency": "44",
    "routing": "uniform_random",
}
WITH_DRAFTS = CELLS | {
    "weights_dtype": "fp8",
    "isl": "1024",
    "decode_workers": "1",
    "decode_tp": "1",
    "decode_attention_dp": "16",
    "mtp": "on",
    "concurrency": "1229",
}


def test_the_name_of_a_recipe_says_slots_and_drafts():
    found = published_recipe(CELLS)
    assert found == Recipe(slots=16, drafts=0, is_data_parallel=False, redundant_experts=0)
    # gb200-fp8/1k1k/mtp/ctx1_gen1_dep16_batch64_eplb0_mtp1
    found = published_recipe(WITH_DRAFTS)
    assert found == Recipe(slots=64, drafts=1, is_data_parallel=True, redundant_experts=0)


def test_the_name_decides_how_attention_is_shared():
    listed = CELLS | {"decode_tp": "1", "decode_attention_dp": "8", "concurrency": "76"}
    found = published_recipe(listed)
    assert found == Recipe(slots=16, drafts=0, is_data_parallel=False, redundant_experts=0)


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency": "45"},
        {"engine": "sglang"},
        {"mode": "agg"},
        {"mtp": "on"},
        {"decode_workers": "5"},
        {"hardware": "hgx_h200"},
        {"concurrency": "inf"},
    ],
)
def test_other_runs_have_no_recipe(change):
    assert published_recipe(CELLS | change) is None


@pytest.mark.parametrize(
    ("change", "drafts"),
    [
        ({}, 1),
        ({"concurrency": "615", "decode_attention_dp": "32"}, 3),
        ({"concurrency": "1"}, 3),
        ({"engine": "sglang"}, 2),
        ({"mode": "agg"}, 1),
        ({"mode": "agg", "decode_attention_dp": "1", "decode_tp": "8"}, 3),
        ({"mode": "agg", "routing": "real"}, 3),
        ({"engine": "vllm", "mode": "agg"}, 3),
    ],
)
def test_drafts_are_those_of_the_recipe_or_the_engine(change, drafts):
    assert recipe_drafts(WITH_DRAFTS | change) == drafts


def test_cells_are_filled_in_only_where_the_source_does_not_say():
    told, filled, plain = recipe_cells(
        [WITH_DRAFTS | {"mtp_draft_tokens": "2"}, WITH_DRAFTS, CELLS | {"curve": "two"}]
    )
    assert told["mtp_draft_tokens"] == "2"
    assert filled["mtp_draft_tokens"] == "1"
    assert "mtp_draft_tokens" not in plain
    assert [one[MOST_USERS] for one in (told, filled, plain)] == ["1229", "1229", "44"]


@pytest.mark.parametrize(
    ("change", "frontends"),
    [
        ({}, 10),
        ({"hardware": "gb300_nvl72"}, 1),
        ({"hardware": "hgx_b200"}, 10),
        ({"hardware": "hgx_b200", "weights_dtype": "fp8"}, 1),
        ({"engine": "sglang"}, 10),
        ({"engine": "sglang", "hardware": "hgx_b200"}, 5),
        ({"engine": "sglang", "hardware": "gb300_nvl72"}, 10),
        ({"engine": "vllm"}, 1),
        ({"mode": "agg"}, 1),
        ({"model": "kimi-k2"}, 1),
        ({"routing": "real"}, 1),
    ],
)
def test_recipes_have_ten_frontends_unless_they_say_otherwise(change, frontends):
    assert recipe_frontends(CELLS | change) == frontends


def test_engines_with_drafts_run_what_their_recipe_allows():
    cells = WITH_DRAFTS | {"engine": "sglang", "hardware": "hgx_h200"}
    assert recipe_running(cells) == 128
    assert recipe_running(cells | {"hardware": "hgx_b200"}) == 512
    assert recipe_running(cells | {"mtp": "off"}) is None
    assert recipe_running(cells | {"mode": "agg"}) is None
    assert recipe_running(WITH_DRAFTS) is None


def test_a_balancer_with_more_slots_than_experts_has_copies():
    # gb200-fp4/1k8k/stp/ctx1_gen1_dep32_batch128_eplb288_mtp0
    cells = CELLS | {
        "isl": "1024",
        "osl": "8192",
        "decode_workers": "1",
        "decode_tp": "1",
        "decode_attention_dp": "32",
        "concurrency": "4096",
    }
    assert recipe_redundant_experts(cells, phase="decode") == 32
    assert recipe_redundant_experts(cells, phase="prefill") == 0
    assert recipe_redundant_experts(CELLS, phase="decode") == 0


@pytest.mark.parametrize(
    ("change", "phase", "copies"),
    [
        ({}, "decode", 32),
        ({}, "prefill", 0),
        ({"weights_dtype": "fp8"}, "prefill", 32),
        ({"decode_attention_dp": "1"}, "decode", 0),
        ({"hardware": "hgx_b200"}, "decode", 0),
        ({"mode": "agg"}, "decode", 0),
        ({"routing": "eplb"}, "decode", 0),
    ],
)
def test_deepep_engines_on_a_rack_have_copies(change, phase, copies):
    cells = CELLS | {"engine": "sglang", "decode_attention_dp": "32", "prefill_attention_dp": "4"}
    assert recipe_redundant_experts(cells | change, phase=phase) == copies
