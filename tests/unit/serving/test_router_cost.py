"""What a request costs a worker, in the numbers of the router's documentation."""

import pytest

from rackmoe.serving.router_cost import kv_aware_cost


def test_the_example_of_the_documentation_picks_the_second_worker():
    workers = ((8, 10), (5, 5), (2, 9))
    costs = [
        kv_aware_cost(new, waiting_tokens=0, held_tokens=held, overlap_weight=1.0)
        for new, held in workers
    ]
    assert costs == [18.0, 10.0, 11.0]


@pytest.mark.parametrize(("weight", "cost"), [(0.0, 7.0), (2.0, 2 * (100 + 30) + 7)])
def test_the_weight_is_on_prompts_alone(weight, cost):
    found = kv_aware_cost(100, waiting_tokens=30, held_tokens=7, overlap_weight=weight)
    assert found == cost
