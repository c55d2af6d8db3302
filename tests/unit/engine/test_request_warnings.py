"""What a reader is told of requests that did not go as their users wished."""

import numpy as np

from rackmoe.engine.ledger import Ledger
from rackmoe.engine.request_warnings import request_warnings


def ledger_of(inputs, outputs):
    ledger = Ledger(n_input_tokens=np.array(inputs), n_output_tokens=np.array(outputs))
    ledger.arrival[:] = 0
    return ledger


def told(ledger, n_unfinished=0):
    return request_warnings(
        ledger, n_unfinished=n_unfinished, most_kv_tokens=1000, max_context=4096
    )


def test_nothing_is_told_of_requests_that_went_well():
    ledger = ledger_of([10, 20], [5, 6])
    ledger.finish(np.array([0, 1]), now=7)
    assert told(ledger) == ()


def test_rejected_requests_are_told_with_what_would_fit():
    ledger = ledger_of([10, 2000], [5, 6])
    ledger.finish(np.array([0]), now=7)
    ledger.reject(1)
    (sentence,) = told(ledger)
    assert sentence.startswith("1 requests were rejected")
    assert "holds 1,000 tokens (the longest prompt has 2,000)" in sentence


def test_requests_that_outgrew_the_memory_are_told():
    ledger = ledger_of([10], [5])
    ledger.remaining[0] = 2
    ledger.cut_short(0, now=7)
    (sentence,) = told(ledger)
    assert sentence.startswith("1 requests ended before their last token")


def test_a_context_beyond_that_of_the_model_is_told():
    ledger = ledger_of([5000, 10], [5, 2])
    ledger.finish(np.array([0, 1]), now=7)
    (sentence,) = told(ledger)
    assert sentence.startswith("1 requests have a longer context than the 4,096 tokens")


def test_one_token_outputs_have_no_time_per_token():
    ledger = ledger_of([10, 20], [1, 1])
    ledger.finish(np.array([0, 1]), now=7)
    (sentence,) = told(ledger)
    assert sentence.startswith("no request got a second token: TPOT")


def test_unfinished_requests_are_told():
    (sentence,) = told(ledger_of([10], [5]), n_unfinished=1)
    assert sentence.startswith("1 measured requests had not ended")
