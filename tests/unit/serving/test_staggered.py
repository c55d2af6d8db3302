import numpy as np

from rackmoe.serving.arrivals import closed_loop_arrivals_s
from rackmoe.serving.lengths import FixedLengths
from rackmoe.serving.staggered import staggered_requests
from rackmoe.serving.workload import build_requests


def _requests(n: int, *, n_first: int):
    table = build_requests(
        closed_loop_arrivals_s(n),
        lengths=FixedLengths(input_tokens=100, output_tokens=50),
        rng=np.random.default_rng(0),
    )
    return staggered_requests(table, n_first=n_first, rng=np.random.default_rng(1))


def test_first_requests_start_uniformly_within_their_output():
    table = _requests(3000, n_first=2000)
    left = table.output_tokens[:2000]
    assert left.min() == 1
    assert left.max() == 50
    assert abs(left.mean() - 25.5) < 1.0


def test_no_token_is_lost_and_later_requests_are_untouched():
    table = _requests(100, n_first=40)
    assert (table.input_tokens + table.output_tokens == 150).all()
    assert (table.output_tokens[40:] == 50).all()


def test_a_loop_larger_than_the_run_is_cut():
    assert len(_requests(10, n_first=40)) == 10
