import inspect

from rackmoe.compute.operators import OperatorLaws
from rackmoe.compute.times import OperatorTimes


def test_operator_laws_have_every_method_with_the_same_parameters():
    names = [name for name in vars(OperatorTimes) if name.endswith("_s")]
    assert len(names) == 8
    for name in names:
        wanted = inspect.signature(getattr(OperatorTimes, name))
        assert inspect.signature(getattr(OperatorLaws, name)) == wanted
