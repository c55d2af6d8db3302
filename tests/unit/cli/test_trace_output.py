import pytest

from rackmoe.cli.trace_output import check_new, found_trace
from rackmoe.errors import ConfigError


def test_files_are_replaced_only_if_asked_and_folders_never(tmp_path):
    path = tmp_path / "a.npz"
    check_new(path, overwrite=False)
    path.write_text("mine")
    with pytest.raises(ConfigError, match="the file exists"):
        check_new(path, overwrite=False)
    check_new(path, overwrite=True)
    with pytest.raises(ConfigError, match="a folder; expected a new name"):
        check_new(tmp_path, overwrite=True)


def test_trace_is_found_by_its_shipped_name():
    assert found_trace("tiny_moe_trace").n_layers == 5
    with pytest.raises(ConfigError, match="tiny_moe"):
        found_trace("tiny_moe_trce")
