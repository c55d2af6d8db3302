"""What a scenario says about domains."""

import pytest

from rackmoe.scenario.applications import Application
from rackmoe.scenario.arrivals import Arrivals
from rackmoe.scenario.domains import Domains, check_shares
from rackmoe.scenario.lengths import Lengths
from rackmoe.scenario.workload import Routing, Workload


def test_unrelated_texts_share_a_quarter_of_the_variance():
    assert Domains().specific_frac == 0.75


@pytest.mark.parametrize("domain", [None, "chat", {"chat": 1.0}, {"chat": 0.25, "code": 0.75}])
def test_a_domain_or_a_whole_mix_is_taken(domain):
    check_shares(domain)


def test_a_mix_has_to_be_whole():
    with pytest.raises(ValueError, match=r"shares sum up to 0\.75; write shares of 1 in all"):
        check_shares({"chat": 0.25, "code": 0.5})


@pytest.mark.parametrize("kind", ["uniform", "balanced"])
def test_without_popularity_there_is_nothing_to_choose(kind):
    with pytest.raises(ValueError, match="as popular as the others in all of them; write"):
        Routing(**{kind: True}, domains=Domains())


def test_domains_count_where_an_application_names_one():
    def domains(domain, **routing):
        one = Application(
            arrivals=Arrivals(poisson=1.0),
            lengths=Lengths(input=8, output=2),
            requests=2,
            domain=domain,
        )
        return Workload(applications={"one": one}, routing=Routing(**routing)).domains

    assert domains(None, generator="gpt_oss") is None
    assert domains("chat", uniform=True) is None
    assert domains({"chat": 0.5, "code": 0.5}, generator="gpt_oss") == Domains()
    own = Domains(specific_frac=0.3)
    assert domains(None, generator="gpt_oss", domains=own) is own
