import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmoe.errors import TraceError
from rackmoe.routing.importers import token_rows
from rackmoe.routing.importers.drafts import join_requests
from rackmoe.routing.importers.facts import ImportHints, ModelFacts
from rackmoe.routing.importers.token_cleaning import clean_tokens

FACTS = ModelFacts(n_experts=8, top_k=2, n_shared_experts=1)


def clean(parts, *, prompts=None, facts=FACTS, hints=None):
    draft = join_requests(parts, n_prompt_rows=prompts, phase="both", place="a")
    return clean_tokens(draft, facts=facts, hints=hints or ImportHints(), place="a")


def test_sound_ids_are_kept_in_the_narrowest_type(choices):
    ids = choices(5)
    trace, notes = clean([ids[:3], ids[3:]], prompts=[2, 1])
    assert trace.routed_experts.dtype == np.uint8
    np.testing.assert_array_equal(trace.routed_experts, ids)
    assert trace.n_prompt_rows.tolist() == [2, 1]
    assert "layers numbered from 0" in notes[0]
    wide, _ = clean([choices(5, n_experts=300)], facts=ModelFacts(n_experts=300))
    assert wide.routed_experts.dtype == np.uint16


def test_phase_source_and_licence_of_the_user_are_kept(choices):
    hints = ImportHints(phase="decode", source="our cluster", licence="CC0-1.0")
    header = clean([choices(2)], hints=hints)[0].header
    assert (header.phase, header.source, header.licence) == ("decode", "our cluster", "CC0-1.0")


def test_padding_rows_are_left_out_and_prompts_recounted(choices):
    ids = choices(6)
    ids[[1, 4]] = -1
    trace, notes = clean([ids[:4], ids[4:]], prompts=[2, 1])
    assert trace.req_offsets.tolist() == [0, 3, 4]
    assert trace.n_prompt_rows.tolist() == [1, 0]
    assert "left out 2 padding tokens (all -1)" in notes


def test_last_token_that_was_never_forwarded_is_left_out(choices):
    ids = choices(6)
    ids[[2, 5]] = 0
    trace, notes = clean([ids[:3], ids[3:]], prompts=[1, 1])
    assert trace.req_offsets.tolist() == [0, 2, 4]
    assert any("left out 2 last tokens" in note for note in notes)


def test_zero_row_in_the_middle_is_refused(choices):
    ids = choices(6)
    ids[2] = 0
    with pytest.raises(TraceError, match=r"a: token 2, MoE layer 0: no experts .*CUDA-graph"):
        clean([ids])


def test_token_that_lacks_one_layer_is_refused(choices):
    ids = choices(6)
    ids[4, 1] = -1
    with pytest.raises(TraceError, match="a: token 4, MoE layer 1: no experts recorded"):
        clean([ids])


def test_expert_zero_is_a_choice_where_tokens_have_one_expert():
    ids = np.zeros((3, 2, 1), np.int32)
    trace, _ = clean([ids], facts=ModelFacts(n_experts=4, top_k=1))
    assert trace.n_tokens == 3


def test_padding_only_is_refused(choices):
    ids = choices(3)
    ids[:] = -1
    ids[0, 0] = [1, 2]
    ids[1, 1] = [1, 2]
    ids[2, 2] = [1, 2]
    with pytest.raises(TraceError, match="no experts recorded"):
        clean([ids])
    last = choices(1)
    last[:] = 0
    with pytest.raises(TraceError, match="all zero"):
        clean([last])
    with pytest.raises(TraceError, match="a: no tokens"):
        clean([choices(0)])


def test_fill_beyond_top_k_is_cut(choices):
    ids = np.full((4, 3, 8), -1, np.int32)
    ids[:, :, :2] = choices(4)
    for facts in (FACTS, ModelFacts(n_experts=8)):
        trace, notes = clean([ids], facts=facts)
        assert trace.header.top_k == 2
        assert "kept 2 routed of 8 recorded ids per token and layer" in notes


@pytest.mark.parametrize("column", [0, 1, 2])
def test_fused_shared_expert_is_cut_wherever_it_stands(choices, column):
    routed = choices(4)
    ids = np.insert(routed, column, 8, axis=2)
    trace, _ = clean([ids])
    np.testing.assert_array_equal(trace.routed_experts, routed)


def test_fused_shared_expert_without_a_model_is_refused(choices):
    ids = np.insert(choices(4), 2, 8, axis=2)
    with pytest.raises(TraceError, match="for a fused shared expert name the model"):
        clean([ids], facts=ModelFacts(n_experts=8))


def test_physical_ids_without_a_map_are_refused(choices):
    with pytest.raises(TraceError, match="expected 2 from 0 to 7; for physical experts give"):
        clean([choices(50, n_experts=12)])


def test_repeated_expert_is_refused(choices):
    ids = choices(4)
    ids[3, 2] = [5, 5]
    with pytest.raises(TraceError, match=r"token 3, MoE layer 2: experts \[5, 5\]; expected dist"):
        clean([ids])


def test_number_of_experts_must_be_known_and_sane(choices):
    with pytest.raises(TraceError, match="n_experts unknown"):
        clean([choices(4)], facts=ModelFacts())
    for facts in (ModelFacts(n_experts=8, top_k=3), ModelFacts(n_experts=70_000, top_k=2)):
        with pytest.raises(TraceError, match="expected at least top_k"):
            clean([choices(4)], facts=facts)


@given(st.integers(1, 7), st.lists(st.integers(0, 20), min_size=1, max_size=4), st.data())
@settings(max_examples=40, deadline=None)
def test_blocks_do_not_change_the_result(block, lengths, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    parts = [np.argsort(rng.random((n, 2, 8)), axis=2)[:, :, :3] for n in lengths]
    for part in parts:
        part[rng.random(len(part)) < 0.3] = -1
    kept = np.concatenate(parts)
    kept = kept[(kept >= 0).all(axis=(1, 2))]
    facts = ModelFacts(n_experts=8, top_k=3, moe_layer_ids=(0, 1), n_layers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_rows, "ROWS_AT_ONCE", block)
        if not kept.size:
            with pytest.raises(TraceError):
                clean(parts, facts=facts)
            return
        trace, _ = clean(parts, facts=facts)
    np.testing.assert_array_equal(trace.routed_experts, kept)
    assert np.diff(trace.req_offsets).min() > 0


def test_whole_recordings_stay_on_disk(tmp_path, choices):
    np.save(tmp_path / "a.npy", choices(5).astype(np.uint8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.shares_memory(clean([mapped])[0].routed_experts, mapped)
