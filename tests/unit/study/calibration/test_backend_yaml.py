import pytest

from rackmoe.backend.profile import BackendProfile, load_backend
from rackmoe.schema.documents import parse_document
from rackmoe.study.calibration.backend_yaml import backend_text


@pytest.mark.parametrize("name", ["trtllm-2026h1", "sglang-2026h1", "vllm-2026h1", "ideal"])
def test_a_written_profile_reads_as_itself(name):
    profile = load_backend(name)
    text = backend_text(profile, title="a title")
    assert text.startswith("# a title\nschema: ")
    assert parse_document(text, model=BackendProfile, place="x.yaml") == profile
