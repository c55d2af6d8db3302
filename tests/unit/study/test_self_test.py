import importlib.metadata

import pytest

from rackmoe.errors import ConfigError
from rackmoe.study import self_test
from rackmoe.study.self_test import check_installation


def checks_by_name(**options):
    return {check.name: check for check in check_installation(**options)}


def test_this_installation_is_good_and_says_its_versions():
    checks = checks_by_name(has_run=False)
    assert [check for check in checks.values() if not check.is_good] == []
    assert checks["numpy"].detail == importlib.metadata.version("numpy")
    assert checks["machines"].detail == "8 shipped, all load"
    assert "self-test" not in checks


def test_broken_shipped_file_is_a_bad_check(monkeypatch):
    def fail(name):
        raise ConfigError(f"{name}: broken")

    monkeypatch.setattr(self_test, "load_profile", fail)
    check = checks_by_name(has_run=False)["machines"]
    assert not check.is_good
    assert "gb200_nvl72: broken" in check.detail


def test_missing_package_is_bad_unless_it_is_optional(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    checks = checks_by_name(has_run=False)
    assert not checks["numpy"].is_good
    assert checks["pyarrow"].is_good


def test_cache_that_cannot_be_written_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    check = checks_by_name(has_run=False)["kernel cache"]
    assert not check.is_good
    assert "set NUMBA_CACHE_DIR" in check.detail


@pytest.mark.parametrize(("n_done", "is_good"), [(8.0, True), (7.0, False)])
def test_small_run_has_to_serve_every_request(monkeypatch, n_done, is_good):
    monkeypatch.setattr(self_test, "self_test", lambda: {"n_done": n_done})
    assert checks_by_name()["self-test"].is_good is is_good
