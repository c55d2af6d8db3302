"""What breaks in a run, and what it does to the steps and the transfers that are under way."""

from dataclasses import replace

import numpy as np
import pytest
from run_cases import EXCHANGE_PARTS, case, exchange_s, run
from strategies import Shape

from rackmoe.hardware.profile import load_machine
from rackmoe.scenario.simulation import Fault

FOREVER_S = 1e3


def fault(kind, *, where=0, at_s=0.0, for_s=FOREVER_S, **values):
    return Fault(kind=kind, at_s=at_s, for_s=for_s, where=where, **values)


def ratio(made, folder, *faults, **values):
    """Time in exchanges with faults over that without."""
    whole, hurt = (run(made, folder, faults=some, **values) for some in ((), faults))
    return exchange_s(hurt) / exchange_s(whole)


def two_domains(**values):
    """EP16 over two HGX nodes: the NICs decide."""
    return case("hgx_h200", 16, overrides=(("scale_out.nic_bandwidth", "0.5 GB/s"),), **values)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ([fault("switch_tray")], 18 / 16),
        ([fault("plane", where=3)], 18 / 17),
        ([fault("plane"), fault("switch_tray", where=4)], 18 / 15),
        ([fault("slow_link", where=gpu, factor=0.5) for gpu in range(8)], 2.0),
    ],
)
def test_exchanges_slow_down_by_what_is_lost(small_files, broken, expected):
    assert ratio(case("gb200_nvl72", 8), small_files, *broken) == pytest.approx(expected, rel=0.01)


def test_a_link_of_one_gpu_costs_at_most_its_share(small_files):
    found = ratio(case("gb200_nvl72", 8), small_files, fault("link", where=2))
    assert 1.0 <= found <= 18 / 17 + 1e-6


@pytest.mark.parametrize("kind", ["nic", "leaf"])
def test_nics_do_not_matter_inside_a_domain(small_files, kind):
    assert ratio(case("gb200_nvl72", 8), small_files, fault(kind)) == 1.0


def test_a_failed_nic_is_served_by_a_neighbor_and_halves_nothing_else(small_files):
    made = two_domains(routing="balanced", spread=(1.0, 1.0))
    whole, hurt = (run(made, small_files, faults=some) for some in ((), (fault("nic", where=3),)))
    # the neighbor's NIC carries two ranks, for which all others wait
    assert exchange_s(hurt) / exchange_s(whole) == pytest.approx(2.0, rel=0.02)
    compute = ["attention_s", "expert_s"]
    for name in compute:
        sums = [one.to_frame("steps")[name].sum() for one in (whole, hurt)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-9), name
    sent = [one.to_frame("requests")["n_output_tokens"].sum() for one in (whole, hurt)]
    assert sent[0] == sent[1]


def test_caches_over_other_nics_do_not_feel_a_failed_one(small_files):
    # the cache of each prefill GPU goes over its own NIC
    made = replace(
        case("hgx_h200", 8),
        pools=(Shape(replicas=4), Shape(attention_dp=4, ep=4)),
        arrivals=("closed_loop", 1),
        lengths=(2000, 3),
        requests=6,
    )
    whole, hurt = (
        run(made, small_files, kv_path="scale_out", faults=some)
        for some in ((), (fault("nic", where=3),))
    )
    times_s = [
        (one.to_frame("requests")["transfer_end_s"] - one.to_frame("requests")["prefill_end_s"])
        for one in (whole, hurt)
    ]
    same = np.isclose(times_s[0], times_s[1], rtol=1e-9)
    assert same.any()
    assert (times_s[1] <= 2.1 * times_s[0]).all()


def test_a_step_under_way_slows_down_and_recovers(small_files):
    made = case("gb200_nvl72", 8)
    steps = run(made, small_files).to_frame("steps")
    at_s = float(steps["start_s"].iloc[3] + 0.5 * steps["duration_s"].iloc[3])
    slow = [
        fault("slow_link", where=gpu, factor=0.25, at_s=at_s, for_s=steps["duration_s"].iloc[3])
        for gpu in range(8)
    ]
    hurt = run(made, small_files, faults=tuple(slow)).to_frame("steps")
    took = hurt["duration_s"].to_numpy() / steps["duration_s"].to_numpy()
    assert took[:3] == pytest.approx(1.0, rel=1e-9)
    assert took[3] > 1.2
    assert took[-1] == pytest.approx(1.0, rel=1e-9)


def test_random_faults_come_at_the_rate_of_the_profile(small_files):
    made = replace(
        case("gb200_nvl72", 8), pools=(Shape(attention_dp=4, ep=4, replicas=2),), requests=96
    )
    end_s = float(run(made, small_files).to_frame("requests")["last_token_s"].max())
    # eight GPUs in use share the rate; 20 and 80 failures are expected
    mean_s = load_machine("gb200_nvl72").reliability.network_mtbf_s / 8
    found = []
    for expected in (20, 80):
        random = Fault(kind="nic", rate_scale=expected * mean_s / end_s, for_s=end_s / 1e4)
        result = run(made, small_files, faults=(random,))
        found.append(int(result.provenance["faults"].split(" faults")[0]))
        assert (result.to_frame("requests")["state"] == "done").all()
        assert found[-1] == pytest.approx(expected, abs=3 * expected**0.5)
    again = run(made, small_files, faults=(random,))
    assert again.provenance["faults"] == result.provenance["faults"]


def test_random_failures_of_gpus_take_replicas_out_and_put_them_back(small_files):
    made = replace(
        case("gb200_nvl72", 8), pools=(Shape(attention_dp=4, ep=4, replicas=2),), requests=96
    )
    end_s = float(run(made, small_files).to_frame("requests")["last_token_s"].max())
    mean_s = load_machine("gb200_nvl72").reliability.gpu_mtbf_s / 8
    random = Fault(kind="gpu", rate_scale=5 * mean_s / end_s, for_s=end_s / 10)
    result = run(made, small_files, faults=(random,))
    requests = result.to_frame("requests")
    assert (requests["state"] == "done").all()
    assert requests["n_preemptions"].sum() > 0
    out_s = float(result.provenance["faults"].split("service for ")[1].split(" s")[0])
    assert out_s > 0.0
    assert requests["last_token_s"].max() > end_s


def test_caches_on_nics_slow_exchanges_over_domains_down(small_files):
    # prefill on its own node sends over the NICs that EP16 decode exchanges over
    slowness, kv_bytes = {}, {}
    for arbitration in ("priority", "per_flow", "classes"):
        made = replace(
            two_domains(),
            pools=(Shape(replicas=8), Shape(attention_dp=16, ep=16)),
            lengths=(3000, 12),
            max_batch=16,
            arrivals=("poisson", "20000 /s"),
            requests=64,
            n_units=3,
            overrides=(
                ("scale_out.nic_bandwidth", "0.5 GB/s"),
                ("scale_up.arbitration", arbitration),
            ),
        )
        result = run(made, small_files, kv_path="scale_out", fidelity="plan")
        steps = result.to_frame("steps")
        steps = steps[steps["pool"] == "decode"]
        exchanged_s = steps[EXCHANGE_PARTS].to_numpy().sum()
        slowness[arbitration] = exchanged_s / steps["scale_out_bytes"].sum()
        links = result.to_frame("links")
        both = links[(links["tier"] == "scale_out") & (links["replica"] == 8)]
        assert (both["collective_bytes"] > 0).all()
        kv_bytes[arbitration] = both["kv_bytes"].sum()
    assert min(kv_bytes.values()) > 0
    # a rank has fifteen peers, so that one more flow takes little and a class takes half
    assert slowness["priority"] <= slowness["per_flow"] < 1.15 * slowness["priority"]
    assert slowness["classes"] > 1.1 * slowness["priority"]
    assert slowness["classes"] > slowness["per_flow"]
