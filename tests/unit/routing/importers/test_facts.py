import pytest

from rackmoe.errors import ConfigError, TraceError
from rackmoe.routing.importers.facts import ImportHints, ModelFacts, agree, facts_of, needed


def test_facts_come_from_the_model(deepseek):
    facts = facts_of(deepseek, hints=ImportHints(), place="a")
    assert (facts.n_layers, facts.n_experts, facts.top_k) == (61, 256, 8)
    assert facts.moe_layer_ids == tuple(range(3, 61))
    assert (facts.n_shared_experts, facts.scoring, facts.has_router_bias) == (1, "sigmoid", True)
    assert (facts.n_groups, facts.top_groups) == (8, 4)


def test_model_may_be_named(deepseek):
    named = facts_of("deepseek-r1", hints=ImportHints(), place="a")
    assert named == facts_of(deepseek, hints=ImportHints(), place="a")
    with pytest.raises(ConfigError):
        facts_of("no-such-model", hints=ImportHints(), place="a")


def test_facts_come_from_the_user_where_no_model_is_named():
    hints = ImportHints(n_experts=8, top_k=2, moe_layer_ids=(1, 2))
    facts = facts_of(None, hints=hints, place="a")
    assert facts == ModelFacts(n_experts=8, top_k=2, moe_layer_ids=(1, 2))


def test_user_who_contradicts_the_model_is_refused(deepseek):
    with pytest.raises(TraceError, match="a: top_k is 2 and 8; expected one value"):
        facts_of(deepseek, hints=ImportHints(top_k=2), place="a")
    with pytest.raises(TraceError, match=r"moe_layer_ids \(1, 2\) are not those of deepseek-r1"):
        facts_of(deepseek, hints=ImportHints(moe_layer_ids=(1, 2)), place="a")


def test_all_who_know_a_value_must_agree():
    assert agree(None, None, what="x", place="a") is None
    assert agree(None, 3, 3, what="x", place="a") == 3
    with pytest.raises(TraceError, match="a: x is 3 and 4"):
        agree(3, 4, what="x", place="a")


@pytest.mark.parametrize("value", [None, 0, -1])
def test_needed_value_must_be_known(value):
    assert needed(1, what="x", place="a") == 1
    with pytest.raises(TraceError, match=r"a: x unknown; .*name the model or give x"):
        needed(value, what="x", place="a")
