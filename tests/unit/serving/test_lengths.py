import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ConfigError, ShapeError
from rackmoe.serving.histograms import build_histograms
from rackmoe.serving.lengths import (
    FixedLengths,
    HistogramLengths,
    LengthModel,
    LognormalLengths,
    TraceLengths,
    UniformLengths,
)

RNG_SEED = 5


def draw(model: LengthModel, n_requests: int) -> tuple[np.ndarray, np.ndarray]:
    return model.sample(n_requests, rng=np.random.default_rng(RNG_SEED))


def test_fixed_lengths_are_all_equal() -> None:
    inputs, outputs = draw(FixedLengths(input_tokens=8192, output_tokens=1), 3)
    assert inputs.tolist() == [8192] * 3
    assert outputs.tolist() == [1] * 3


def test_uniform_lengths_reach_both_ends_and_average_nine_tenths() -> None:
    inputs, outputs = draw(UniformLengths(input_tokens=1000, output_tokens=35), 20_000)
    assert (inputs.min(), inputs.max()) == (800, 1000)
    assert (outputs.min(), outputs.max()) == (28, 35)
    assert inputs.mean() == pytest.approx(900, rel=0.003)


def test_uniform_lengths_of_one_token_are_one() -> None:
    inputs, _ = draw(UniformLengths(input_tokens=1, output_tokens=1), 10)
    assert set(inputs.tolist()) == {1}


def test_lognormal_lengths_have_the_mean_the_spread_and_the_correlation_asked_for() -> None:
    model = LognormalLengths(
        input_tokens=5000, output_tokens=900, input_cv=0.5, output_cv=1.0, correlation=0.6
    )
    inputs, outputs = draw(model, 100_000)
    assert inputs.mean() == pytest.approx(5000, rel=0.01)
    assert inputs.std() / inputs.mean() == pytest.approx(0.5, rel=0.02)
    assert outputs.mean() == pytest.approx(900, rel=0.02)
    assert outputs.std() / outputs.mean() == pytest.approx(1.0, rel=0.05)
    logs = np.log(np.stack([inputs, outputs]))
    assert np.corrcoef(logs)[0, 1] == pytest.approx(0.6, abs=0.01)


def test_lognormal_lengths_are_never_zero() -> None:
    model = LognormalLengths(input_tokens=1, output_tokens=1, input_cv=3, output_cv=3)
    inputs, outputs = draw(model, 5000)
    assert min(inputs.min(), outputs.min()) == 1


def test_trace_pairs_stay_together() -> None:
    model = TraceLengths(input_tokens=np.array([10, 20, 30]), output_tokens=np.array([11, 21, 31]))
    inputs, outputs = draw(model, 1000)
    assert (outputs == inputs + 1).all()
    assert set(inputs.tolist()) == {10, 20, 30}


@given(
    model=st.one_of(
        st.builds(FixedLengths, input_tokens=st.integers(1, 9), output_tokens=st.integers(1, 9)),
        st.builds(
            UniformLengths, input_tokens=st.integers(1, 10**6), output_tokens=st.integers(1, 999)
        ),
        st.builds(
            LognormalLengths,
            input_tokens=st.floats(1, 1e6),
            output_tokens=st.floats(1, 1e4),
            correlation=st.floats(-1, 1),
        ),
    ),
    n_requests=st.integers(0, 50),
)
def test_every_model_gives_whole_positive_lengths(model: LengthModel, n_requests: int) -> None:
    for lengths in draw(model, n_requests):
        assert lengths.dtype == np.int64
        assert lengths.shape == (n_requests,)
        assert (lengths >= 1).all()


def test_lengths_below_one_token_are_refused_together() -> None:
    with pytest.raises(ConfigError, match=r"lengths.input: 0; expected at least 1") as error:
        FixedLengths(input_tokens=0, output_tokens=-3)
    assert len(error.value.problems) == 2


@pytest.mark.parametrize("spread", [(0.0, 1.0), (1.0, 0.8), (0.5, float("inf"))])
def test_an_impossible_spread_is_refused(spread: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"expected 0 < low <= high"):
        UniformLengths(input_tokens=8, output_tokens=8, low_frac=spread[0], high_frac=spread[1])


def test_a_negative_spread_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lengths.output_cv: -1"):
        LognormalLengths(input_tokens=8, output_tokens=8, output_cv=-1)


def test_a_correlation_beyond_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"lengths.correlation: 1.5; expected -1 to 1"):
        LognormalLengths(input_tokens=8, output_tokens=8, correlation=1.5)


@pytest.mark.parametrize("n_outputs", [0, 2])
def test_unpaired_trace_lengths_are_refused(n_outputs: int) -> None:
    with pytest.raises(ShapeError, match=r"expected as many of each, at least one"):
        TraceLengths(
            input_tokens=np.arange(0 if n_outputs == 0 else 3), output_tokens=np.arange(n_outputs)
        )


def test_histograms_are_drawn_independently() -> None:
    model = HistogramLengths(
        input_tokens=build_histograms([np.array([10, 20])], weights=[np.array([1.0, 3.0])]),
        output_tokens=build_histograms([np.array([5])], weights=[np.array([1.0])]),
    )
    inputs, outputs = model.sample(20_000, rng=np.random.default_rng(0))
    assert (inputs == 20).mean() == pytest.approx(0.75, abs=0.01)
    assert set(outputs.tolist()) == {5}


def test_a_histogram_of_lengths_has_values_of_at_least_one_token() -> None:
    good = build_histograms([np.array([5])], weights=[np.array([1.0])])
    empty = build_histograms([np.zeros(0, int)], weights=[np.zeros(0)])
    zero = build_histograms([np.array([0])], weights=[np.array([1.0])])
    for bad in (empty, zero):
        with pytest.raises(ShapeError, match=r"lengths.output_tokens: 1 histograms"):
            HistogramLengths(input_tokens=good, output_tokens=bad)
