from unittest.mock import Mock

import numpy as np

from rackmoe.serving.prefix_steps import store_step
from rackmoe.serving.running import Finished
from rackmoe.serving.step_batch import PrefillChunk


def chunk(*, is_last):
    return PrefillChunk(
        request=4, group=0, n_tokens=30, past_tokens=20, is_first=False, is_last=is_last
    )


def test_without_a_cache_nothing_happens():
    store_step(None, chunks=(chunk(is_last=True),), finished=None)


def test_computed_tokens_count_from_the_start_of_the_prompt():
    cache = Mock()
    store_step(cache, chunks=(chunk(is_last=True),), finished=None)
    cache.computed.assert_called_once_with(4, n_tokens=50, is_complete=True)
    cache.leave.assert_not_called()


def test_finished_sequences_leave_with_their_whole_context():
    cache = Mock()
    ids = np.array([7])
    gone = Finished(requests=ids, groups=np.array([0]), contexts=np.array([90]))
    store_step(cache, chunks=(), finished=gone)
    cache.leave.assert_called_once_with(7, n_tokens=90)
