"""When the domains of requests choose their experts."""

import numpy as np
import pytest

from rackmoe.engine.domain_mix import find_domain_mix
from rackmoe.errors import ConfigError
from rackmoe.scenario.applications import Application
from rackmoe.scenario.arrivals import Arrivals
from rackmoe.scenario.domains import Domains
from rackmoe.scenario.lengths import Lengths
from rackmoe.scenario.workload import Routing, Workload
from rackmoe.serving.workload import RequestTable


def workload_of(*domains, **routing):
    lengths = Lengths(input=8, output=2)
    applications = {
        f"app-{at}": Application(
            arrivals=Arrivals(poisson=1.0), lengths=lengths, requests=2, domain=domain
        )
        for at, domain in enumerate(domains)
    }
    return Workload(applications=applications, routing=Routing(**routing))


def table_of(domain, names):
    n = len(domain)
    return RequestTable(
        arrival_s=np.arange(n) * 1.0,
        input_tokens=np.full(n, 8),
        output_tokens=np.arange(n) + 1,
        domain=np.array(domain),
        domain_names=names,
    )


TWO = table_of([0, 1, 1, -1], ("chat", "code"))


def test_named_domains_count_and_so_do_requests_without_one():
    mix = find_domain_mix(workload_of("chat", "code", generator="gpt_oss"), requests=TWO)
    assert mix.names == (None, "chat", "code")
    assert mix.of_request.tolist() == [1, 2, 2, 0]
    # 9, 10 + 11 and 12 tokens
    assert mix.share_frac.tolist() == pytest.approx([12 / 42, 9 / 42, 21 / 42])
    assert mix.weights("code").tolist() == [0, 0, 1]
    assert mix.weights() is mix.share_frac


@pytest.mark.parametrize(
    ("workload", "requests"),
    [
        (workload_of("chat", "code", uniform=True), TWO),
        (workload_of("chat", "code", balanced=True), TWO),
        # labels of a request trace alone change nothing
        (workload_of(None, None, generator="gpt_oss"), TWO),
        (workload_of("chat", "chat", generator="gpt_oss"), table_of([0, 0], ("chat",))),
    ],
)
def test_requests_that_are_alike_have_no_domains(workload, requests):
    assert find_domain_mix(workload, requests=requests) is None


def test_labels_of_requests_count_where_the_routing_says_so():
    workload = workload_of(None, generator="gpt_oss", domains=Domains())
    assert find_domain_mix(workload, requests=TWO).names == (None, "chat", "code")


def test_one_domain_chooses_its_part_of_a_recorded_trace():
    workload = workload_of("chat", trace="tiny_moe_trace")
    mix = find_domain_mix(workload, requests=table_of([0, 0], ("chat",)))
    assert mix.names == ("chat",)


def test_too_many_domains_are_refused():
    names = tuple(f"client-{number}" for number in range(65))
    workload = workload_of(None, generator="gpt_oss", domains=Domains())
    with pytest.raises(ConfigError, match="65 domains of requests; expected at most 64; write"):
        find_domain_mix(workload, requests=table_of(range(65), names))


@pytest.mark.parametrize("domains", [("chat", "code"), ("chat", "chat"), (None, None)])
def test_a_balancer_sees_a_domain_that_there_is(domains):
    workload = workload_of(*domains, generator="gpt_oss")
    found = find_domain_mix(workload, requests=TWO, only_seen=None)
    with pytest.raises(ConfigError, match=r"balance_on_domain: 'law'; expected a domain of the"):
        (found or find_domain_mix(workload, requests=TWO, only_seen="law")).weights("law")
