"""The memory of pipeline stages."""

import pytest

from rackmoe.errors import CapacityError
from rackmoe.model.config import load_model
from rackmoe.model.memory import MemoryBudget, Sharding, check_fit, rank_weight_bytes
from rackmoe.model.stages import stage_memory

ARCH = load_model("gpt-oss-20b")
SHARDING = Sharding()
ROOMY = MemoryBudget(hbm_bytes=80e9)


def planned(n_stages, budget=ROOMY):
    return stage_memory(ARCH, n_stages=n_stages, sharding=SHARDING, budget=budget, kv_dtype="bf16")


def test_one_stage_is_the_whole_model():
    whole = check_fit(ARCH, sharding=SHARDING, budget=ROOMY, kv_dtype="bf16")
    one = planned(1)
    assert one.weights_bytes == pytest.approx(whole.weights_bytes)
    assert one.token_bytes == pytest.approx(whole.token_bytes)


def test_four_stages_have_a_quarter_of_the_layers_and_one_of_the_ends():
    sizes = rank_weight_bytes(ARCH, sharding=SHARDING)
    ends = sizes["embedding"], sizes["head"]
    layers = sum(sizes.values()) - sum(ends)
    four = planned(4)
    assert ARCH.n_layers % 4 == 0
    assert four.weights_bytes == pytest.approx(layers / 4 + max(ends))
    assert four.token_bytes == pytest.approx(planned(1).token_bytes / 4)
    assert four.window_bytes == pytest.approx(planned(1).window_bytes / 4)


def test_the_fullest_of_uneven_stages_counts():
    assert planned(5).token_bytes == pytest.approx(planned(1).token_bytes * 5 / ARCH.n_layers)


def test_stages_that_do_not_fit_are_refused():
    with pytest.raises(CapacityError, match=r"a stage of 2 needs .* 2\.0 GB are usable; raise pp"):
        planned(2, MemoryBudget(hbm_bytes=2e9))
