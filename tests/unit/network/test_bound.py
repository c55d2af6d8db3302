"""The bound that communication alone sets on a decode step."""

import pytest

from rackmoe.network.bound import communication_bound_s


@pytest.mark.parametrize(("rate", "expected_s"), [(50e9, 14.76e-3), (900e9, 0.82e-3)])
def test_bound_of_the_deepseek_paper_is_reproduced(rate, expected_s):
    bound_s = communication_bound_s(
        32,
        n_layers=61,
        n_destinations=9,
        hidden=7000,
        bytes_per_element=1 + 2,
        bandwidth_bytes_per_s=rate,
    )
    assert bound_s == pytest.approx(expected_s, abs=5e-6)


def test_one_micro_batch_takes_half_of_two():
    options = {
        "n_layers": 1,
        "n_destinations": 1,
        "hidden": 100,
        "bytes_per_element": 1.0,
        "bandwidth_bytes_per_s": 1e6,
    }
    assert communication_bound_s(10, n_micro_batches=1, **options) == pytest.approx(1e-3)
    assert communication_bound_s(10, **options) == pytest.approx(2e-3)
