"""A scenario as text, with lines to replace."""

import pytest

from rackmoe.scenario.document import ScenarioDocument
from rackmoe.schema.documents import parse_document

LINES = {
    "title": "title: a test",
    "hardware": "hardware: {profile: hgx_h200, nodes: 2}",
    "model": "model: {name: gpt-oss-20b}",
    "backend": "backend: ideal",
    "deployment": "deployment: {aggregated: {ep: 4, attention_dp: 4}}",
    "arrivals": "  arrivals: {poisson: 10 /s}",
    "lengths": "  lengths: {input: 64, output: 8}",
    "requests": "  requests: 4",
}


@pytest.fixture
def make_text():
    """Return a function that writes a scenario, some of its lines replaced; None drops one."""

    def make(*, tail="", **changes):
        lines = LINES | changes
        kept = [
            "workload:\n" + value if name == "arrivals" else value
            for name, value in lines.items()
            if value is not None
        ]
        return "\n".join(["schema: rackmoe/scenario/1", *kept, tail, ""])

    return make


@pytest.fixture
def make_document(make_text):
    """Return a function that reads such a scenario."""

    def make(**changes):
        return parse_document(make_text(**changes), model=ScenarioDocument, place="test.yaml")

    return make


@pytest.fixture
def write_scenario(tmp_path, make_text):
    """Return a function that writes such a scenario to a file."""

    def write(**changes):
        path = tmp_path / "mine.yaml"
        path.write_text(make_text(**changes), encoding="utf-8")
        return path

    return write
