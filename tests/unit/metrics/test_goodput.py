import numpy as np
import pytest

from rackmoe.metrics.goodput import Slo, goodput_figures, meets_slo
from rackmoe.metrics.latency import request_latencies
from rackmoe.metrics.window import Window
from rackmoe.records import State


def test_every_limit_has_to_be_kept(make_requests) -> None:
    requests = make_requests(
        arrival_s=[0.0, 0.0, 0.0],
        first_token_s=[1.0, 3.0, 1.0],
        last_token_s=[2.0, 4.0, 9.0],
        n_output_tokens=[11, 11, 11],
    )
    latencies = request_latencies(requests)
    assert meets_slo(latencies, slo=Slo(ttft_s=2.0)).tolist() == [True, False, True]
    assert meets_slo(latencies, slo=Slo(ttft_s=2.0, tpot_s=0.5)).tolist() == [True, False, False]
    assert meets_slo(latencies, slo=Slo(e2e_s=4.0)).tolist() == [True, True, False]
    assert meets_slo(latencies, slo=Slo()).all()


def test_the_limit_itself_is_good_enough(make_requests) -> None:
    latencies = request_latencies(make_requests(arrival_s=[0.0], first_token_s=[2.0]))
    assert meets_slo(latencies, slo=Slo(ttft_s=2.0)).all()


def test_a_single_token_cannot_miss_a_tpot_limit(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0], last_token_s=[1.0], n_output_tokens=[1])
    assert meets_slo(request_latencies(requests), slo=Slo(tpot_s=1e-9)).all()


def test_goodput_counts_the_good_that_are_done_within_the_window(make_requests) -> None:
    requests = make_requests(
        arrival_s=[0.0, 5.0, 6.0, 7.0, 8.0],
        first_token_s=[1.0, 9.0, 7.0, np.nan, np.nan],
        last_token_s=[6.0, 9.5, 20.0, np.nan, np.nan],
        prefill_end_s=[1.0, 9.0, 7.0, np.nan, np.nan],
        n_output_tokens=[11, 11, 11, 0, 0],
        state=[State.DONE, State.DONE, State.DONE, State.WAITING, State.REJECTED],
    )
    figures = goodput_figures(
        requests, window=Window(start_s=5.0, end_s=10.0), slo=Slo(ttft_s=2.0)
    )
    # request 0 is good and done at 6 s; 1 is late; 2 is good but done after the window
    assert figures["goodput_requests_per_s"] == pytest.approx(1 / 5)
    # of the four that arrive within the window only request 2 is good
    assert figures["slo_met_frac"] == pytest.approx(1 / 4)


def test_nobody_there_has_no_share(make_requests) -> None:
    figures = goodput_figures(
        make_requests(arrival_s=[0.0]), window=Window(start_s=5.0, end_s=10.0), slo=Slo()
    )
    assert figures["goodput_requests_per_s"] == pytest.approx(0)
    assert np.isnan(figures["slo_met_frac"])
