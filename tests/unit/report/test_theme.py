import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from rackmoe.errors import ConfigError
from rackmoe.hardware.profile import profile_names
from rackmoe.records import BREAKDOWN_COLUMNS
from rackmoe.report.theme import (
    MACHINE_COLORS,
    PART_COLORS,
    figure_style,
    machine_color,
    save_figure,
)


def test_every_shipped_machine_has_a_color_of_its_own():
    assert set(MACHINE_COLORS) == set(profile_names())
    assert len(set(MACHINE_COLORS.values())) == len(MACHINE_COLORS)


def test_color_of_a_users_machine_follows_from_its_name():
    assert machine_color("my_rack") == machine_color("my_rack")
    assert machine_color("my_rack") not in MACHINE_COLORS.values()


def test_every_part_of_a_step_has_a_color():
    assert set(PART_COLORS) == {name.removesuffix("_s") for name in BREAKDOWN_COLUMNS}


def test_style_leaves_the_settings_of_the_user_alone():
    before = dict(mpl.rcParams)
    with figure_style():
        assert mpl.rcParams["svg.hashsalt"] == "rackmoe"
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_equal_figures_are_equal_files_without_a_date(tmp_path, suffix):
    paths = []
    for name in ("one", "two"):
        with figure_style():
            figure = Figure(figsize=(2, 1))
            figure.subplots().plot([0, 1], [1, 0])
        paths.append(save_figure(figure, path=tmp_path / f"{name}{suffix}"))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"dc:date" not in paths[0].read_bytes()


def test_unknown_ending_of_a_figure_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'\.bmp'; expected one of \.svg"):
        save_figure(Figure(), path=tmp_path / "a.bmp")
