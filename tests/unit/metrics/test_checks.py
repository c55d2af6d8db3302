import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import InvariantError
from rackmoe.metrics.checks import check_power, check_requests, check_steps
from rackmoe.records import Part, Records, State

STAMPS = ("arrival_s", "scheduled_s", "prefill_end_s", "first_token_s", "last_token_s")


@given(st.lists(st.floats(0, 1e6), min_size=5, max_size=5))
def test_ordered_requests_pass_and_disordered_ones_do_not(
    make_requests, times_s: list[float]
) -> None:
    in_order = sorted(times_s)
    check_requests(make_requests(**dict(zip(STAMPS, in_order, strict=True))), n_arrived=1)
    if times_s != in_order:
        with pytest.raises(InvariantError, match=r"LAW-05 at request 0: "):
            check_requests(make_requests(**dict(zip(STAMPS, times_s, strict=True))), n_arrived=1)


def test_every_state_of_a_cut_run_is_accounted_for(make_requests) -> None:
    nothing = [1.0, np.nan, np.nan, np.nan]
    requests = make_requests(
        arrival_s=[0.0, 0.0, 0.0, 0.0],
        scheduled_s=[0.0, 0.5, np.nan, np.nan],
        prefill_end_s=nothing,
        first_token_s=nothing,
        last_token_s=nothing,
        n_output_tokens=[1, 0, 0, 0],
        state=[State.DONE, State.RUNNING, State.WAITING, State.REJECTED],
    )
    check_requests(requests, n_arrived=4)


def test_a_lost_request_is_a_bug(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0, 0.0])
    with pytest.raises(InvariantError, match=r"LAW-04: 3 requests arrived, 2 done"):
        check_requests(requests, n_arrived=3)


def test_a_request_recorded_twice_is_a_bug(make_requests) -> None:
    requests = make_requests(arrival_s=[0.0, 0.0], request_id=[7, 7])
    with pytest.raises(InvariantError, match=r"LAW-04: request 7 is recorded more than once"):
        check_requests(requests, n_arrived=2)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"last_token_s": [np.nan]}, r"LAW-04: request 0 is done without a last token"),
        ({"n_output_tokens": [0]}, r"LAW-04: request 0 is done without output tokens"),
        ({"state": [State.REJECTED]}, r"LAW-04: request 0 is rejected after its first token"),
        ({"scheduled_s": [np.nan]}, r"LAW-05 at request 0: scheduled_s is nan, prefill_end_s is"),
        ({"transfer_end_s": [0.5]}, r"LAW-05 at request 0: prefill_end_s is 1.0, transfer_end_s"),
        ({"scheduled_s": [-1.0]}, r"LAW-05 at request 0: arrival_s is 0.0, scheduled_s is -1.0"),
        (
            {
                **{name: [np.nan] for name in STAMPS},
                "n_output_tokens": [0],
                "state": [State.WAITING],
            },
            r"LAW-05: request 0 is without an arrival",
        ),
    ],
)
def test_each_contradiction_is_named(
    make_requests, columns: dict[str, list[float]], message: str
) -> None:
    with pytest.raises(InvariantError, match=message):
        check_requests(make_requests(**{"arrival_s": [0.0]} | columns), n_arrived=1)


def test_good_steps_pass(make_steps) -> None:
    check_steps(
        make_steps(
            replica=[1, 0, 1],
            start_s=[0.0, 0.0, 0.1],
            duration_s=[0.1, 7.0, 0.3],
            attention_s=[0.1, 3.0, 0.2],
            expert_s=[0.0, 4.0, 0.1],
        )
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"duration_s": [0.0, 1.0]}, r"LAW-05 at t=0.000000 s, replica 0: .* lasts no time"),
        ({"duration_s": [np.nan, 1.0]}, r"lasts no time"),
        ({"duration_s": [2.5, 1.0]}, r"t=2.000000 s.* starts before the step before it has ended"),
        ({"gpu_busy_s": [1.0, 1.1]}, r"keeps its GPUs busy for longer than it lasts"),
        ({"attention_s": [2.0, 1.0], "host_s": [-1.0, 0.0]}, r"has a part below zero"),
        ({"expert_s": [0.0, 0.1]}, r"replica 0: a step of 1.0 s does not last as long as the sum"),
    ],
)
def test_each_broken_step_is_named(
    make_steps, columns: dict[str, list[float]], message: str
) -> None:
    good = {"start_s": [0.0, 2.0], "duration_s": [1.0, 1.0]}
    with pytest.raises(InvariantError, match=message):
        check_steps(make_steps(**good | columns))


def power_of_a_gpu(**columns: float) -> pd.DataFrame:
    records = Records()
    row = {
        "part": Part.GPU,
        "start_s": 0.0,
        "duration_s": 2.0,
        "power_w": 100.0,
        "idle_power_w": 50.0,
        "max_power_w": 120.0,
        "energy_j": 200.0,
    }
    records.power.append_columns(row | columns)
    return records.to_frame("power")


def test_power_between_its_bounds_passes() -> None:
    check_power(power_of_a_gpu())
    check_power(power_of_a_gpu(power_w=120.0, energy_j=240.0))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"energy_j": 190.0}, r"LAW-07 at t=0.000000 s, gpu: .* against energy_j 190"),
        ({"power_w": 40.0, "energy_j": 80.0}, r"against idle_power_w 50"),
        ({"power_w": 130.0, "energy_j": 260.0}, r"against max_power_w 120"),
        ({"power_w": float("nan"), "energy_j": float("nan")}, r"LAW-07"),
    ],
)
def test_each_broken_power_is_named(columns: dict[str, float], message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        check_power(power_of_a_gpu(**columns))
