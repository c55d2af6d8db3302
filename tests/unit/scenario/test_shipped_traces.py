"""Which file a name means."""

import pytest

from rackmoe.errors import ConfigError
from rackmoe.scenario.shipped_traces import find_client_pool, find_request_trace


def test_shipped_pools_are_found_by_name():
    assert find_client_pool("servegen_deepseek-r1").name == "servegen_deepseek-r1.tar.xz"


def test_a_file_of_the_user_comes_first(tmp_path):
    path = tmp_path / "pool.tar.xz"
    path.write_bytes(b"")
    assert find_client_pool(str(path)) == path


def test_unknown_names_get_a_suggestion_and_their_place():
    with pytest.raises(
        ConfigError, match=r"arrivals.clients.pool: no file or shipped pool 'serve"
    ):
        find_client_pool("servegen")
    with pytest.raises(ConfigError, match=r"workload.sessions.trace: .*did you mean 'tracelab_ex"):
        find_request_trace("tracelab_exmple", key="sessions.trace")
