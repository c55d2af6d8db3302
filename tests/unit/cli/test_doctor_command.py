import json

import pytest

from rackmoe.study import self_test
from rackmoe.study.self_test import Check


@pytest.fixture
def checks(monkeypatch):
    """Replace the checks by some of our own; returns the list that they come from."""
    chosen = [Check(name="python", is_good=True, detail="3.11")]
    monkeypatch.setattr(self_test, "check_installation", lambda **_options: iter(chosen))
    return chosen


@pytest.mark.usefixtures("checks")
def test_good_installation_exits_with_zero(run):
    ran = run("doctor", "--no-run")
    assert ran.code == 0
    assert "python  good   3.11" in ran.out


def test_bad_check_exits_with_one_and_is_shown(run, checks):
    checks.append(Check(name="models", is_good=False, detail="broken"))
    ran = run("doctor", "--no-run", "--format", "json")
    assert ran.code == 1
    assert json.loads(ran.out)[1] == {"check": "models", "state": "BAD", "detail": "broken"}
