import numpy as np
import pytest

from rackmoe.metrics.breakdown import breakdown_figures, request_breakdown, step_breakdown
from rackmoe.metrics.latency import request_latencies
from rackmoe.metrics.window import Window
from rackmoe.records import BREAKDOWN_COLUMNS, Pool

WINDOW = Window(start_s=0.0, end_s=10.0)


def steps_of_two_pools(make_steps):
    """A prefill step of 4 s, half outside the window, and two decode steps of 1 s."""
    return make_steps(
        replica=[0, 1, 1],
        pool=[Pool.PREFILL, Pool.DECODE, Pool.DECODE],
        start_s=[8.0, 0.0, 1.0],
        duration_s=[4.0, 1.0, 1.0],
        gpu_busy_s=[4.0, 0.5, 1.0],
        attention_s=[3.0, 0.25, 0.25],
        expert_s=[1.0, 0.25, 0.75],
        host_s=[0.0, 0.5, 0.0],
        n_sequences=[0, 2, 6],
        imbalance=[1.0, 1.5, 2.5],
    )


def test_a_step_on_the_edge_counts_in_proportion(make_steps) -> None:
    table = step_breakdown(steps_of_two_pools(make_steps), window=WINDOW)
    table = table.set_index(["pool", "part"])
    assert table.loc[("prefill", "attention")].tolist() == pytest.approx([1.5, 0.75, 3.0])
    assert table.loc[("decode", "expert")].tolist() == pytest.approx([1.0, 0.5, 0.5])
    assert table.loc[("decode", "host"), "time_frac"] == pytest.approx(0.25)
    assert table.groupby("pool")["time_frac"].sum().tolist() == pytest.approx([1, 1])


def test_shares_and_means_by_hand(make_steps) -> None:
    figures = breakdown_figures(steps_of_two_pools(make_steps), window=WINDOW)
    # 2 + 1 + 1 s of steps in 2 replicas x 10 s
    assert figures["stepping_frac"] == pytest.approx(4 / 20)
    assert figures["gpu_busy_frac"] == pytest.approx(3.5 / 20)
    assert figures["decode_batch_mean"] == pytest.approx(4)
    assert figures["imbalance_mean"] == pytest.approx((2 * 1 + 1.5 + 2.5) / 4)
    assert figures["attention_time_frac"] == pytest.approx(2 / 4)
    parts = [f"{part.removesuffix('_s')}_time_frac" for part in BREAKDOWN_COLUMNS]
    assert sum(figures[part] for part in parts) == pytest.approx(1)


def test_an_undefined_imbalance_is_left_out(make_steps) -> None:
    steps = make_steps(start_s=[0.0, 1.0], duration_s=[1.0, 1.0], imbalance=[np.nan, 1.25])
    assert breakdown_figures(steps, window=WINDOW)["imbalance_mean"] == pytest.approx(1.25)


def test_no_step_has_no_shares(make_steps) -> None:
    steps = make_steps(start_s=[0.0], duration_s=[1.0]).iloc[:0]
    assert np.isnan(list(breakdown_figures(steps, window=WINDOW).values())).all()
    assert step_breakdown(steps, window=WINDOW).empty


def test_the_time_of_a_mean_request_by_hand(make_requests) -> None:
    requests = make_requests(
        arrival_s=[0.0, 0.0],
        scheduled_s=[1.0, 0.0],
        prefill_end_s=[2.0, 2.0],
        transfer_end_s=[3.0, np.nan],
        last_token_s=[4.0, 4.0],
        first_token_s=[2.0, 2.0],
    )
    table = request_breakdown(request_latencies(requests)).set_index("part")
    assert table["mean_s"].to_dict() == pytest.approx(
        {"queue": 0.5, "prefill": 1.5, "transfer": 0.5, "decode": 1.5}
    )
    assert table["e2e_frac"].sum() == pytest.approx(1)
