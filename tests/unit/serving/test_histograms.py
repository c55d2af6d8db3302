import numpy as np
import pytest

from rackmoe.errors import ShapeError
from rackmoe.serving.histograms import build_histograms


def arrays(*rows: list[float], dtype: type = float) -> list[np.ndarray]:
    return [np.array(row, dtype) for row in rows]


def test_values_come_as_often_as_their_weights_say() -> None:
    histograms = build_histograms(
        arrays([7, 9], [], [5, 6, 8], dtype=int), weights=arrays([1, 3], [], [2, 0, 2])
    )
    which = np.repeat([0, 2], 20_000)
    drawn = histograms.sample(which, rng=np.random.default_rng(0))
    first, last = drawn[:20_000], drawn[20_000:]
    assert set(first.tolist()) == {7, 9}
    assert (first == 9).mean() == pytest.approx(0.75, abs=0.01)
    assert set(last.tolist()) == {5, 8}
    assert histograms.is_empty.tolist() == [False, True, False]
    assert len(histograms) == 3


def test_a_draw_next_to_one_stays_in_its_histogram() -> None:
    class Edge:
        def random(self, size: int) -> np.ndarray:
            return np.full(size, np.nextafter(1, 0))

    histograms = build_histograms(arrays([3], [4], dtype=int), weights=arrays([1], [1]))
    assert histograms.sample(np.array([0, 1]), rng=Edge()).tolist() == [3, 4]


@pytest.mark.parametrize("weights", [[-1, 2], [0, 0], [np.inf, 1], [np.nan, 1]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ShapeError, match=r"histogram 0: weights from"):
        build_histograms(arrays([1, 2], dtype=int), weights=arrays(weights))


def test_each_value_has_a_weight() -> None:
    with pytest.raises(ShapeError, match=r"histogram 1: 2 values and 1 weights"):
        build_histograms(arrays([1], [1, 2], dtype=int), weights=arrays([1], [1]))
