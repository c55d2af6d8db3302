"""The router and the way of requests from pool to pool, with replicas that only take notes."""

import numpy as np
import pytest
import simpy

from rackmoe.engine.ledger import NEVER, Ledger
from rackmoe.engine.rack import Rack
from rackmoe.engine.router import LeastLoadedRouter
from rackmoe.records import Pool, State
from rackmoe.serving.batching import Batcher, BatchLimits, Preempted, PrefillChunk


class Noted:
    """A replica without a process; its batcher is real."""

    def __init__(self, index, pool, *, kv_blocks=10):
        self.index, self.pool = index, pool
        self.is_up = True
        self.first_gpu, self.tp = index, 1
        self.batcher = Batcher(
            BatchLimits(
                n_groups=1,
                max_sequences=4,
                max_tokens_per_step=100,
                kv_blocks=kv_blocks,
                block_tokens=10,
            )
        )
        self.calls = []

    def enqueue(self, request, *, n_tokens, is_urgent=False, group=None):
        self.calls.append(("enqueue", request, n_tokens, is_urgent))
        self.batcher.enqueue(request, n_tokens=n_tokens, is_urgent=is_urgent, group=group)

    def join(self, request, *, group):
        self.calls.append(("join", request, group))

    def wake(self):
        self.calls.append(("wake",))


class Links:
    """Every cache takes 5 ticks."""

    def __init__(self, env):
        self._env = env
        self.sent = []

    def send(self, source, *, target, groups, n_tokens):
        self.sent.append((source.index, target.index, groups, n_tokens))
        return self._env.timeout(5)


class World:
    """A rack of noted replicas."""

    def __init__(
        self, *replicas, inputs, outputs, has_links=True, is_prefilled=False, router=None
    ):
        self.env = simpy.Environment(initial_time=0)
        self.ledger = Ledger(n_input_tokens=np.array(inputs), n_output_tokens=np.array(outputs))
        self.links = Links(self.env) if has_links else None
        self.ended = []
        self.rack = Rack(
            self.env,
            ledger=self.ledger,
            links=self.links,
            ended=lambda ids: self.ended.extend(ids.tolist()),
            is_prefilled=is_prefilled,
            router=router,
        )
        self.rack.install(replicas)

    def prompt_done(self, replica, request):
        """Let a replica have computed a prompt as its process does."""
        (chunk,) = replica.batcher.next_step().chunks
        assert chunk.request == request
        self.ledger.remaining[request] -= 1
        self.rack.prompt_done(replica, chunk=chunk)
        return chunk


def test_requests_go_to_the_replica_with_the_fewest_tokens():
    replicas = [Noted(index, Pool.AGGREGATED) for index in range(2)]
    world = World(*replicas, inputs=[30, 20, 20], outputs=[5, 5, 5])
    for request in range(3):
        world.rack.submit(request)
    assert replicas[0].calls == [("enqueue", 0, 30, False)]
    assert replicas[1].calls == [("enqueue", 1, 20, False), ("enqueue", 2, 20, False)]


def test_a_request_that_never_fits_is_rejected_and_its_user_told():
    replica = Noted(0, Pool.AGGREGATED, kv_blocks=3)
    world = World(replica, inputs=[30, 29], outputs=[1, 1])
    world.rack.submit(0)
    assert world.ended == []
    world.env.run()
    assert world.ended == [0]
    assert world.ledger.state[0] == State.REJECTED
    world.rack.submit(1)
    assert replica.calls == [("enqueue", 1, 29, False)]


def test_a_request_has_to_fit_every_pool_on_its_way():
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE, kv_blocks=2)
    world = World(prefill, decode, inputs=[30], outputs=[5])
    world.rack.submit(0)
    assert world.ledger.n_rejected == 1


def test_an_aggregated_replica_decodes_on_in_the_same_group():
    replica = Noted(0, Pool.AGGREGATED)
    world = World(replica, inputs=[30], outputs=[5])
    world.rack.submit(0)
    world.env.run(until=7)
    world.prompt_done(replica, 0)
    assert replica.calls[-1] == ("join", 0, 0)
    assert world.ledger.first_token[0] == 7
    assert world.ended == []


def test_a_single_token_ends_with_its_prompt():
    replica = Noted(0, Pool.AGGREGATED)
    world = World(replica, inputs=[30], outputs=[1])
    world.rack.submit(0)
    world.prompt_done(replica, 0)
    assert world.ended == [0]
    assert world.ledger.state[0] == State.DONE
    assert replica.batcher.free_blocks.tolist() == [10]


def test_a_cache_moves_and_frees_the_prompt_when_it_has_arrived():
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE)
    world = World(prefill, decode, inputs=[30], outputs=[5])
    world.rack.submit(0)
    world.prompt_done(prefill, 0)
    assert world.links.sent == [(0, 1, (0, 0), 30)]
    assert prefill.batcher.free_blocks.tolist() == [7]
    assert decode.batcher.free_blocks.tolist() == [7]
    assert world.ledger.first_token[0] == NEVER
    world.env.run()
    assert world.ledger.transfer_end[0] == world.ledger.first_token[0] == 5
    assert prefill.batcher.free_blocks.tolist() == [10]
    assert prefill.calls[-1] == ("wake",)
    assert decode.calls == [("join", 0, 0)]


def test_a_single_token_of_a_split_deployment_moves_no_cache():
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE, kv_blocks=4)
    world = World(prefill, decode, inputs=[30, 20, 10], outputs=[5, 5, 1])
    for request in range(3):
        world.rack.submit(request)
    for chunk in prefill.batcher.next_step().chunks:
        world.ledger.remaining[chunk.request] -= 1
        world.rack.prompt_done(prefill, chunk=chunk)
    # the second waits for memory, the third does not wait behind it
    assert [one[3] for one in world.links.sent] == [30]
    assert world.ended == [2]
    assert world.ledger.first_token[2] == 0


def test_waiting_caches_are_placed_when_memory_is_freed():
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE, kv_blocks=4)
    world = World(prefill, decode, inputs=[30, 20], outputs=[5, 5])
    for request in range(2):
        world.rack.submit(request)
    for chunk in prefill.batcher.next_step().chunks:
        world.ledger.remaining[chunk.request] -= 1
        world.rack.prompt_done(prefill, chunk=chunk)
    assert len(world.links.sent) == 1
    world.env.run()
    decode.batcher.join(0, group=0, context=30, remaining=1, row=0)
    finished = decode.batcher.finish_step(decode.batcher.next_step())
    world.rack.sequences_left(decode, requests=finished.requests)
    assert world.ended == [0]
    assert [one[3] for one in world.links.sent] == [30, 20]


def test_caches_go_to_the_decode_replica_with_the_fewest_tokens_that_has_room():
    prefill = Noted(0, Pool.PREFILL, kv_blocks=20)
    decoders = [Noted(1, Pool.DECODE, kv_blocks=8), Noted(2, Pool.DECODE, kv_blocks=8)]
    decoders[0].batcher.reserve(60)
    world = World(prefill, *decoders, inputs=[30, 50], outputs=[5, 5])
    for request in range(2):
        world.rack.submit(request)
    for chunk in prefill.batcher.next_step().chunks:
        world.ledger.remaining[chunk.request] -= 1
        world.rack.prompt_done(prefill, chunk=chunk)
    # replica 1 is first by number, but has no room; then replica 2 has none either
    assert [one[1] for one in world.links.sent] == [2, 2]


@pytest.mark.parametrize("pool", [Pool.AGGREGATED, Pool.DECODE])
def test_a_preempted_request_is_computed_again_first_of_all(pool):
    replica, prefill = Noted(0, pool), Noted(1, Pool.PREFILL)
    world = World(replica, prefill, inputs=[30], outputs=[9])
    victim = Preempted(request=0, group=0, context=33, remaining=5, is_stuck=False)
    world.rack.sequence_preempted(replica, victim=victim)
    target = replica if pool is Pool.AGGREGATED else prefill
    # prompt and 4 tokens: the last of them is not in the cache yet
    assert target.calls == [("enqueue", 0, 34, True)]
    assert world.ledger.n_preemptions[0] == 1


def test_a_request_that_outgrew_the_memory_ends_early_and_makes_room():
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE, kv_blocks=3)
    world = World(prefill, decode, inputs=[29, 20], outputs=[90, 5])
    decode.batcher.reserve(29)
    world.rack.submit(1)
    world.prompt_done(prefill, 1)
    assert world.links.sent == []
    decode.batcher.release(0, n_tokens=29)
    victim = Preempted(request=0, group=0, context=30, remaining=88, is_stuck=True)
    world.rack.sequence_preempted(decode, victim=victim)
    assert world.ledger.state[0] == State.DONE
    assert world.ledger.n_output_tokens[0] == 2
    world.env.run(until=1)
    assert world.ended == [0]
    assert [one[3] for one in world.links.sent] == [20]


def test_a_preempted_request_too_long_for_the_prefill_pool_ends_early():
    prefill, decode = Noted(0, Pool.PREFILL, kv_blocks=3), Noted(1, Pool.DECODE)
    world = World(prefill, decode, inputs=[29], outputs=[90])
    victim = Preempted(request=0, group=0, context=40, remaining=78, is_stuck=False)
    world.rack.sequence_preempted(decode, victim=victim)
    assert world.ledger.n_cut_short == 1
    assert prefill.calls == []


def test_without_links_a_cache_is_there_at_once():
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE)
    world = World(prefill, decode, inputs=[30], outputs=[5], has_links=False)
    world.rack.submit(0)
    world.prompt_done(prefill, 0)
    assert decode.calls == [("join", 0, 0)]
    assert world.ledger.transfer_end[0] == 0


def test_prefilled_requests_decode_without_a_prompt():
    replica = Noted(0, Pool.AGGREGATED, kv_blocks=4)
    world = World(replica, inputs=[30, 20], outputs=[5, 1], is_prefilled=True)
    for request in range(2):
        world.rack.submit(request)
    # the second one waits for memory
    assert replica.calls == [("join", 0, 0)]
    assert world.ledger.first_token.tolist() == [0, NEVER]
    replica.batcher.join(0, group=0, context=30, remaining=1, row=0)
    finished = replica.batcher.finish_step(replica.batcher.next_step())
    world.rack.sequences_left(replica, requests=finished.requests)
    world.env.run()
    assert world.ended == [0, 1]
    assert replica.batcher.free_blocks.tolist() == [4]


def test_a_chunk_keeps_its_group_on_the_way():
    chunk = PrefillChunk(
        request=0, group=0, n_tokens=10, past_tokens=20, is_first=False, is_last=True
    )
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE)
    world = World(prefill, decode, inputs=[30], outputs=[5])
    world.rack.prompt_done(prefill, chunk=chunk)
    assert world.links.sent == [(0, 1, (0, 0), 30)]


def test_caches_of_high_priority_are_placed_first():
    prefill = Noted(0, Pool.PREFILL, kv_blocks=20)
    decode = Noted(1, Pool.DECODE, kv_blocks=4)
    world = World(prefill, decode, inputs=[30, 20, 20, 20], outputs=[5, 5, 5, 5])
    world.rack.priorities = np.array([0, 0, 1, 1])
    for request in range(4):
        world.rack.submit(request)
    for chunk in prefill.batcher.next_step().chunks:
        world.ledger.remaining[chunk.request] -= 1
        world.rack.prompt_done(prefill, chunk=chunk)
    world.env.run()
    assert len(world.links.sent) == 1
    order = []
    for _ in range(3):
        decode.batcher.release(0, n_tokens=[30, 20, 20][len(order)])
        before = len(world.links.sent)
        world.rack.sequences_left(decode, requests=np.array([], dtype=np.int64))
        order.append(len(world.links.sent) - before)
        world.env.run()
    placed = [call[1] for call in decode.calls if call[0] == "join"]
    assert placed == [0, 2, 3, 1]


def test_what_waits_outside_of_a_pool_is_counted():
    prefill, decode = Noted(0, Pool.PREFILL), Noted(1, Pool.DECODE, kv_blocks=4)
    world = World(prefill, decode, inputs=[30, 20, 10], outputs=[5, 5, 5])
    for request in range(2):
        world.rack.submit(request)
    for chunk in prefill.batcher.next_step().chunks:
        world.ledger.remaining[chunk.request] -= 1
        world.rack.prompt_done(prefill, chunk=chunk)
    prefill.is_up = False
    world.rack.submit(2)
    assert (world.rack.n_outside(Pool.PREFILL), world.rack.n_outside(Pool.DECODE)) == (1, 1)
    prefill.is_up = True
    world.rack.refill()
    assert world.rack.n_outside(Pool.PREFILL) == 0
    assert prefill.calls[-1] == ("enqueue", 2, 10, False)


def test_a_cache_waits_for_the_replica_of_its_frontend_while_others_pass():
    class Bound(LeastLoadedRouter):
        is_binding = True

        def ranked(self, replicas, *, request):
            return [one for one in replicas if one.index == (2 if request == 2 else 1)]

    prefill = Noted(0, Pool.PREFILL)
    decoders = [Noted(1, Pool.DECODE, kv_blocks=3), Noted(2, Pool.DECODE, kv_blocks=3)]
    world = World(prefill, *decoders, inputs=[15] * 3, outputs=[5] * 3, router=Bound())
    for request in range(3):
        world.rack.submit(request)
        world.prompt_done(prefill, request)
    # the second one waits for decoder 1, which is full; the third one does not wait for it
    assert [target for _, target, _, _ in world.links.sent] == [1, 2]
    assert world.rack.n_outside(Pool.DECODE) == 1
