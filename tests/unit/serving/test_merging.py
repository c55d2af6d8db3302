import numpy as np
import pytest

from rackmoe.errors import ConfigError
from rackmoe.serving.merging import merge_applications
from rackmoe.serving.prefixes import PrefixBlocks
from rackmoe.serving.workload import RequestTable


def table(times: list[float], *, first: int, **columns) -> RequestTable:
    n = len(times)
    return RequestTable(
        arrival_s=np.array(times),
        input_tokens=np.arange(first, first + n),
        output_tokens=np.ones(n, int),
        **columns,
    )


def test_requests_stand_in_the_order_of_their_arrival() -> None:
    merged = merge_applications(
        {"a": table([0.0, 4.0], first=10), "b": table([1.0, 2.0, 9.0], first=20)}
    )
    assert merged.arrival_s.tolist() == [0, 1, 2, 4, 9]
    assert merged.input_tokens.tolist() == [10, 20, 21, 11, 22]
    assert merged.application.tolist() == [0, 1, 1, 0, 1]
    assert merged.application_names == ("a", "b")
    assert merged.prefixes is None


def test_turns_follow_their_own_session() -> None:
    sessions = table(
        [0.0, np.nan, 6.0, np.nan],
        first=10,
        previous=np.array([-1, 0, -1, 2]),
        delay_s=np.array([0.0, 1.5, 0.0, 2.5]),
    )
    merged = merge_applications({"chat": table([1.0, 7.0], first=50), "agents": sessions})
    assert merged.input_tokens.tolist() == [10, 11, 50, 12, 13, 51]
    assert merged.previous.tolist() == [-1, 0, -1, -1, 3, -1]
    assert merged.delay_s.tolist() == [0, 1.5, 0, 0, 2.5, 0]


def test_a_closed_loop_mixes_with_timed_requests() -> None:
    merged = merge_applications(
        {"loop": table([np.nan, np.nan], first=1), "timed": table([0.0, 3.0], first=5)}
    )
    assert np.isnan(merged.arrival_s).sum() == 2
    assert not merged.is_closed_loop


def test_domains_of_equal_name_are_one_and_blocks_are_not_shared() -> None:
    blocks = PrefixBlocks(offsets=np.array([0, 1]), ids=np.array([0]), block_tokens=16)
    first = table([0.0], first=1, domain=np.array([0]), domain_names=("code",), prefixes=blocks)
    second = table(
        [1.0], first=2, domain=np.array([1]), domain_names=("chat", "code"), prefixes=blocks
    )
    merged = merge_applications({"a": first, "b": second, "c": table([2.0], first=3)})
    assert merged.domain_names == ("code", "chat")
    assert merged.domain.tolist() == [0, 0, -1]
    assert merged.prefixes.of(0).tolist() != merged.prefixes.of(1).tolist()
    assert merged.prefixes.of(2).size == 0


def test_no_application_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"workload.applications: none"):
        merge_applications({})
