"""Whole runs of expert parallelism over nodes: leaves and spines slow exchanges as worked by hand.

Four nodes of HGX H200, 32 experts ranks that write to each other directly: 24 of a rank's 31
peers are in other nodes, three of them on its own rail, so that 7 of 8 bytes that a NIC sends
cross the spines. A leaf has four NICs of the group.
"""

from dataclasses import replace

import pytest
from run_cases import case, exchange_s, run
from strategies import Shape

from rackmoe.scenario.simulation import Fault

TIERS = ("plan", "phase", "flow", "packet")
N_RANKS = 32


def four_nodes(*uplinks, **values):
    """NICs of 0.5 GB/s decide; a leaf has some uplinks of the same speed."""
    sizes = zip(("scale_out.leaf_uplinks", "scale_out.unit_spines"), uplinks, strict=False)
    return case(
        "hgx_h200",
        N_RANKS,
        overrides=(("scale_out.nic_bandwidth", "0.5 GB/s"), *sizes),
        routing="balanced",
        spread=(1.0, 1.0),
        n_units=4,
        requests=8 * N_RANKS,
        pools=(Shape(attention_dp=N_RANKS, ep=N_RANKS, redundant_experts=16),),
        **values,
    )


def fault(kind, *, where=0):
    return Fault(kind=kind, at_s=0.0, for_s=1e3, where=where)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("uplinks", "expected"), [(4, 1.0), (2, 1.75), (1, 3.5)])
def test_oversubscribed_spines_slow_exchanges_by_what_crosses_them(
    small_files, tier, uplinks, expected
):
    # 4 NICs x 7/8 over the uplinks
    free, tight = (
        exchange_s(run(made, small_files, fidelity=tier))
        for made in (four_nodes(), four_nodes(uplinks))
    )
    assert tight / free == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("tier", ["plan", "flow", "packet"])
@pytest.mark.parametrize(
    ("kind", "uplinks", "expected"),
    [
        # a leaf with an uplink to each of three spines: 3 / (3 - 1)
        ("spine", (3, 3), 3 / 2),
        # four carry 7/8 of what they could; three do not
        ("spine", (4, 4), 7 / 6),
        ("spine", (), 1.0),
        # its NICs are served by those of the next rail, which carry twice as much
        ("leaf", (), 2.0),
        # eight ranks below a leaf, 6 of 8 bytes beyond, against four and 7 of 8
        ("leaf", (2, 4), 8 * 6 / (4 * 7)),
        ("nic", (), 2.0),
    ],
)
def test_failed_spines_leaves_and_nics_slow_the_links_that_are_left(
    small_files, tier, kind, uplinks, expected
):
    made = four_nodes(*uplinks)
    whole, hurt = (
        exchange_s(run(made, small_files, fidelity=tier, faults=some))
        for some in ((), (fault(kind, where=1),))
    )
    assert hurt / whole == pytest.approx(expected, rel=0.02)


def test_steps_take_as_much_longer_as_their_exchanges(small_files):
    results = [run(made, small_files) for made in (four_nodes(), four_nodes(1))]
    free, tight = (one.to_frame("steps") for one in results)
    longer_s = tight["duration_s"].sum() - free["duration_s"].sum()
    assert longer_s == pytest.approx(exchange_s(results[1]) - exchange_s(results[0]), rel=1e-6)
    for name in ("attention_s", "expert_s"):
        assert tight[name].sum() == pytest.approx(free[name].sum(), rel=1e-9)


def test_leaves_carry_what_leaves_a_rail_and_law_02_holds(small_files):
    links = run(four_nodes(1), small_files).to_frame("links")
    nics, leaves = (links[links["tier"] == name] for name in ("scale_out", "leaf"))
    sent = nics["sent_bytes"].sum()
    assert nics["received_bytes"].sum() == pytest.approx(sent, rel=1e-9)
    # every byte takes two NICs, and 7 of 8 the uplinks of two leaves
    for way in ("sent_bytes", "received_bytes"):
        assert leaves[way].sum() == pytest.approx(7 / 8 * sent, rel=1e-6)
    assert leaves["collective_bytes"].tolist() == pytest.approx(
        (leaves["sent_bytes"] + leaves["received_bytes"]).tolist()
    )
    # the uplinks are full while exchanges last
    assert leaves["mean_utilization_frac"].min() > 3 * nics["mean_utilization_frac"].max()
    assert leaves["mean_utilization_frac"].max() <= 1.0


def test_bytes_of_a_failed_leaf_take_the_next_one(small_files):
    links = run(four_nodes(), small_files, faults=(fault("leaf", where=3),)).to_frame("links")
    leaves = links[links["tier"] == "leaf"].set_index("port")["sent_bytes"]
    assert leaves.index.tolist() == [0, 1, 2, 4, 5, 6, 7]
    # eight ranks and 6 of 8 bytes, against four and 7 of 8
    assert leaves[4] / leaves[0] == pytest.approx(8 * 6 / (4 * 7), rel=1e-6)


def test_a_replica_without_any_spine_left_is_out_of_service(small_files):
    made = four_nodes(1, 1)
    gone = Fault(kind="spine", at_s=1e-3, for_s=5e-3, where=0)
    result = run(made, small_files, faults=(gone,))
    assert "out of service for 0.005 s" in result.provenance["faults"]
    assert (result.to_frame("requests")["state"] == "done").all()


def test_spines_fail_in_the_middle_of_a_step(small_files):
    made = four_nodes(3, 3)
    steps = run(made, small_files).to_frame("steps")
    at_s = float(steps["start_s"].iloc[3] + 0.5 * steps["duration_s"].iloc[3])
    gone = Fault(kind="spine", at_s=at_s, for_s=1e3, where=0)
    hurt = run(made, small_files, faults=(gone,)).to_frame("steps")
    took = hurt["duration_s"].to_numpy() / steps["duration_s"].to_numpy()
    assert took[:3] == pytest.approx(1.0, rel=1e-9)
    assert 1.0 < took[3] < took[-1] <= 1.5 + 1e-6


def test_two_micro_batches_feel_the_spines_too(small_files):
    def two(*uplinks):
        shape = replace(four_nodes().pools[0], two_batch_overlap=True)
        return replace(four_nodes(*uplinks), pools=(shape,))

    free, tight = (
        run(made, small_files).to_frame("steps")["duration_s"].sum() for made in (two(), two(1))
    )
    # exchanges are nearly all of a step
    assert tight / free == pytest.approx(3.5, rel=0.1)
