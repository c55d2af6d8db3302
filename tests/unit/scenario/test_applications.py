"""Sessions and several applications, and what contradicts itself."""

import pytest

from rackmoe.errors import ConfigError

CHAT = "arrivals: {poisson: 1 /s}, lengths: {input: 5, output: 5}"
TURNS = "turns: 4, lengths: {input: 5, output: 5}, delay: 1 s"


def write(make_document, *, applications, requests=None, common=None):
    lines = [f"  applications: {{{applications}}}"]
    if common is not None:
        lines.append(f"  arrivals: {common}")
    return make_document(
        arrivals="\n".join(lines), lengths=None, requests=requests or "  duration: 10 s"
    )


def test_applications_have_arrivals_priorities_and_goals(make_document):
    document = write(
        make_document,
        applications=f"a: {{{CHAT}, priority: 2, slo: {{ttft: 1 s}}}},"
        f" b: {{{CHAT}, domain: code}}",
    )
    parts = document.workload.parts
    assert list(parts) == ["a", "b"]
    assert (parts["a"].priority, parts["a"].slo.ttft_s) == (2, 1.0)
    assert (parts["b"].priority, parts["b"].slo.ttft_s, parts["b"].domain) == (0, None, "code")


def test_shares_divide_common_arrivals(make_document):
    half = "share: 0.5, lengths: {input: 5, output: 5}"
    workload = write(
        make_document, applications=f"a: {{{half}}}, b: {{{half}}}", common="{poisson: 3 /s}"
    ).workload
    assert workload.has_shares
    assert workload.parts["b"].arrivals.poisson_requests_per_s == 3


def test_a_single_application_needs_no_name(make_document):
    workload = make_document().workload
    assert list(workload.parts) == ["default"]
    assert workload.parts["default"].requests == 4
    assert not workload.has_shares


@pytest.mark.parametrize(
    ("applications", "common", "problem"),
    [
        ("a: {lengths: {input: 5, output: 5}}", None, "write either 'arrivals', or 'share'"),
        (f"a: {{{CHAT}, share: 0.5}}", None, "write either 'arrivals', or 'share'"),
        ("a: {arrivals: {poisson: 1 /s}}", None, "write 'lengths' for generated arrivals"),
        (
            "a: {arrivals: {closed_loop: 2}, lengths: {input: 5, output: 5}}",
            None,
            "a closed_loop needs a number; write requests",
        ),
        ("a: {share: 1}", "{poisson: 1 /s}", "'share' goes with 'lengths' only"),
        ("a: {share: 1, lengths: {input: 5, output: 5}}", None, "'share' divides"),
        (
            "a: {share: 0.4, lengths: {input: 5, output: 5}}",
            "{poisson: 1 /s}",
            "shares sum up to 0.4; write shares of 1 in all",
        ),
        (f"a: {{{CHAT}}}", "{poisson: 1 /s}", "every application has a 'share' of them"),
        (
            "a: {share: 1, lengths: {input: 5, output: 5}}",
            "{closed_loop: 3}",
            "common ones are generated and open",
        ),
        (f"a: {{{CHAT}, priority: 1000}}", None, "priority"),
        (f"a: {{{CHAT}, colour: red}}", None, "colour: unknown key"),
        (f"a: {{{CHAT}, slo: {{ttft: 1}}}}", None, "ttft: '1' has no unit"),
    ],
)
def test_contradictions_are_named(make_document, applications, common, problem):
    with pytest.raises(ConfigError, match=problem):
        write(make_document, applications=applications, common=common)


def test_numbers_belong_to_each_application(make_document):
    with pytest.raises(ConfigError, match="write them for each application, or a duration"):
        write(make_document, applications=f"a: {{{CHAT}}}", requests="  requests: 5")


@pytest.mark.parametrize(
    ("sessions", "problem"),
    [
        ("{}", "none given; write exactly one of trace, generated"),
        (f"{{trace: a, generated: {{{TURNS}}}}}", "trace and generated given"),
        (f"{{generated: {{{TURNS}}}, max_delay: 5 s}}", "max_delay goes with trace only"),
        ("{generated: {turns: 0.5, lengths: {input: 5, output: 5}, delay: 1 s}}", "turns"),
        ("{generated: {turns: 5, delay: 1 s}}", "sessions.generated.lengths: missing"),
    ],
)
def test_sessions_come_from_one_place(make_document, sessions, problem):
    with pytest.raises(ConfigError, match=problem):
        make_document(lengths=f"  sessions: {sessions}")


def test_sessions_replace_lengths(make_document):
    workload = make_document(lengths=f"  sessions: {{generated: {{{TURNS}}}}}").workload
    assert workload.sessions.generated.delay_s == 1
    with pytest.raises(ConfigError, match="write 'lengths' for generated arrivals, or 'sessions'"):
        make_document(
            lengths=f"  lengths: {{input: 5, output: 5}}\n  sessions: {{generated: {{{TURNS}}}}}"
        )
