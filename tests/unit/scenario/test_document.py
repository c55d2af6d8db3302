"""Scenario files with their variants."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.document import load_documents


def test_a_file_without_variants_is_one_document(write_scenario):
    documents = load_documents(write_scenario())
    assert list(documents) == ["mine"]
    assert documents["mine"].title == "a test"
    assert documents["mine"].slo.ttft_s is None


def test_variants_replace_values_of_the_base(write_scenario):
    tail = """\
variants:
  rack: {hardware: {profile: gb200_nvl72, racks: 1}, model.weights: bf16}
  busy: {workload.arrivals: {closed_loop: 7}}
"""
    documents = load_documents(write_scenario(tail=tail))
    assert list(documents) == ["mine", "rack", "busy"]
    assert documents["rack"].hardware.racks == 1
    assert documents["rack"].hardware.nodes is None
    assert documents["rack"].model.weights == "bf16"
    assert documents["busy"].workload.arrivals.closed_loop == 7
    assert documents["mine"].workload.arrivals.poisson_requests_per_s == 10


def test_overrides_change_the_base_and_every_variant(write_scenario):
    path = write_scenario(tail="variants:\n  other: {title: another}\n")
    documents = load_documents(path, overrides={"workload.requests": 9, "title": "third"})
    assert [one.workload.requests for one in documents.values()] == [9, 9]
    assert [one.title for one in documents.values()] == ["third", "third"]


def test_a_variant_may_not_have_the_name_of_the_file(write_scenario):
    with pytest.raises(ConfigError, match=r"variant 'mine' has the name of the scenario; rename"):
        load_documents(write_scenario(tail="variants:\n  mine: {title: x}\n"))


def test_problems_of_all_documents_are_reported_at_once(write_scenario):
    path = write_scenario(
        requests="  requests: many", tail="variants:\n  a: {hardware: {profile: x, nodes: -1}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_documents(path)
    text = str(caught.value)
    assert "mine.yaml:10:13: workload.requests" in text
    assert "hardware.nodes" in text
    assert len(caught.value.problems) == len(set(caught.value.problems)) == 2


def test_a_key_written_twice_hides_no_other_problem(write_scenario):
    path = write_scenario(requests="  requests: many", tail="notes: a\nnotes: b\n")
    with pytest.raises(ConfigError) as caught:
        load_documents(path)
    assert [p for p in caught.value.problems if "duplicate key 'notes'" in str(p)]
    assert [p for p in caught.value.problems if "workload.requests" in str(p)]


def test_a_machine_comes_in_racks_or_in_nodes(make_document):
    with pytest.raises(ConfigError, match="racks and nodes given; write the one that the machine"):
        make_document(hardware="hardware: {profile: hgx_h200, nodes: 2, racks: 1}")


def test_a_misspelt_key_gets_a_suggestion(make_document):
    with pytest.raises(ConfigError, match=r"test.yaml:4:28: model.weigths: .*'weights'"):
        make_document(model="model: {name: gpt-oss-20b, weigths: fp8}")
