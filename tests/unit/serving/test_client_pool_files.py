import io
import lzma
import tarfile
from pathlib import Path

import numpy as np
import pytest

from rackmoe.errors import TraceError
from rackmoe.schema.shipped import shipped_folder
from rackmoe.serving.client_pool import sample_clients
from rackmoe.serving.client_pool_files import load_client_pool

TRACE = "0,0,0,,0,0\n600,0.5,2,Gamma,0.25,8\n1200,1,1,Weibull,1,1\n"
DATASET = (
    '{"0": {"input_tokens": "{}", "output_tokens": "{}", "reason_ratio": "{}"},'
    ' "1800": {"input_tokens": "{5: 0.25, 7: 0.75}", "output_tokens": "{0: 1.0}"}}'
)
FILES = {"pool/chunk-3-trace.csv": TRACE, "pool/chunk-3-dataset.json": DATASET}


def add(archive: tarfile.TarFile, name: str, text: str, **changes: object) -> None:
    data = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in changes.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(data))


def write(tmp_path: Path, files: dict[str, str], **changes: object) -> Path:
    path = tmp_path / "pool.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        add(archive, "LICENSE", "words")
        for name, text in files.items():
            add(archive, name, text, **changes)
    return path


def test_a_pool_says_rates_shapes_and_lengths(tmp_path: Path) -> None:
    pool = load_client_pool(write(tmp_path, FILES))
    assert (pool.n_clients, pool.window_s, pool.length_window_s) == (1, 600, 1800)
    assert pool.rate_requests_per_s.tolist() == [[0, 0.5, 1]]
    assert pool.shape.tolist() == [[1, 0.25, 1]]
    assert pool.is_weibull.tolist() == [[False, False, True]]


def test_the_shipped_pool_is_a_day_of_deepseek() -> None:
    pool = load_client_pool(
        shipped_folder("scenarios/traces/requests") / "servegen_deepseek-r1.tar.xz"
    )
    assert (pool.n_clients, pool.duration_s, pool.length_window_s) == (73, 86400, 21600)
    rates = pool.rate_requests_per_s
    assert rates.sum(axis=0).mean() == pytest.approx(16.0147, abs=1e-3)
    by_client = np.sort(rates.sum(axis=1))[::-1]
    assert by_client[:10].sum() / by_client.sum() == pytest.approx(0.676, abs=0.002)
    requests = sample_clients(
        pool, start_s=0, duration_s=86400, rng=np.random.default_rng(1), n_requests=200_000
    )
    assert requests.output_tokens.min() >= 1
    hour = sample_clients(pool, start_s=43200, duration_s=3600, rng=np.random.default_rng(1))
    expected = rates[:, 72:78].sum() * 600
    assert len(hour) == pytest.approx(expected, rel=0.05)


def test_mean_lengths_of_the_shipped_pool_depend_on_how_windows_are_weighted() -> None:
    pool = load_client_pool(
        shipped_folder("scenarios/traces/requests") / "servegen_deepseek-r1.tar.xz"
    )
    requests = pool.rate_requests_per_s * pool.window_s
    by_length_window = requests.reshape(pool.n_clients, 4, -1).sum(axis=2)
    for histograms, by_requests, by_client in (
        (pool.input_tokens, 1268.2, 1595.6),
        (pool.output_tokens, 1527.4, 1689.7),
    ):
        ends = histograms.offsets[1:]
        is_known = (~histograms.is_empty).reshape(pool.n_clients, 4)
        chance = np.diff(histograms.levels, prepend=0.0)
        # levels start again at the number of each histogram
        starts = histograms.offsets[:-1][~histograms.is_empty]
        numbers = np.flatnonzero(~histograms.is_empty)
        chance[starts] = histograms.levels[starts] - numbers
        sums = np.concatenate(([0.0], np.cumsum(chance * histograms.values)))
        means = (sums[ends] - sums[histograms.offsets[:-1]]).reshape(pool.n_clients, 4)
        came = by_length_window * is_known
        assert came.sum() == by_length_window.sum(), "requests come where lengths are known"
        assert (came * means).sum() / came.sum() == pytest.approx(by_requests, abs=0.1)
        alike = requests.sum(axis=1, keepdims=True) * is_known
        assert (alike * means).sum() / alike.sum() == pytest.approx(by_client, abs=0.1)


def broken(tmp_path: Path, **changes: str) -> Path:
    names = {"trace": "pool/chunk-3-trace.csv", "dataset": "pool/chunk-3-dataset.json"}
    return write(tmp_path, FILES | {names[kind]: text for kind, text in changes.items()})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"trace": "0,1,1,Gamma,1\n"}, r"trace.csv:1: '0,1,1,Gamma,1'; expected 6 fields"),
        ({"trace": "0,1,1,Normal,1,1\n"}, r"expected 6 fields: .*Gamma or Weibull"),
        ({"trace": "0,1,1,Gamma,0,1\n"}, r"trace.csv:1"),
        ({"trace": "0,-1,1,Gamma,1,1\n"}, r"trace.csv:1"),
        ({"trace": "0,nan,1,Gamma,1,1\n"}, r"trace.csv:1"),
        (
            {"trace": "0,1,1,Gamma,1,1\n"},
            r"windows of the rates: starts .*; expected an even grid",
        ),
        ({"trace": TRACE + "1500,1,1,Gamma,1,1\n"}, r"expected an even grid from 0 s"),
        ({"dataset": "[]"}, r"dataset.json: AttributeError"),
        ({"dataset": "{"}, r"dataset.json: JSONDecodeError"),
        ({"dataset": '{"0": {}}'}, r"dataset.json: KeyError"),
        (
            {"dataset": DATASET.replace("{5: 0.25", "{__import__('os'): 1")},
            r"1800: input_tokens: .*; expected \{tokens: weight",
        ),
        ({"dataset": DATASET.replace("5: 0.25", "5 0.25")}, r"expected \{tokens: weight"),
        ({"dataset": DATASET.replace("5: 0.25", "5.5: 0.25")}, r"expected \{tokens: weight"),
        ({"dataset": DATASET.replace("5: 0.25", "5: -1")}, r"expected \{tokens: weight"),
        ({"dataset": DATASET.replace("5: 0.25", "1e300: 1")}, r"expected \{tokens: weight"),
        (
            {"dataset": DATASET.replace("{5: 0.25, 7: 0.75}", "{}")},
            r"client 0 of 1 sends requests without lengths",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, changes, problem: str) -> None:
    with pytest.raises(TraceError, match=problem):
        load_client_pool(broken(tmp_path, **changes))


def test_both_files_of_a_client_are_needed(tmp_path: Path) -> None:
    path = write(tmp_path, {"chunk-3-trace.csv": TRACE})
    with pytest.raises(TraceError, match=r"client 3: no dataset"):
        load_client_pool(path)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"no chunk-N-trace.csv in it"):
        load_client_pool(write(tmp_path, {"notes.txt": "x"}))


def test_links_and_folders_are_left_alone(tmp_path: Path) -> None:
    path = write(tmp_path, FILES, type=tarfile.SYMTYPE, linkname="../../outside")
    with pytest.raises(TraceError, match=r"no chunk-N-trace.csv in it"):
        load_client_pool(path)


def test_a_name_that_climbs_out_writes_nothing(tmp_path: Path) -> None:
    files = {f"../../{name}": text for name, text in FILES.items()}
    before = sorted(tmp_path.rglob("*"))
    pool = load_client_pool(write(tmp_path, files))
    assert pool.n_clients == 1
    assert sorted(tmp_path.rglob("*")) == [*before, tmp_path / "pool.tar.xz"]


def test_a_member_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pool.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        add(archive, "chunk-0-trace.csv", "0" * (2**24 + 1))
    with pytest.raises(TraceError, match=r"16777217 B; expected at most 16777216 B"):
        load_client_pool(path)


def test_a_small_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "pool.tar.xz"
    coder = lzma.LZMACompressor(preset=0)
    zeros = bytes(2**24)
    path.write_bytes(b"".join([*(coder.compress(zeros) for _ in range(17)), coder.flush()]))
    with pytest.raises(TraceError, match=r"larger than 268435456 B unpacked"):
        load_client_pool(path)


@pytest.mark.parametrize("data", [b"", b"not xz at all", lzma.compress(b"not a tar" * 100)])
def test_damaged_archives_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "pool.tar.xz"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=r"pool.tar.xz: .*; expected"):
        load_client_pool(path)


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, FILES)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TraceError, match=r"pool.tar.xz"):
        load_client_pool(path)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"No such file"):
        load_client_pool(tmp_path / "none.tar.xz")
