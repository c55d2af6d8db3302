"""Which tier the next step of a replica gets."""

import pytest

from rackmoe.engine.step_detail import StepDetail
from rackmoe.network.exchange_tiers import ExchangeTier


@pytest.mark.parametrize("fidelity", ["plan", "auto"])
def test_closed_forms_are_not_asked_who_sends_to_whom(fidelity):
    detail = StepDetail(fidelity)
    assert [detail.next_tier() for _ in range(3)] == [None] * 3
    assert not detail.is_audited


@pytest.mark.parametrize("tier", [ExchangeTier.PHASE, ExchangeTier.FLOW, ExchangeTier.PACKET])
def test_other_tiers_hold_for_all_steps(tier):
    detail = StepDetail(tier.value)
    detail.is_escalated = True
    assert {detail.next_tier() for _ in range(3)} == {tier}


def test_only_auto_leaves_closed_forms_and_comes_back():
    tiers = {}
    for fidelity in ("plan", "auto"):
        detail = StepDetail(fidelity)
        detail.is_escalated = True
        tiers[fidelity] = [detail.next_tier()]
        detail.is_escalated = False
        tiers[fidelity].append(detail.next_tier())
    assert tiers == {"plan": [None, None], "auto": [ExchangeTier.FLOW, None]}


def test_large_groups_keep_the_closed_form_on_solved_shares():
    detail = StepDetail("auto", n_ranks=72)
    detail.is_escalated = True
    assert detail.next_tier() is None
    assert detail.solves_shares


def test_one_step_in_so_many_is_audited():
    detail = StepDetail("plan", audit_every=3)
    found = [(detail.next_tier(), detail.is_audited) for _ in range(4)]
    assert found == [
        (ExchangeTier.PLAN, True),
        (None, False),
        (None, False),
        (ExchangeTier.PLAN, True),
    ]


def test_shares_are_solved_where_links_are_shared_or_may_be():
    solved = {name: StepDetail(name).solves_shares for name in ("plan", "phase", "flow", "auto")}
    assert solved == {"plan": False, "phase": False, "flow": True, "auto": True}
    assert StepDetail("auto").may_escalate
    assert not StepDetail("flow").may_escalate
