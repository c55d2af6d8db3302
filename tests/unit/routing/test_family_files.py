from dataclasses import replace

import pytest

from rackmoe.errors import ConfigError
from rackmoe.routing.families import STATISTICS
from rackmoe.routing.family_files import find_statistics, save_statistics


@pytest.mark.parametrize("name", ["deepseek_chat", "gpt_oss", "uniform"])
def test_a_set_comes_back_from_its_file(tmp_path, name):
    given = replace(STATISTICS[name], source='fitted; "quoted": a trace, 5 %')
    save_statistics(given, path=tmp_path / "set.yaml")
    assert find_statistics(str(tmp_path / "set.yaml")) == given


def test_shipped_sets_are_found_by_name():
    assert find_statistics("qwen3") is STATISTICS["qwen3"]
    with pytest.raises(ConfigError, match="generator: 'qwen'; expected one of"):
        find_statistics("qwen")


def test_a_missing_file_is_said_to_be_missing():
    with pytest.raises(ConfigError, match=r"generator: nowhere\.yaml: no such file"):
        find_statistics("nowhere.yaml")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("reuse: 0.1", "reuse: 1.5", "reuse"),
        ("token_sd", "token_sdd", "token_sdd: unknown key"),
        ("sigma_mean: 0.66", "sigma_mean: -1.0", "sigma_mean"),
    ],
)
def test_every_value_is_checked(tmp_path, old, new, problem):
    path = tmp_path / "set.yaml"
    save_statistics(STATISTICS["deepseek_chat"], path=path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=problem):
        find_statistics(str(path))


def test_other_sets_and_names_are_not_written(tmp_path):
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.yaml"):
        save_statistics(STATISTICS["qwen3"], path=tmp_path / "set.npz")
    with pytest.raises(ConfigError, match="not a file of a log-normal parameter set"):
        save_statistics(STATISTICS["power_law"], path=tmp_path / "set.yaml")
