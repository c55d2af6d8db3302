"""How long prompts and answers are, and what contradicts itself."""

import pytest

from rackmoe.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        "{input: 10, output: 5, spread: [0.5, 2]}",
        "{lognormal: {input: 1155, output: 211, input_cv: 1.5, correlation: -0.2}}",
        "{histogram: {input: [[10, 1], [20, 0.5]], output: [[5, 1]]}}",
        "{trace: azure_conv_2023}",
    ],
)
def test_each_way_stands_alone(make_document, text):
    assert make_document(lengths=f"  lengths: {text}").workload.lengths is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "none given; write exactly one of input and output, lognormal"),
        ("{input: 5, output: 5, trace: a}", "input and output and trace given"),
        ("{input: 5}", "'output' is missing; write both"),
        ("{output: 5}", "'input' is missing; write both"),
        ("{trace: a, spread: [1, 2]}", "spread goes with input and output only"),
        ("{lognormal: {input: 0.5, output: 5}}", "lengths.lognormal.input"),
        ("{lognormal: {input: 5, output: 5, correlation: 2}}", "lognormal.correlation"),
        ("{histogram: {input: [], output: [[1, 1]]}}", "lengths.histogram.input"),
        ("{histogram: {input: [[1, 0]], output: [[1, 1]]}}", "no weight above 0"),
        ("{histogram: {input: [[0, 1]], output: [[1, 1]]}}", "lengths.histogram.input"),
    ],
)
def test_contradictions_are_named(make_document, text, problem):
    with pytest.raises(ConfigError, match=problem):
        make_document(lengths=f"  lengths: {text}")
