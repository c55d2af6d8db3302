import pytest

from rackmoe.backend.profile import load_backend
from rackmoe.errors import ConfigError
from rackmoe.study.validation import row_backends
from rackmoe.study.validation.row_backends import ENGINES, dated_backend, dated_backends


@pytest.mark.parametrize(
    ("engine", "date", "name"),
    [
        ("trtllm", "2025-12-09", "trtllm-2025h2"),
        ("trtllm", "2025-12", "trtllm-2025h2"),
        ("trtllm", "2026-01-07", "trtllm-2026h1"),
        # nothing that is dated 2025H1 ships
        ("deepseek", "2025-02-27", "sglang-2025h2"),
        ("vllm", "2025-11-02", "vllm-2026h1"),
        ("sglang", "2027-03-01", "sglang-2026h1"),
        ("sglang", "", "sglang-2026h1"),
    ],
)
def test_rows_take_the_profile_of_their_half_year_or_the_nearest(engine, date, name):
    assert dated_backend(engine, date=date, place="a") == name


def test_the_later_of_two_dates_is_taken_that_are_as_far(monkeypatch):
    monkeypatch.setattr(row_backends, "dated_backends", lambda _: {4050: "a", 4052: "b"})
    assert dated_backend("vllm", date="2025-08-01", place="a") == "b"


def test_dated_profiles_are_of_their_engine():
    for engine in set(ENGINES.values()):
        names = dated_backends(engine)
        assert names
        assert {load_backend(name).engine for name in names.values()} == {engine}


@pytest.mark.parametrize(
    ("engine", "date", "problem"),
    [
        ("tgi", "2025-12", "row-1: engine: 'tgi'; expected one of trtllm"),
        ("vllm", "December", "row-1: source_date: 'December'; expected YYYY-MM"),
    ],
)
def test_unknown_engines_and_dates_are_named(engine, date, problem):
    with pytest.raises(ConfigError, match=problem):
        dated_backend(engine, date=date, place="row-1")
