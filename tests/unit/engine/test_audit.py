"""Exchanges by the closed form against packets."""

import numpy as np
import pytest

from rackmoe.engine.audit import Audit, exchange_makespans_s


@pytest.mark.parametrize("n_ranks", [2, 8, 72])
def test_balanced_exchanges_agree_with_packets(n_ranks):
    busy_s = np.full(n_ranks, 1e-3)
    closed_s, packet_s = exchange_makespans_s(
        np.zeros(n_ranks), egress_s=busy_s, ingress_s=busy_s, rng=np.random.default_rng(0)
    )
    assert closed_s == pytest.approx(1e-3)
    assert packet_s == pytest.approx(closed_s, rel=0.1)


def test_a_hot_receiver_decides_both():
    egress_s, ingress_s = np.full(8, 1e-3), np.full(8, 0.7e-3)
    ingress_s[3] = 3e-3
    closed_s, packet_s = exchange_makespans_s(
        np.zeros(8), egress_s=egress_s, ingress_s=ingress_s, rng=np.random.default_rng(0)
    )
    assert closed_s == pytest.approx(3e-3, rel=0.01)
    assert packet_s == pytest.approx(closed_s, rel=0.03)


def test_an_audit_without_exchanges_reports_nothing():
    assert Audit(1, rng=np.random.default_rng(0)).report() is None
