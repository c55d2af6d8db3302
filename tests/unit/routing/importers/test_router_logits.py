import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.routing.importers.facts import ModelFacts
from rackmoe.routing.importers.importing import ImportHints, import_trace, import_with_notes
from rackmoe.routing.importers.router_logits import choose_experts

SOFTMAX = ModelFacts(scoring="softmax")


@pytest.fixture
def logits():
    return np.random.default_rng(3).normal(size=(24, 6, 32)).astype(np.float32)


def top(logits, top_k):
    return np.argsort(-logits, axis=-1, kind="stable")[..., :top_k]


def test_top_k_of_the_model_is_applied_to_a_tuple_of_layers(tmp_path, logits, gpt_oss):
    np.savez(tmp_path / "a.npz", *logits)
    done = import_with_notes(tmp_path / "a.npz", model=gpt_oss)
    assert done.format == "router_logits"
    assert done.trace.header.phase == "prefill"
    assert done.trace.n_prompt_rows.tolist() == [6]
    expected = top(logits, 4).transpose(1, 0, 2)
    np.testing.assert_array_equal(done.trace.routed_experts, expected)


def test_one_array_of_all_layers_is_the_same(tmp_path, logits, gpt_oss):
    np.savez(tmp_path / "a.npz", router_logits=logits)
    np.savez(tmp_path / "b.npz", **{f"router_logits_{at}": one for at, one in enumerate(logits)})
    first, second = (import_trace(tmp_path / name, model=gpt_oss) for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(first.routed_experts, second.routed_experts)


def test_padding_of_a_batch_is_left_out_by_the_mask(tmp_path, logits, gpt_oss):
    mask = np.array([[0, 1, 1], [1, 1, 1]])
    np.savez(tmp_path / "a.npz", *logits, attention_mask=mask)
    hints = ImportHints(n_prompt_rows=(1, 3))
    trace = import_trace(tmp_path / "a.npz", model=gpt_oss, hints=hints)
    assert trace.req_offsets.tolist() == [0, 2, 5]
    assert (trace.header.phase, trace.n_prompt_rows.tolist()) == ("both", [1, 3])
    assert "left out 1 padding tokens by the mask" in trace.header.note
    np.savez(tmp_path / "a.npz", *logits, attention_mask=mask[:1])
    with pytest.raises(TraceError, match=r"attention_mask: shape \(1, 3\) for 6 rows"):
        import_trace(tmp_path / "a.npz", model=gpt_oss)


def test_sigmoid_router_needs_its_bias(tmp_path, deepseek):
    logits = np.random.default_rng(3).normal(size=(58, 4, 256)).astype(np.float32)
    np.savez(tmp_path / "a.npz", *logits)
    with pytest.raises(TraceError, match="sigmoid router without its correction_bias"):
        import_trace(tmp_path / "a.npz", model=deepseek)
    bias = np.zeros((58, 256))
    bias[:, :16] = 5.0
    np.savez(tmp_path / "a.npz", *logits, correction_bias=bias)
    trace = import_trace(tmp_path / "a.npz", model=deepseek)
    assert trace.routed_experts.max() < 16
    np.savez(tmp_path / "a.npz", *logits, correction_bias=bias[1:])
    with pytest.raises(TraceError, match=r"shape \(57, 256\); expected \(58, 256\)"):
        import_trace(tmp_path / "a.npz", model=deepseek)


def test_bias_is_added_to_scores_not_to_logits():
    facts = ModelFacts(scoring="sigmoid")
    logits = np.array([[4.0, 0.0, -4.0]])  # scores 0.98, 0.5, 0.02
    bias = np.array([0.0, 0.0, 0.7])  # 0.98, 0.5, 0.72; on the logits it would change nothing
    assert choose_experts(logits, facts=facts, top_k=2, bias=bias).tolist() == [[0, 2]]
    assert choose_experts(logits, facts=facts, top_k=2).tolist() == [[0, 1]]


def test_groups_are_chosen_by_their_two_best_scores():
    facts = ModelFacts(scoring="softmax", n_groups=2, top_groups=1)
    logits = np.array([[9.0, 0.0, 0.0, 5.0, 5.0, 1.0]])  # groups: 9 + 0 against 5 + 5
    assert choose_experts(logits, facts=facts, top_k=2).tolist() == [[3, 4]]


def test_equal_scores_go_to_the_lower_expert():
    assert choose_experts(np.zeros((1, 5)), facts=SOFTMAX, top_k=3).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"arr_0": np.ones((2, 8)), "arr_1": np.ones((3, 8))}, "logits of shapes"),
        ({"arr_0": np.ones(8)}, "logits of shapes"),
        ({"arr_0": np.full((2, 8), np.nan)}, "layer 0: not finite floats"),
        ({"arr_0": np.ones((2, 8), int)}, "layer 0: not finite floats"),
        ({"arr_0": np.ones((0, 8))}, "logits of shapes"),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, problem):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TraceError, match=problem):
        import_trace(tmp_path / "a.npz", hints=ImportHints(top_k=2))
