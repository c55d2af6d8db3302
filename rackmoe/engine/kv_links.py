"""How KV caches travel from prefill to decode replicas over the fabric."""

import numpy as np
import simpy

from rackmoe.engine.clock import to_picoseconds
from rackmoe.engine.fabric import Fabric
from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.replica import Replica
from rackmoe.hardware.machine import Machine
from rackmoe.model.cache import index_bytes_per_token, kv_bytes_per_token
from rackmoe.records import Table, Tier
from rackmoe.scenario.resolved import Scenario

__all__ = ["KvLinks", "build_kv_links"]


class KvLinks:
    """Moves KV caches over the ports of the GPUs that hold them.

    Each GPU of the target group fetches its share, or its copy, from a GPU of the
    source group at the same time, so one transfer stands for all of them.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    machine : Machine
        Ports and latencies.
    n_gpus : int
        GPUs of the machine.
    is_scale_up : bool
        Whether caches travel over the scale-up fabric instead of the NICs.
    setup_s : float
        Handshake of one request. [s]
    token_bytes : float
        Cache of one token that one GPU of the target fetches. [B]
    """

    def __init__(
        self,
        env: simpy.Environment,
        *,
        machine: Machine,
        n_gpus: int,
        is_scale_up: bool,
        setup_s: float,
        token_bytes: float,
    ) -> None:
        self._env = env
        self._n_gpus = n_gpus
        self._token_bytes = token_bytes
        self._tier = Tier.SCALE_UP if is_scale_up else Tier.SCALE_OUT
        up, out = machine.scale_up, machine.scale_out
        if is_scale_up:
            port = up.gpu_bandwidth_bytes_per_s * up.copy_frac
            self._latency_s = setup_s + up.latency_s
        else:
            port = out.nic_bandwidth_bytes_per_s * out.nics_per_gpu * out.copy_frac
            self._latency_s = setup_s + 2 * out.endpoint_latency_s + out.switch_latency_s
        names = [f"gpu{g}.{way}" for way in ("out", "in") for g in range(n_gpus)]
        self._fabric = Fabric(env, np.full(2 * n_gpus, port), names=names)
        self._port_bytes_per_s = port

    def send(
        self,
        source: Replica,
        *,
        target: Replica,
        groups: tuple[int, int],
        n_tokens: int,
    ) -> simpy.Event:
        """Return an event that fires when a cache has arrived.

        Parameters
        ----------
        source, target : Replica
            The replica that computed the prompt, and the one that will decode.
        groups : tuple of int
            Attention groups in the source and in the target.
        n_tokens : int
            Tokens in the cache.

        Returns
        -------
        simpy.Event
            Succeeds at the end of the transfer.
        """
        links = (
            source.first_gpu + groups[0] * source.tp,
            self._n_gpus + target.first_gpu + groups[1] * target.tp,
        )
        arrived = self._env.event()
        ready = self._env.timeout(to_picoseconds(self._latency_s))
        n_bytes = n_tokens * self._token_bytes
        ready.callbacks.append(lambda _: self._move(links, n_bytes, arrived))
        return arrived

    def write(self, table: Table) -> None:
        """Append the ports that carried anything to the link table.

        Parameters
        ----------
        table : Table
            The link table.
        """
        counters = self._fabric.counters()
        moved = counters.moved_bytes.sum(axis=0)
        for gpu in range(self._n_gpus):
            sent, received = moved[gpu], moved[self._n_gpus + gpu]
            if sent or received:
                busy_s = max(counters.busy_s[gpu], counters.busy_s[self._n_gpus + gpu])
                row = (-1, gpu, self._tier, self._port_bytes_per_s, sent, received, busy_s)
                table.append_row(row)

    def _move(self, links: tuple[int, int], n_bytes: float, arrived: simpy.Event) -> None:
        if links[0] == links[1] - self._n_gpus:
            arrived.succeed()
            return
        transfer = self._fabric.transfer(links, n_bytes=n_bytes)

        def arrive(_: simpy.Event) -> None:
            arrived.succeed()

        transfer.callbacks.append(arrive)


def build_kv_links(
    env: simpy.Environment, *, scenario: Scenario, plans: list[PoolPlan]
) -> KvLinks | None:
    """Return the way of the KV caches of a scenario.

    Parameters
    ----------
    env : simpy.Environment
        The clock.
    scenario : Scenario
        The scenario.
    plans : list of PoolPlan
        Its pools.

    Returns
    -------
    KvLinks or None
        None if the pools are aggregated.
    """
    decode = scenario.document.deployment.decode
    if decode is None:
        return None
    transfer = scenario.backend.kv_transfer
    per_token = kv_bytes_per_token(scenario.arch, kv_dtype=scenario.kv_dtype, tp=decode.tp)
    return KvLinks(
        env,
        machine=scenario.machine,
        n_gpus=sum(plan.pool.n_gpus for plan in plans),
        is_scale_up=transfer.path == "scale_up",
        setup_s=transfer.setup_s.value,
        token_bytes=per_token + index_bytes_per_token(scenario.arch),
    )
