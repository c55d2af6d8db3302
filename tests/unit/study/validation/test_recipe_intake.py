import pytest

from rackmoe.study.validation.recipe_intake import recipe_intake_steps


@pytest.mark.parametrize(("n_users", "n_steps"), [(1, 10), (15, 10), (16, 30), (512, 30)])
def test_busy_servers_look_less_often_for_prompts(n_users, n_steps):
    cells = {"engine": "sglang", "hardware": "hgx_b200", "mode": "agg"}
    assert recipe_intake_steps(**cells, n_users=n_users) == n_steps


@pytest.mark.parametrize(
    "cells",
    [
        {"engine": "sglang", "hardware": "hgx_h200", "mode": "agg"},
        {"engine": "sglang", "hardware": "hgx_b200", "mode": "disagg"},
        {"engine": "trtllm", "hardware": "hgx_b200", "mode": "agg"},
    ],
)
def test_other_recipes_leave_it_to_the_engine(cells):
    assert recipe_intake_steps(**cells, n_users=32) is None
