import numpy as np

from rackmoe.report.balance import balance_frame
from rackmoe.report.routing_figures import draw_balance, draw_count_trace, draw_trace
from rackmoe.routing.affinity import PairCounts
from rackmoe.routing.statistics import LAGS, TraceStatistics
from rackmoe.routing.traces import CountTrace, TraceHeader
from rackmoe.study.balance import BalanceRow


def statistics(overlap):
    counts = np.array([[8, 4, 4], [2, 2, 12]])
    within = np.stack([np.diag(row) for row in counts])
    return TraceStatistics(
        counts=counts,
        n_tokens=16,
        top_k=1,
        overlap=np.full((len(LAGS), 2), overlap),
        pairs=PairCounts(within=within, across=np.ones((1, 3, 3), np.int64)),
    )


def test_heat_map_shows_loads_over_the_mean_in_their_order():
    figure = draw_trace(statistics(0.4), title="toy", source="a test")
    heat, memory = figure.axes[:2]
    shown = np.asarray(heat.images[0].get_array())
    assert shown.tolist() == [[1.5, 0.75, 0.75], [2.25, 0.375, 0.375]]
    assert memory.lines[0].get_ydata().tolist() == [0.4] * len(LAGS)


def test_counts_are_drawn_step_by_step():
    header = TraceHeader(
        model="toy",
        n_experts=4,
        top_k=1,
        moe_layer_ids=(0,),
        phase="any",
        source="a test",
        licence="none",
    )
    counts = np.array([[[4, 0, 0, 0]], [[1, 1, 1, 1]]])
    trace = CountTrace(counts=counts, step_tokens=np.array([4, 4]), header=header)
    heat, steps = draw_count_trace(trace, title="toy").axes[:2]
    assert np.asarray(heat.images[0].get_array()).tolist() == [[2.5, 0.5, 0.5, 0.5]]
    assert steps.lines[0].get_ydata().tolist() == [4.0, 1.0]


def test_imitation_is_drawn_beside_the_trace():
    figure = draw_trace(statistics(0.4), title="toy", source="a test", imitation=statistics(0.3))
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["trace", "regenerated", "unrelated"]


def test_balance_has_a_bar_for_each_setting_and_figure():
    row = BalanceRow(
        setting="EPLB",
        ep=8,
        n_redundant=0,
        imbalance=1.2,
        output_tokens_per_s_per_gpu=100.0,
        tpot_p50_s=0.01,
        expert_weight_bytes_per_rank=2e9,
    )
    figure = draw_balance(balance_frame([row, row]), title="mine", machine="hgx_h200", seed=0)
    widths = [[bar.get_width() for bar in panel.patches] for panel in figure.axes]
    assert widths == [[1.2, 1.2], [100.0, 100.0], [2.0, 2.0]]
