"""Which exchanges a replica makes, and the bytes that it sends."""

import numpy as np
import pytest

from rackmoe.backend.collectives import Family
from rackmoe.engine.exchanges import DispatchCombine, ExpertReduce, LocalExperts
from rackmoe.engine.pair_traffic import PairTraffic
from rackmoe.network.traffic import PortTimes
from rackmoe.routing.step import StepRouting

TOKENS = np.array([3, 0])
SMALL = {"n_layers": 1, "n_experts": 4, "n_ranks": 4}


class Reduce:
    """An all-reduce that takes 1 s and 1 s per byte."""

    def __init__(self, n_ranks, n_local=None):
        self.n_ranks = n_ranks
        self.n_local = n_local or n_ranks

    def time_s(self, n_bytes):
        return 1.0 + np.asarray(n_bytes)


class Told:
    """Dispatch and combine that remember what they were asked."""

    def __init__(self):
        self.asked = []

    def dispatch_times(self, traffic, *, tokens):
        self.asked.append(("dispatch", traffic, tokens.tolist()))
        return PortTimes(egress_s=np.ones((1, 2)), ingress_s=np.ones((1, 2)), latency_s=0.5)

    def combine_times(self, traffic, *, tokens):
        self.asked.append(("combine", traffic, tokens.tolist()))
        return PortTimes(egress_s=np.ones((1, 2)), ingress_s=np.ones((1, 2)), latency_s=0.5)


def routed(n_ranks=2):
    step = StepRouting.zeros(n_layers=1, n_experts=4, n_ranks=n_ranks)
    step.assignments_out[:] = 6.0
    step.remote_assignments_out[:] = 2.0
    step.copies_out[:] = 4.0
    step.node_copies_out[:] = 1.0
    return step


def build(family, *, tp=1, n_ranks=2, exchange=None, n_local=None):
    return DispatchCombine(
        exchange or Told(),
        tp=tp,
        reduce_law=Reduce(tp, n_local) if tp > 1 else None,
        payload_bytes=(4.0, 6.0),
        hidden=5,
        n_layers=3,
        traffic=PairTraffic(family, n_ranks=n_ranks, domain_ranks=n_local or n_ranks),
    )


def test_one_gpu_exchanges_nothing():
    local = LocalExperts()
    assert local.group_reduce_s(TOKENS).tolist() == [0, 0]
    assert local.expert_exchanges(routed(), tokens=TOKENS) == (None, None)
    assert local.sent_bytes(routed(), tokens=TOKENS) == (0.0, 0.0)


def test_tensor_parallel_experts_are_reduced_instead_of_combined():
    tokens = np.array([3])
    exchanges = ExpertReduce(Reduce(4), hidden=5, n_layers=3, n_moe_layers=2)
    # 3 rows of 5 values in bf16
    assert exchanges.group_reduce_s(tokens).tolist() == [1 + 30]
    dispatch, combine = exchanges.expert_exchanges(routed(4), tokens=tokens)
    assert not dispatch.egress_s.any()
    assert combine.egress_s.tolist() == [[31.0] * 4] * 2
    assert combine.ingress_s.tolist() == combine.egress_s.tolist()
    # two all-reduces in each of 3 layers, in which 4 GPUs send 2 (4 - 1) x 30 B
    assert exchanges.sent_bytes(routed(4), tokens=tokens) == (2 * 3 * 2 * 3 * 30, 0.0)


def test_groups_without_rows_reduce_nothing():
    exchanges = build(Family.DEEPEP_NORMAL, tp=2, n_ranks=4)
    assert exchanges.group_reduce_s(TOKENS).tolist() == [31.0, 0.0]
    assert build(Family.DEEPEP_NORMAL).group_reduce_s(TOKENS).tolist() == [0.0, 0.0]


def test_tokens_of_a_group_are_dealt_to_its_gpus():
    told = Told()
    exchanges = build(Family.DEEPEP_NORMAL, tp=2, n_ranks=4, exchange=told)
    traffic = routed(4)
    exchanges.expert_exchanges(traffic, tokens=TOKENS)
    assert told.asked == [
        ("dispatch", traffic, [1.5, 1.5, 0.0, 0.0]),
        ("combine", traffic, [1.5, 1.5, 0.0, 0.0]),
    ]


def test_split_experts_exchange_by_tokens_alone():
    told = Told()
    exchanges = build(Family.ALLGATHER_REDUCESCATTER, exchange=told)
    exchanges.expert_exchanges(routed(1), tokens=TOKENS)
    traffic = told.asked[0][1]
    assert traffic.copies_out.shape == (1, 2)
    assert not traffic.copies_out.any()


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        # 2 ranks x 6 assignments, of which 2 x 2 leave the node, 10 B each
        (Family.DEEPEP_LOW_LATENCY, (80.0, 40.0)),
        (Family.IDEAL, (80.0, 40.0)),
        # everything over the NICs
        (Family.DEEPEP_LOW_LATENCY_RDMA, (0.0, 120.0)),
        # 2 ranks x 4 copies, of which 2 x 1 leave the node
        (Family.DEEPEP_NORMAL, (60.0, 20.0)),
        (Family.NVLINK_ONE_SIDED, (60.0, 20.0)),
        # 3 tokens to one other rank in one MoE layer
        (Family.ALLGATHER_REDUCESCATTER, (30.0, 0.0)),
    ],
)
def test_sent_bytes_by_family(family, expected):
    assert build(family).sent_bytes(routed(), tokens=TOKENS) == expected


def test_reductions_within_groups_are_sent_too():
    exchanges = build(Family.DEEPEP_NORMAL, tp=2, n_ranks=4)
    up, out = exchanges.sent_bytes(routed(4), tokens=TOKENS)
    # 3 layers x 3 rows x 10 B x 2 passes x (2 - 1)
    assert up == 4 * (4 - 1) * 10 + 3 * 30 * 2
    assert out == 4 * 1 * 10


def test_what_a_rank_gets_at_dispatch_it_sends_back_at_combine():
    step = StepRouting.zeros(n_layers=1, n_experts=4, n_ranks=2)
    step.copies_out[0] = 4.0, 1.0
    step.copies_in[0] = 1.0, 4.0
    step.node_copies_out[0] = 3.0, 0.0
    step.node_copies_in[0] = 0.0, 3.0
    found = build(Family.DEEPEP_NORMAL).port_bytes(step, tokens=TOKENS)
    # 1 copy stays in the domain each way; 3 of 4 B out and of 6 B back over the NIC of rank 0
    assert found.tolist() == [[10.0, 10.0], [10.0, 10.0], [12.0, 18.0], [18.0, 12.0]]


def test_port_bytes_add_up_to_the_sent_bytes():
    exchanges = build(Family.ALLGATHER_REDUCESCATTER, tp=2, n_ranks=4)
    up, out = exchanges.sent_bytes(routed(4), tokens=TOKENS)
    found = exchanges.port_bytes(routed(4), tokens=TOKENS)
    assert found.sum(axis=1).tolist() == pytest.approx([up, up, out, out])


def test_tensor_parallel_bytes_between_domains_cross_the_nics():
    tokens = np.array([3])
    exchanges = ExpertReduce(Reduce(4, n_local=2), hidden=5, n_layers=3, n_moe_layers=2)
    up, out = exchanges.sent_bytes(routed(4), tokens=tokens)
    # 6 all-reduces of 30 B, two passes: once between 2 domains, and 2 x (2 - 1) inside them
    assert (up, out) == (6 * 2 * 2 * 30, 6 * 2 * 30)
    found = exchanges.port_bytes(routed(4), tokens=tokens)
    assert found.tolist() == [[up / 4] * 4, [up / 4] * 4, [out / 4] * 4, [out / 4] * 4]


def test_reductions_of_groups_over_domains_cross_the_nics():
    exchanges = build(Family.DEEPEP_NORMAL, tp=4, n_ranks=4, n_local=2)
    tokens = np.array([3])
    up, out = exchanges.sent_bytes(StepRouting.zeros(**SMALL), tokens=tokens)
    assert (up, out) == (3 * 30 * 2 * 2, 3 * 30 * 2)
    found = exchanges.port_bytes(StepRouting.zeros(**SMALL), tokens=tokens)
    assert found.sum(axis=1).tolist() == pytest.approx([up, up, out, out])


def test_gathers_over_domains_cross_the_nics_once():
    exchanges = build(Family.ALLGATHER_REDUCESCATTER, n_ranks=4, n_local=2)
    tokens = np.array([3, 3, 3, 3])
    up, out = exchanges.sent_bytes(StepRouting.zeros(**SMALL), tokens=tokens)
    # 12 tokens of 10 B to 3 others, one of the 3 passes between the domains
    assert (up, out) == (240.0, 120.0)
    found = exchanges.port_bytes(StepRouting.zeros(**SMALL), tokens=tokens)
    assert found.sum(axis=1).tolist() == pytest.approx([up, up, out, out])
