import numpy as np
import pytest

from rackmoe.metrics.applications import application_figures, joint_goodput, prefix_hit_frac
from rackmoe.metrics.goodput import Slo
from rackmoe.metrics.window import Window
from rackmoe.records import Records, State

WINDOW = Window(start_s=0.0, end_s=10.0)


@pytest.fixture
def requests():
    """Three requests of `a` with a TTFT of 1, 2 and 3 s, one of `b` that is rejected."""
    records = Records(("a", "b"))
    records.requests.append_columns(
        {
            "request_id": [0, 1, 2, 3],
            "arrival_s": [0.0, 1.0, 2.0, 3.0],
            "scheduled_s": [0.0, 1.0, 2.0, np.nan],
            "prefill_end_s": [1.0, 3.0, 5.0, np.nan],
            "transfer_end_s": np.nan,
            "first_token_s": [1.0, 3.0, 5.0, np.nan],
            "last_token_s": [2.0, 4.0, 6.0, np.nan],
            "n_input_tokens": [100, 100, 200, 500],
            "n_output_tokens": [11, 11, 11, 0],
            "n_preemptions": 0,
            "prefill_replica": 0,
            "decode_replica": 0,
            "decode_rank": 0,
            "state": [State.DONE, State.DONE, State.DONE, State.REJECTED],
            "n_cached_tokens": [0, 50, 150, 0],
            "application": [0, 0, 0, 1],
        }
    )
    return records.to_frame("requests")


def test_the_record_names_the_application(requests) -> None:
    assert requests["application"].tolist() == ["a", "a", "a", "b"]


def test_each_application_has_its_own_figures(requests) -> None:
    figures = application_figures(
        requests, window=WINDOW, slos={"a": Slo(ttft_s=2.0), "b": Slo(ttft_s=9.0)}
    )
    first, second = figures["a"], figures["b"]
    assert (first["n_requests"], first["n_done"], first["n_rejected"]) == (3, 3, 0)
    assert first["ttft_mean_s"] == pytest.approx(2)
    assert first["output_tokens_per_s"] == pytest.approx(3.3)
    assert first["input_tokens_per_s"] == pytest.approx(40)
    assert first["slo_met_frac"] == pytest.approx(2 / 3)
    assert first["goodput_requests_per_s"] == pytest.approx(0.2)
    assert (second["n_requests"], second["n_done"], second["n_rejected"]) == (1, 0, 1)
    assert np.isnan(second["ttft_mean_s"])


def test_goodput_adds_up_by_the_limits_of_each(requests) -> None:
    figures = application_figures(requests, window=WINDOW, slos={"a": Slo(ttft_s=2.0), "b": Slo()})
    joint = joint_goodput(figures)
    assert joint["goodput_requests_per_s"] == pytest.approx(0.2)
    assert joint["slo_met_frac"] == pytest.approx(2 / 4)


def test_goodput_needs_limits_everywhere(requests) -> None:
    figures = application_figures(requests, window=WINDOW, slos={"a": Slo(), "b": None})
    assert "slo_met_frac" not in figures["b"]
    assert joint_goodput(figures) == {}


def test_hits_are_tokens_of_scheduled_requests(requests) -> None:
    assert prefix_hit_frac(requests, window=WINDOW) == pytest.approx(200 / 400)
    late = Window(start_s=2.5, end_s=9.0)
    assert np.isnan(prefix_hit_frac(requests, window=late))
