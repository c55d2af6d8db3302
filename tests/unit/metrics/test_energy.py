import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import InvariantError, ShapeError
from rackmoe.metrics.energy import energy_figures, mean_power_w
from rackmoe.metrics.window import Window

WINDOW = Window(start_s=0.0, end_s=10.0)


def test_a_replica_idles_between_its_steps(make_steps) -> None:
    steps = make_steps(replica=[0, 0, 1], start_s=[0.0, 8.0, 4.0], duration_s=[2.0, 4.0, 1.0])
    power_w = mean_power_w(
        steps,
        step_power_w=[100.0, 200.0, 50.0],
        idle_power_w={0: 10.0, 1: 5.0, 2: 7.0},
        window=WINDOW,
        static_power_w=3.0,
    )
    # 2 s at 100, 2 of 4 s at 200, 6 s at 10; 1 s at 50, 9 s at 5; 10 s at 7; 10 s at 3
    assert power_w == pytest.approx((200 + 400 + 60 + 50 + 45 + 70 + 30) / 10, rel=1e-12)


def test_one_power_serves_all_steps(make_steps) -> None:
    steps = make_steps(start_s=[0.0, 5.0], duration_s=[5.0, 5.0])
    power_w = mean_power_w(steps, step_power_w=40.0, idle_power_w={0: 1.0}, window=WINDOW)
    assert power_w == pytest.approx(40)


def test_a_replica_without_idle_power_is_refused(make_steps) -> None:
    steps = make_steps(replica=[3], start_s=[0.0], duration_s=[1.0])
    with pytest.raises(ShapeError, match=r"idle_power_w: no entry for replica 3"):
        mean_power_w(steps, step_power_w=1.0, idle_power_w={0: 1.0}, window=WINDOW)


def test_steps_that_overlap_are_a_bug(make_steps) -> None:
    steps = make_steps(start_s=[0.0, 1.0], duration_s=[8.0, 8.0])
    with pytest.raises(InvariantError, match=r"LAW-07 at replica 0: its steps take 16.0 s of 10"):
        mean_power_w(steps, step_power_w=1.0, idle_power_w={0: 1.0}, window=WINDOW)


@given(
    durations_s=st.lists(st.floats(0.01, 3), min_size=1, max_size=20),
    step_w=st.floats(100, 1000),
    idle_w=st.floats(0, 100),
)
def test_mean_power_lies_between_idle_and_the_steps(
    make_steps, durations_s: list[float], step_w: float, idle_w: float
) -> None:
    start_s = np.cumsum([0.0, *durations_s[:-1]])
    steps = make_steps(start_s=start_s, duration_s=durations_s)
    power_w = mean_power_w(steps, step_power_w=step_w, idle_power_w={0: idle_w}, window=WINDOW)
    assert idle_w - 1e-9 <= power_w <= step_w + 1e-9
    busy_frac = min(sum(durations_s), 10.0) / 10
    assert power_w == pytest.approx(busy_frac * step_w + (1 - busy_frac) * idle_w, rel=1e-9)


def test_energy_figures_by_hand() -> None:
    figures = energy_figures(
        {"output_tokens_per_s": 200_000.0, "total_tokens_per_s": 500_000.0},
        it_power_w=100_000.0,
        pue=1.25,
        window=WINDOW,
        provisioned_power_w=132_000.0,
    )
    assert figures == pytest.approx(
        {
            "it_power_w": 100e3,
            "facility_power_w": 125e3,
            "it_energy_j": 1e6,
            "output_tokens_per_j": 2.0,
            "total_tokens_per_j": 5.0,
            "energy_per_output_token_j": 0.5,
            "output_tokens_per_s_per_mw": 2e6,
            "output_tokens_per_s_per_facility_mw": 1.6e6,
            "provisioned_power_w": 132e3,
            "output_tokens_per_s_per_provisioned_mw": 200e3 / 0.132,
        },
        rel=1e-12,
    )


def test_nothing_delivered_has_no_energy_per_token() -> None:
    figures = energy_figures(
        {"output_tokens_per_s": 0.0, "total_tokens_per_s": 0.0},
        it_power_w=10.0,
        pue=1.0,
        window=WINDOW,
    )
    assert figures["output_tokens_per_j"] == pytest.approx(0)
    assert np.isnan(figures["energy_per_output_token_j"])
    assert "provisioned_power_w" not in figures
