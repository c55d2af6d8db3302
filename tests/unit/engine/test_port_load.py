"""Windows of time that keep the load of links at a bounded cost."""

import numpy as np
import pytest

from rackmoe.engine.port_load import PortLoad, spread_bytes, spread_bytes_plain

MS = 10**9


def test_bytes_spread_over_the_windows_of_their_interval():
    load = PortLoad(2)
    load.add(np.array([1]), n_bytes=np.array([6.0]), start_ps=MS // 2, end_ps=2 * MS)
    rates = load.rates_bytes_per_s(2 * MS)
    assert rates.tolist() == pytest.approx(np.array([[0.0, 2000.0], [0.0, 4000.0]]))


def test_windows_double_and_keep_all_bytes():
    load = PortLoad(1)
    link, one = np.array([0]), np.array([1.0])
    for at in range(2000):
        load.add(link, n_bytes=one, start_ps=at * MS, end_ps=(at + 1) * MS)
    assert load.width_ps == 4 * MS
    rates = load.rates_bytes_per_s(2000 * MS)
    assert rates == pytest.approx(np.full((500, 1), 1000.0))
    assert load.p99_bytes_per_s(2000 * MS).tolist() == pytest.approx([1000.0])


@pytest.mark.parametrize(("start_ps", "end_ps"), [(0, 10), (3, 47), (9, 10), (20, 30), (5, 11)])
def test_kernel_is_its_twin_to_the_last_bit(start_ps, end_ps):
    links, n_bytes = np.array([3, 0, 2]), np.array([1.5, 2e9, 7.0])
    one, two = np.ones((5, 4)), np.ones((5, 4))
    spread_bytes(one, links, n_bytes, start_ps, end_ps, 10)
    spread_bytes_plain(two, links, n_bytes, start_ps, end_ps, 10)
    assert one.tolist() == two.tolist()
    assert one[:, [3, 0, 2]].sum(axis=0) - 5 == pytest.approx(n_bytes)
