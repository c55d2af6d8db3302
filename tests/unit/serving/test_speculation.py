import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.serving.speculation import Speculation


def _speculation(n_drafts: int, *rates: float) -> Speculation:
    return Speculation(n_drafts=n_drafts, acceptance_frac=rates, rng=np.random.default_rng(3))


def test_a_draft_counts_only_if_all_before_it_were_accepted():
    drawn = _speculation(3, 0.0, 1.0, 1.0).draw(5, n_sequences=7)
    assert (drawn == 1).all()


def test_every_right_draft_adds_a_token():
    assert (_speculation(3, 1.0).draw(2, n_sequences=4) == 4).all()


def test_tokens_of_a_step_have_the_expected_mean():
    speculation = _speculation(3, 0.8, 0.5)
    # 1 + 0.8 + 0.8 x 0.5 + 0.8 x 0.5 x 0.5; the last rate holds for the third draft
    assert speculation.mean_tokens == pytest.approx(2.4)
    drawn = speculation.draw(200, n_sequences=100)
    assert drawn.shape == (200, 100)
    assert drawn.mean() == pytest.approx(2.4, abs=0.03)


@pytest.mark.parametrize(("n_drafts", "rates"), [(0, (0.5,)), (2, ())])
def test_drafts_and_rates_come_together(n_drafts, rates):
    with pytest.raises(ConfigError, match="expected at least one of each"):
        _speculation(n_drafts, *rates)
