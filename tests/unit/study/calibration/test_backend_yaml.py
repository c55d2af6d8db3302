import pytest

from rackmoe.backend.profile import BackendProfile, load_backend
from rackmoe.schema.documents import parse_document
from rackmoe.study.calibration.backend_yaml import backend_text, with_comments


@pytest.mark.parametrize("name", ["trtllm-2026h1", "sglang-2026h1", "vllm-2026h1", "ideal"])
def test_a_written_profile_reads_as_itself(name):
    profile = load_backend(name)
    text = backend_text(profile, title="a title")
    assert text.startswith("# a title\nschema: ")
    assert parse_document(text, model=BackendProfile, place="x.yaml") == profile


def test_comments_stay_before_their_keys():
    old = "# title\na: 1\nb:\n  # why c\n  c: 2\n  # gone\n  d: 3\n"
    new = "# new title\na: 5\nb:\n  c: 7\n"
    assert with_comments(new, of=old) == "# new title\na: 5\nb:\n  # why c\n  c: 7\n"
