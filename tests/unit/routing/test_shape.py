import pytest

from rackmoe.errors import ConfigError
from rackmoe.routing.shape import MoeShape


@pytest.mark.parametrize(
    ("facts", "match"),
    [
        ({"n_layers": 0}, "0 layers"),
        ({"top_k": 9}, "top 9 of 8 experts"),
        ({"n_groups": 3}, "3 groups of 8 experts"),
        ({"n_groups": 4, "top_groups": 5}, "5 of 4 groups"),
        ({"n_groups": 4, "top_groups": 1, "top_k": 3}, "1 of 4 groups for top 3"),
    ],
)
def test_shape_that_no_gate_has_is_refused(facts, match):
    with pytest.raises(ConfigError, match=match):
        MoeShape(**{"n_layers": 1, "n_experts": 8, "top_k": 2} | facts)


def test_shape_of_a_group_limited_gate_is_accepted():
    shape = MoeShape(n_layers=58, n_experts=256, top_k=8, n_groups=8, top_groups=4)
    assert shape.n_experts // shape.n_groups == 32
