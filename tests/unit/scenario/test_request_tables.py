"""The requests of a workload, application by application."""

import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.traffic import build_traffic
from rackmoe.streams import Streams


def traffic(make_document, *, seed=0, **changes):
    return build_traffic(make_document(**changes), streams=Streams(seed))


def test_correlated_lengths_are_correlated(make_document):
    requests = traffic(
        make_document,
        lengths="  lengths: {lognormal: {input: 1000, output: 200, correlation: 0.8}}",
        requests="  requests: 5000",
    ).requests
    assert requests.input_tokens.mean() == pytest.approx(1000, rel=0.08)
    logs = np.log([requests.input_tokens, requests.output_tokens])
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.8, abs=0.03)


def test_lengths_of_a_trace_come_in_pairs(make_document):
    requests = traffic(
        make_document,
        lengths="  lengths: {trace: azure_conv_2023}",
        requests="  requests: 4000",
    ).requests
    assert requests.input_tokens.mean() == pytest.approx(1155, rel=0.08)


def test_lengths_of_a_histogram(make_document):
    requests = traffic(
        make_document,
        lengths="  lengths: {histogram: {input: [[10, 1], [20, 3]], output: [[5, 1]]}}",
        requests="  requests: 4000",
    ).requests
    assert (requests.input_tokens == 20).mean() == pytest.approx(0.75, abs=0.03)


def clients(make_document, **changes):
    return traffic(
        make_document,
        **{
            "arrivals": "  arrivals: {clients: {pool: servegen_deepseek-r1, start: 12 h}}",
            "lengths": None,
            "requests": "  duration: 1 h",
        }
        | changes,
    )


def test_clients_send_for_the_duration(make_document):
    built = clients(make_document)
    assert len(built.requests) == pytest.approx(27_000, rel=0.1)
    assert built.window_s == (0.0, 3600.0)
    assert built.origin.startswith("73 clients of servegen_deepseek-r1.tar.xz from 43200 s on")


def test_clients_stop_at_a_number_or_at_the_end_of_the_day(make_document):
    assert len(clients(make_document, requests="  requests: 25").requests) == 25
    with pytest.raises(ConfigError, match=r"expected a slice of the 86400 s"):
        clients(make_document, requests="  duration: 13 h")


def test_drawn_sessions_start_at_their_arrivals(make_document):
    built = traffic(
        make_document,
        lengths="  sessions: {trace: tracelab_example, max_delay: 5 s}",
        requests="  duration: 3 s",
    )
    requests = built.requests
    starts = requests.arrival_s[requests.previous < 0]
    assert len(starts) == pytest.approx(30, abs=15)
    assert starts.max() < 3
    assert requests.delay_s.max() <= 5
    assert requests.has_sessions
    assert built.is_measured.all()
    assert "started by Poisson arrivals" in built.origin


def test_generated_sessions_fill_a_closed_loop(make_document):
    sessions = "turns: 3, lengths: {input: 50, output: 10}, delay: 1 s, system: 640"
    built = traffic(
        make_document,
        arrivals="  arrivals: {closed_loop: 2}",
        lengths=f"  sessions: {{generated: {{{sessions}}}}}",
        requests="  requests: 30",
    )
    assert len(built.requests) == 30
    assert built.requests.is_closed_loop
    assert built.requests.prefixes.n_common == 10


def applications(make_document, text, **changes):
    return traffic(
        make_document,
        **{
            "arrivals": f"  applications: {{{text}}}",
            "lengths": None,
            "requests": "  duration: 20 s",
        }
        | changes,
    )


def test_applications_are_merged_with_domains_and_streams_of_their_own(make_document):
    chat = "arrivals: {poisson: 10 /s}, lengths: {input: 5, output: 5}"
    both = applications(make_document, f"a: {{{chat}, domain: talk}}, b: {{{chat}}}").requests
    alone = applications(make_document, f"a: {{{chat}, domain: talk}}").requests
    assert both.application_names == ("a", "b")
    of_a = both.application == 0
    # another application moves nothing
    assert both.arrival_s[of_a].tolist() == alone.arrival_s.tolist()
    assert both.domain_names == ("talk",)
    assert (both.domain == np.where(of_a, 0, -1)).all()


def test_shares_divide_arrivals_request_by_request(make_document):
    part = "lengths: {input: 5, output: 5}"
    built = applications(
        make_document,
        f"a: {{share: 0.2, {part}}}, b: {{share: 0.8, {part}}}",
        requests="  arrivals: {poisson: 200 /s}\n  duration: 20 s",
    )
    assert (built.requests.application == 0).mean() == pytest.approx(0.2, abs=0.03)
    assert "20% a, 80% b" in built.origin


def test_a_loop_and_timed_requests_warm_up_apart(make_document):
    built = applications(
        make_document,
        "loop: {arrivals: {closed_loop: 2}, lengths: {input: 5, output: 5}, requests: 10},"
        " timed: {arrivals: {poisson: 10 /s}, lengths: {input: 5, output: 5}}",
        requests="  duration: 20 s\n  measurement: {warm_up_requests: 0.5}",
    )
    requests, is_measured = built.requests, built.is_measured
    assert is_measured[requests.application == 0].tolist() == [False] * 5 + [True] * 5
    of_timed = is_measured[requests.application == 1]
    assert of_timed.mean() == pytest.approx(0.5, abs=0.01)
    assert built.window_s is None


def test_a_duration_is_what_the_figures_describe(make_document):
    built = traffic(make_document, requests="  duration: 30 s\n  measurement: {warm_up: 10 s}")
    assert built.window_s == (10.0, 30.0)
    assert built.until_s is None
    assert (built.is_measured == (built.requests.arrival_s >= 10)).all()


def test_sessions_of_a_mix_are_about_one_domain_each(make_document):
    sessions = (
        "arrivals: {poisson: 5 /s}, sessions: {generated: {turns: 4, delay: 1 s, "
        "lengths: {input: 10, output: 5}}}, requests: 4000"
    )
    table = applications(
        make_document, f"a: {{{sessions}, domain: {{chat: 0.25, code: 0.75}}}}"
    ).requests
    assert table.domain_names == ("chat", "code")
    assert (table.domain == table.domain[table.session]).all()
    first = table.domain[table.previous < 0]
    # three standard errors
    assert first.mean() == pytest.approx(0.75, abs=3 * np.sqrt(0.19 / first.size))
