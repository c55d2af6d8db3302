"""LAW-12: policies cannot read the output length."""

from dataclasses import astuple, replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import cases, fault_lists, with_faults

from rackmoe.engine.run import run_engine
from rackmoe.scenario.traffic import build_traffic
from rackmoe.serving.batching import Batcher, BatchLimits, BatchPolicy, GroupChoice
from rackmoe.streams import Streams

_LIMITS = st.builds(
    BatchLimits,
    n_groups=st.integers(1, 3),
    max_sequences=st.integers(1, 5),
    max_tokens_per_step=st.integers(4, 40),
    kv_blocks=st.integers(6, 20),
    block_tokens=st.integers(1, 6),
    policy=st.sampled_from(list(BatchPolicy)),
    group_choice=st.sampled_from(list(GroupChoice)),
    kv_watermark_frac=st.sampled_from([0.0, 0.1]),
)


def played(limits, prompts, remaining, n_steps):
    """Return what a batcher does for some steps in which no sequence ends."""
    batcher = Batcher(limits)
    seen = [batcher.enqueue(request, n_tokens=n) for request, n in enumerate(prompts)]
    for _ in range(n_steps):
        step = batcher.next_step()
        if step is None:
            break
        seen.append((step.decode_sequences.tolist(), step.prefill_tokens.tolist()))
        seen.extend(astuple(chunk) for chunk in step.chunks)
        seen.append(tuple((v.request, v.group, v.context, v.is_stuck) for v in step.preempted))
        batcher.finish_step(step)
        for chunk in step.chunks:
            if chunk.is_last:
                batcher.join(
                    chunk.request,
                    group=chunk.group,
                    context=chunk.past_tokens + chunk.n_tokens,
                    remaining=remaining[chunk.request],
                    row=0,
                )
        seen.append((batcher.load_tokens, batcher.n_waiting, batcher.choose_group()))
        seen.append(batcher.reserve(3))
    return seen


@given(
    limits=_LIMITS,
    prompts=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    data=st.data(),
)
def test_a_batcher_decides_alike_whatever_is_left_to_emit(limits, prompts, data):
    n_steps = 12
    lengths = st.lists(
        st.integers(n_steps + 1, 1000), min_size=len(prompts), max_size=len(prompts)
    )
    first, second = data.draw(lengths), data.draw(lengths)
    assert played(limits, prompts, first, n_steps) == played(limits, prompts, second, n_steps)


@settings(max_examples=16)
@given(
    case=cases(lengths=(40, 12), spread=(1.0, 1.0)),
    longer=st.integers(1, 20),
    faults=st.just(()) | fault_lists(),
)
def test_until_the_first_request_ends_longer_outputs_change_nothing(
    small_files, case, longer, faults
):
    scenario = with_faults(case, small_files, faults)
    traffic = build_traffic(scenario.document, streams=Streams(0))
    requests = traffic.requests
    runs = [
        run_engine(
            scenario,
            requests=replace(requests, output_tokens=requests.output_tokens + extra),
            is_measured=traffic.is_measured,
            seed=0,
        )
        for extra in (0, longer)
    ]
    ends_s = [run.records.to_frame("requests")["last_token_s"].min() for run in runs]
    frames = [run.records.to_frame("steps") for run in runs]
    assume(not np.isnan(ends_s).any())
    until_s = min(ends_s) * (1 - 1e-12)
    before = [frame[frame["start_s"] + frame["duration_s"] < until_s] for frame in frames]
    assert len(before[0])
    assert before[0].reset_index(drop=True).equals(before[1].reset_index(drop=True))
