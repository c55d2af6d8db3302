"""What EPLB is worth on the H100 deployment that LMSYS published: 1.49x and 2.54x.

LMSYS, "Deploying DeepSeek with PD disaggregation and large-scale expert parallelism on 96
H100 GPUs," 2025. The skew of their traffic is not published. It decides the gain, so the
two skews that were measured on DeepSeek-R1 are both run: that of reasoning sets
(deepseek_chat) and that of translation (deepseek_narrow).
"""

import pytest

from rackmoe.scenario.resolved import load_scenario
from rackmoe.simulation import simulate

RATE = "output_tokens_per_s_per_gpu"


@pytest.fixture(scope="module")
def summaries():
    found = {}
    for phase, name in (
        ("prefill", "deepseek_r1_h100_prefill_ep32"),
        ("decode", "deepseek_r1_h100_decode_ep72"),
    ):
        scenario = load_scenario(name)
        found[phase] = {"": simulate(scenario).summary} | {
            key.removeprefix(f"h100_{phase}_"): simulate(one).summary
            for key, one in scenario.variants.items()
        }
    return found


@pytest.mark.parametrize(
    ("phase", "published", "chat", "narrow"),
    [("prefill", 1.49, 1.30, 1.58), ("decode", 2.54, 1.71, 2.59)],
)
def test_published_gain_lies_between_those_of_the_measured_skews(
    summaries, phase, published, chat, narrow
):
    runs = summaries[phase]
    gains = [
        runs[f"{kind}eplb"][RATE] / runs[one][RATE]
        for kind, one in (("", ""), ("narrow_", "narrow"))
    ]
    assert gains == pytest.approx([chat, narrow], rel=0.03)
    assert gains[0] < published < gains[1]


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_eplb_comes_near_exact_balance(summaries, phase):
    runs = summaries[phase]
    assert runs["balanced"]["imbalance_mean"] == pytest.approx(1.0, abs=1e-3)
    assert runs["eplb"]["imbalance_mean"] < 1.2
    assert runs[""]["imbalance_mean"] > 1.7
    assert 0.94 < runs["eplb"][RATE] / runs["balanced"][RATE] < 1.0


def test_wider_groups_gain_more(summaries):
    gains = [summaries[phase]["eplb"][RATE] / summaries[phase][""][RATE] for phase in summaries]
    assert gains[1] > gains[0] > 1.0
