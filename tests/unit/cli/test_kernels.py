from rackmoe.cli import kernels
from rackmoe.cli.kernels import cache_folders, is_cold


def test_cache_of_the_environment_comes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert cache_folders() == [tmp_path]
    assert is_cold()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "k.nbi").write_bytes(b"")
    assert not is_cold()


def test_kernels_beside_the_modules_are_found(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernels, "_PACKAGE", tmp_path)
    assert is_cold()
    (tmp_path / "network" / "__pycache__").mkdir(parents=True)
    (tmp_path / "network" / "__pycache__" / "k.nbi").write_bytes(b"")
    assert not is_cold()


def test_cache_folder_that_does_not_exist_yet_is_cold(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "none"))
    assert is_cold()
