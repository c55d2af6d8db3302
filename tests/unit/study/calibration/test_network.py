"""Whether one command gives the shipped communication constants."""

import pytest

from rackmoe.backend.collective_files import COLLECTIVES_FOLDER, CollectivesDocument
from rackmoe.backend.collectives import Spread
from rackmoe.schema.documents import load_document
from rackmoe.schema.shipped import shipped_path
from rackmoe.study.calibration.network import calibrate_network, fit_books


@pytest.fixture(scope="module")
def books():
    return fit_books()


def entries(book):
    return {one.key: one for one in (*book.exchanges, *book.collectives)}


@pytest.mark.parametrize("gpu", ["gb200", "h200", "h100", "h800", "b200"])
def test_shipped_constants_are_those_of_the_fit(gpu, books):
    document = load_document(shipped_path(COLLECTIVES_FOLDER, name=gpu), model=CollectivesDocument)
    shipped = {one.key(): one.constants() for one in (*document.exchanges, *document.collectives)}
    fitted = entries(books[gpu])
    assert set(shipped) == set(fitted)
    for key, one in fitted.items():
        assert shipped[key].report.n_rows == one.report.n_rows
        assert shipped[key].report.median_error_frac == pytest.approx(
            one.report.median_error_frac, abs=0.01
        )


def test_fit_writes_one_file_for_each_gpu(tmp_path, monkeypatch, books):
    monkeypatch.setattr("rackmoe.study.calibration.network.fit_books", lambda: books)
    written = calibrate_network(tmp_path / "new", date="2026-01-02")
    assert set(written) == set(books)
    for gpu, path in written.items():
        document = load_document(path, model=CollectivesDocument)
        assert (document.name, document.date) == (gpu, "2026-01-02")
        assert len(document.exchanges) == len(books[gpu].exchanges)


def test_one_nic_bandwidth_explains_all_low_latency_rows_over_infiniband(books):
    found = [
        one.nic_efficiency
        for one in books["h200"].exchanges
        if (one.key.library, one.key.kernel) == ("sglang-0.5.6.post2", "deepep_ll")
    ]
    assert len(found) == 2
    # 45 to 48 of 50 GB/s, on 2 and on 8 nodes alike
    assert all(0.9 < one < 0.96 for one in found)


def test_kernels_know_how_their_benchmark_chose_experts(books):
    spreads = {
        (one.key.library, one.key.kernel): one.spread
        for book in books.values()
        for one in book.exchanges
    }
    assert spreads["trtllm-1.3.0rc10", "NVLinkOneSided"] is Spread.EVEN
    assert spreads["trtllm-1.3.0rc11", "trtllm_deepep_ht"] is Spread.GROUPED
    assert spreads["sglang-0.5.12", "deepep_ll"] is Spread.RANDOM


def test_no_constants_rest_on_a_single_row(books):
    for book in books.values():
        for one in book.exchanges:
            assert one.report.n_rows >= 2


def test_large_groups_keep_rows_for_their_test(books):
    for book in books.values():
        for one in (*book.exchanges, *book.collectives):
            n_all = one.report.n_rows + one.report.n_held_out
            if n_all >= 40:
                assert 0.3 < one.report.n_held_out / n_all < 0.5
