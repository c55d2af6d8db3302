import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.drafts import join_requests, known_prompts
from rackmoe.routing.importers.facts import ImportHints


def test_requests_are_joined_in_order(choices):
    parts = [choices(3), choices(2, seed=1)]
    draft = join_requests(parts, n_prompt_rows=[1, 9], phase="both", place="a")
    assert draft.req_offsets.tolist() == [0, 3, 5]
    assert draft.n_prompt_rows.tolist() == [1, 2]
    np.testing.assert_array_equal(draft.experts[3:], parts[1])


def test_requests_of_different_models_are_refused(choices):
    parts = [choices(3), choices(3, n_layers=4)]
    with pytest.raises(TraceError, match=r"a: 2 requests with .*import one model at a time"):
        join_requests(parts, n_prompt_rows=None, phase="any", place="a")
    with pytest.raises(TraceError, match="a: 0 requests"):
        join_requests([], n_prompt_rows=None, phase="any", place="a")


def test_prompts_are_given_for_each_request():
    assert known_prompts(ImportHints(), n_requests=2, place="a") is None
    hints = ImportHints(n_prompt_rows=(1, 2))
    assert known_prompts(hints, n_requests=2, place="a") == (1, 2)
    with pytest.raises(TraceError, match="n_prompt_rows has 2 numbers for 3 requests"):
        known_prompts(hints, n_requests=3, place="a")
    with pytest.raises(TraceError, match="expected one from 0 for each"):
        known_prompts(ImportHints(n_prompt_rows=(-1,)), n_requests=1, place="a")
