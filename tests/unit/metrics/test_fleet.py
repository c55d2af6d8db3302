"""GPU-hours by what replicas did."""

import numpy as np
import pandas as pd
import pytest

from rackmoe.metrics.fleet import fleet_figures, released_gpus
from rackmoe.metrics.window import Window

HOUR_S = 3600.0
REPLICAS = pd.DataFrame(
    [
        (0, "prefill", "serving", 0.0, 2 * HOUR_S),
        (1, "decode", "off", 0.0, 1 * HOUR_S),
        (1, "decode", "loading", 1 * HOUR_S, 0.25 * HOUR_S),
        (1, "decode", "serving", 1.25 * HOUR_S, 0.5 * HOUR_S),
        (1, "decode", "failed", 1.75 * HOUR_S, 0.25 * HOUR_S),
    ],
    columns=["replica", "pool", "state", "start_s", "duration_s"],
)
GPUS = np.array([4, 8])
WINDOW = Window(start_s=0.5 * HOUR_S, end_s=2 * HOUR_S)


def test_hours_are_those_within_the_window():
    figures = fleet_figures(REPLICAS, gpus_of_replica=GPUS, window=WINDOW)
    assert figures == pytest.approx(
        {
            "serving_gpu_hours": 1.5 * 4 + 0.5 * 8,
            "loading_gpu_hours": 0.25 * 8,
            "off_gpu_hours": 0.5 * 8,
            "failed_gpu_hours": 0.25 * 8,
            "serving_replicas_mean": (1.5 + 0.5) / 1.5,
        }
    )


@pytest.mark.parametrize(("pools", "n_gpus"), [({"decode"}, 4 / 1.5), ({"aggregated"}, 0.0)])
def test_gpus_that_are_off_may_be_given_back(pools, n_gpus):
    found = released_gpus(REPLICAS, gpus_of_replica=GPUS, window=WINDOW, pools=frozenset(pools))
    assert found == pytest.approx(n_gpus)
