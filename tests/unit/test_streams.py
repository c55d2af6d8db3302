import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmoe.errors import ConfigError
from rackmoe.streams import Streams

seeds = st.integers(min_value=0, max_value=2**64)
names = st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable())


def test_rng_is_pcg64_seeded_by_seed_and_name():
    sequence = np.random.SeedSequence(42, spawn_key=(97, 98))
    expected = np.random.Generator(np.random.PCG64(sequence)).integers(2**63, size=8)
    assert np.array_equal(Streams(42).rng("ab").integers(2**63, size=8), expected)


def test_numbers_of_a_stream_never_change_between_versions():
    assert Streams(0).rng("arrivals").integers(1000, size=4).tolist() == [973, 129, 963, 881]


@given(seed=seeds, name=names)
def test_same_name_starts_again_at_the_same_number(seed, name):
    streams = Streams(seed)
    first = streams.rng(name)
    first.random(100)
    assert streams.rng(name).random() == Streams(seed).rng(name).random()


@given(seed=seeds, name=names, other=names)
def test_another_name_or_seed_gives_other_numbers(seed, name, other):
    drawn = Streams(seed).rng(name).integers(2**63, size=4).tolist()
    assert Streams(seed + 1).rng(name).integers(2**63, size=4).tolist() != drawn
    if other != name:
        assert Streams(seed).rng(other).integers(2**63, size=4).tolist() != drawn


@pytest.mark.parametrize("seed", [-1, 1.5, True, "7", None])
def test_seed_must_be_a_whole_number_of_zero_or_more(seed):
    with pytest.raises(ConfigError, match=r"seed: .*expected a whole number"):
        Streams(seed)


def test_stream_needs_a_name():
    with pytest.raises(ConfigError, match=r"stream name: ''"):
        Streams(1).rng("")


def test_numpy_integer_is_a_seed_and_shown_as_one():
    assert Streams(np.int64(3)).seed == 3
    assert repr(Streams(np.int64(3))) == "Streams(3)"
