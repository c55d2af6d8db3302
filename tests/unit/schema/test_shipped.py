import pytest

from rackmoe.errors import ConfigError
from rackmoe.schema import shipped
from rackmoe.schema.shipped import shipped_folder, shipped_names, shipped_path


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with two files, and a package in it."""
    package = tmp_path / "source" / "rackmoe"
    package.mkdir(parents=True)
    folder = tmp_path / "source" / "fruit"
    folder.mkdir()
    for name in ("pear.yaml", "apple.yaml", "plum.json"):
        (folder / name).touch()
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("tree")
def test_names_are_those_of_the_files_with_the_suffix():
    assert shipped_names("fruit") == ("apple", "pear")
    assert shipped_names("fruit", suffix=".json") == ("plum",)


def test_files_of_a_wheel_come_before_those_of_a_source_tree(tree):
    inside = tree / "source" / "rackmoe" / "shipped" / "fruit"
    inside.mkdir(parents=True)
    (inside / "fig.yaml").touch()
    assert shipped_folder("fruit") == inside
    assert shipped_path("fruit", name="fig") == inside / "fig.yaml"


def test_a_name_means_the_shipped_file(tree):
    assert shipped_path("fruit", name="pear") == tree / "source" / "fruit" / "pear.yaml"
    assert shipped_path("fruit", name="plum", suffix=".json").name == "plum.json"


def test_a_file_of_the_user_wins(tree):
    own = tree / "pear"
    own.touch()
    assert shipped_path("fruit", name="pear").resolve() == own
    (tree / "own.yaml").touch()
    assert shipped_path("fruit", name=str(tree / "own.yaml")) == tree / "own.yaml"


@pytest.mark.usefixtures("tree")
def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(ConfigError, match="peer: not in fruit; did you mean 'pear'"):
        shipped_path("fruit", name="peer")
    with pytest.raises(ConfigError, match="zzz: not in fruit; choose from apple, pear"):
        shipped_path("fruit", name="zzz")


@pytest.mark.parametrize("name", ["pair.yaml", "folder/pear", "../pear"])
@pytest.mark.usefixtures("tree")
def test_a_path_without_a_file_is_not_taken_for_a_name(name):
    with pytest.raises(ConfigError, match="no such file; expected a path or a shipped name"):
        shipped_path("fruit", name=name)


@pytest.mark.usefixtures("tree")
def test_a_folder_that_is_nowhere_is_an_error():
    with pytest.raises(ConfigError, match="nuts: not a shipped folder"):
        shipped_folder("nuts")


def test_the_folders_of_this_package_are_found():
    assert shipped_folder("hardware_profiles").is_dir()
    assert shipped_folder("scenarios/models").is_dir()


def test_a_name_may_mean_a_file_in_a_folder_inside(tree):
    inside = tree / "source" / "fruit" / "dried"
    inside.mkdir()
    (inside / "fig.yaml").touch()
    assert shipped_path("fruit", name="fig", inside=("dried",)) == inside / "fig.yaml"
    assert shipped_path("fruit", name="pear", inside=("dried",)).parent.name == "fruit"
    with pytest.raises(ConfigError, match="did you mean 'fig'"):
        shipped_path("fruit", name="figs", inside=("dried",))
    with pytest.raises(ConfigError, match="not in fruit"):
        shipped_path("fruit", name="fig")
