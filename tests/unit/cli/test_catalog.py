import pytest

from rackmoe.cli.catalog import KINDS, entries, find_entry
from rackmoe.errors import ConfigError


@pytest.mark.parametrize("kind", ["machine", "model", "backend", "scenario", "request-trace"])
def test_every_kind_ships_something_with_a_file(kind):
    found = list(entries(kind))
    assert found
    assert all(entry.path.is_file() and entry.kind == kind for entry in found)


def test_entries_have_the_titles_of_their_files():
    titles = {entry.name: entry.title for kind in KINDS for entry in entries(kind)}
    assert titles["hgx_h200"] == "NVIDIA HGX H200"
    assert titles["deepseek-r1"] == "DeepSeek-R1"


def test_name_of_a_compressed_trace_is_without_its_endings():
    assert "mooncake_conversation" in {entry.name for entry in entries("request-trace")}


def test_files_of_the_user_are_known_by_their_ending_or_first_line(tmp_path, tiny_text):
    scenario = tmp_path / "mine.yaml"
    scenario.write_text(tiny_text)
    for name, kind in (
        ("config.json", "model"),
        ("t.npz", "routing-trace"),
        ("r.csv", "request-trace"),
    ):
        (tmp_path / name).write_text("{}")
        assert find_entry(str(tmp_path / name)).kind == kind
    assert find_entry(str(scenario)).kind == "scenario"
    assert find_entry(str(tmp_path)).kind == "model"


def test_file_of_no_known_kind_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\n")
    with pytest.raises(ConfigError, match="no known kind of file"):
        find_entry(str(path))


def test_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="did you mean 'hgx_h200'"):
        find_entry("hgx_h20")


def test_kind_narrows_the_search():
    with pytest.raises(ConfigError, match="deepseek-r1: nothing of this name"):
        find_entry("deepseek-r1", kind="machine")
