"""Rebalancing in whole runs of a tiny model."""

import pytest
from strategies import Case, Shape, build

from rackmoe.scenario.document import ScenarioDocument
from rackmoe.scenario.resolved import resolve_scenario
from rackmoe.simulation import simulate

CASE = Case(
    pools=(Shape(attention_dp=4, ep=4, redundant_experts=4),),
    lengths=(16, 90),
    spread=(1.0, 1.0),
    requests=32,
)


def ran(small_files, *, rebalance, placement="contiguous", case=CASE):
    document = build(case, small_files).document.model_dump(by_alias=False)
    document["experts"] |= {"placement": placement, "rebalance": rebalance}
    document["workload"]["routing"] |= {"uniform": False, "generator": "deepseek_narrow"}
    return simulate(resolve_scenario(ScenarioDocument(**document), name="rebalanced"))


def imbalance(result, *, first, last):
    return float(result.to_frame("steps")["imbalance"].iloc[first:last].mean())


def test_one_rebalance_makes_contiguous_experts_as_even_as_balanced_ones(small_files):
    once = {"every_steps": 20, "window_steps": 20, "least_imbalance": 1.3}
    after = imbalance(ran(small_files, rebalance=once), first=30, last=60)
    never = ran(small_files, rebalance=None)
    balanced = ran(small_files, rebalance=None, placement="eplb")
    assert imbalance(never, first=30, last=60) > 1.3 * after
    assert after == pytest.approx(imbalance(balanced, first=30, last=60), rel=0.05)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"layers_per_step": 1},
        {"path": "host", "blocks_steps": True},
        {"path": "scale_out", "planning_s": 1e-6},
        {"policy": "eplb_vec", "every_steps": None, "every_s": 2e-5},
    ],
)
def test_every_way_moves_experts_and_keeps_all_assignments(small_files, how):
    result = ran(small_files, rebalance={"every_steps": 15, "window_steps": 15, **how})
    moved = result.to_frame("rebalances")
    assert len(moved) >= 1
    first = moved.iloc[0]
    assert first["n_moves"] > 0
    assert first["imbalance_after"] < first["imbalance_before"]
    assert first["end_s"] > first["start_s"] + how.get("planning_s", 0.0)
    assert (first["stall_s"] > 0.0) == bool(how.get("blocks_steps"))
    steps, experts = result.to_frame("steps"), result.to_frame("experts")
    n_tokens = int((steps["n_decode_tokens"] + steps["n_prefill_tokens"]).sum())
    by_layer = experts.groupby("layer")["n_assignments"].sum()
    assert (by_layer == n_tokens * result.scenario.arch.moe.top_k).all()


def test_what_moves_is_on_the_links(small_files):
    """LAW-02: every byte leaves one port and enters another; the host has only one end."""
    for path, tier, ends in (("scale_up", "scale_up", 2), ("host", "host", 1)):
        result = ran(small_files, rebalance={"every_steps": 15, "path": path})
        links = result.to_frame("links").groupby("tier", observed=True)["expert_bytes"].sum()
        whole = result.to_frame("rebalances")
        whole = whole[whole["end_s"].notna()]
        assert links[tier] >= ends * whole["moved_bytes"].sum() * (1 - 1e-9) > 0.0
        assert (links.drop(tier) == 0.0).all()


def test_replicas_of_a_pool_change_over_together(small_files):
    case = Case(
        pools=(
            Shape(attention_dp=2, ep=2, replicas=2),
            Shape(attention_dp=4, ep=4, redundant_experts=4),
        ),
        lengths=(40, 20),
        requests=24,
    )
    result = ran(small_files, case=case, rebalance={"every_steps": 4, "window_steps": 4})
    moved = result.to_frame("rebalances")
    assert set(moved["pool"]) == {"prefill", "decode"}
    steps, experts = result.to_frame("steps"), result.to_frame("experts")
    n_tokens = int((steps["n_decode_tokens"] + steps["n_prefill_tokens"]).sum())
    assert (experts.groupby("layer")["n_assignments"].sum() == n_tokens * 4).all()


def test_balanced_experts_stay_where_they_are(small_files):
    rebalance = {"every_steps": 10, "least_imbalance": 1.5}
    result = ran(small_files, rebalance=rebalance, placement="eplb")
    assert result.to_frame("rebalances").empty
