"""Sequences that wait in the memory of the CPUs for KV memory of their GPUs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import simpy

from rackmoe.engine.pool_plan import PoolPlan
from rackmoe.engine.replica import Replica
from rackmoe.engine.shipments import HOST, Shipments
from rackmoe.errors import CapacityError
from rackmoe.network.arbitration import TrafficClass
from rackmoe.records import Pool
from rackmoe.scenario.resolved import Scenario
from rackmoe.serving.host_cache import HostCache
from rackmoe.serving.step_batch import Preempted

__all__ = ["HostSwap", "SwapShape", "build_swap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapShape:
    """What the sequences of a pool take in host memory.

    Attributes
    ----------
    block_bytes : float
        KV block of one GPU. [B]
    window_bytes : float
        What layers with local attention hold of a sequence, on one GPU. [B]
    host_blocks : int
        Blocks that the host memory of one GPU holds.
    """

    block_bytes: float
    window_bytes: float
    host_blocks: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Saved:
    """A sequence in host memory, or on its way there or back."""

    request: int
    replica: Replica
    group: int
    context: int
    is_there: bool = False
    is_returning: bool = False


class HostSwap:
    """Moves caches of preempted sequences to host memory, and back when there is room.

    A cache is read before the step that takes its memory, as the copies of an engine are
    on the stream of the step; it comes back beside the steps. Those that wait go before
    new prompts and before caches from other replicas. All copies share the link between
    each GPU and its CPU with whatever else crosses it.

    Parameters
    ----------
    shipments : Shipments
        Moves the caches.
    shapes : mapping of Pool to SwapShape
        Of each pool that decodes.

    Attributes
    ----------
    n_out, n_in, n_refused : int
        Sequences copied out, copied back, and recomputed because the memory was full.
    out_bytes, in_bytes : float
        What was copied. [B]
    """

    def __init__(self, shipments: Shipments, *, shapes: Mapping[Pool, SwapShape]) -> None:
        self._shipments = shipments
        self._shapes = shapes
        self._saved: dict[int, list[_Saved]] = {}
        self._hosts: dict[int, HostCache] = {}
        self.n_out = self.n_in = self.n_refused = 0
        self.out_bytes = self.in_bytes = 0.0

    @property
    def figures(self) -> dict[str, float]:
        """Figures of merit of a run."""
        return {
            "n_swaps": float(self.n_out),
            "n_swaps_refused": float(self.n_refused),
            "swap_out_bytes": self.out_bytes,
            "swap_in_bytes": self.in_bytes,
        }

    @property
    def hosts(self) -> Mapping[int, HostCache]:
        """Host memory by number of the replica, of those that ever used it."""
        return self._hosts

    def is_waited_for(self, replica: Replica) -> bool:
        """Return whether sequences wait for memory of a replica.

        Parameters
        ----------
        replica : Replica
            Any replica.
        """
        return any(not one.is_returning for one in self._saved.get(replica.index, ()))

    def save(self, replica: Replica, *, victim: Preempted) -> simpy.Event | None:
        """Copy the cache of a preempted sequence out.

        Parameters
        ----------
        replica : Replica
            Where it ran.
        victim : Preempted
            The sequence.

        Returns
        -------
        simpy.Event or None
            Succeeds when its memory has been read; None if the host has no room.
        """
        host = self._host(replica)
        if host is None or not host.take(
            victim.request, group=victim.group, n_tokens=victim.context
        ):
            self.n_refused += 1
            return None
        one = _Saved(
            request=victim.request, replica=replica, group=victim.group, context=victim.context
        )
        self._saved.setdefault(replica.index, []).append(one)
        replica.batcher.holds_prompts = True
        done, n_bytes = self._copy(one, is_to_host=True)
        self.n_out += 1
        self.out_bytes += n_bytes
        done.callbacks.append(lambda _: self._arrived(one))
        return done

    def resume(self, replica: Replica) -> None:
        """Bring back the sequences for which there is room, those of high priority first.

        Parameters
        ----------
        replica : Replica
            One whose memory was freed.
        """
        waiting = [one for one in self._saved.get(replica.index, ()) if not one.is_returning]
        priorities = replica.batcher.priorities
        if priorities is not None:
            waiting.sort(key=lambda one: -int(priorities[one.request]))
        is_full: dict[int, None] = {}
        for one in waiting:
            if one.group in is_full or not one.is_there:
                is_full[one.group] = None
            elif replica.batcher.reserve_in(one.group, n_tokens=one.context):
                self._return(one)
            else:
                is_full[one.group] = None
        self._let_prompts_in(replica)

    def drop(self, replica: Replica) -> list[int]:
        """Forget the sequences of a replica that failed.

        Parameters
        ----------
        replica : Replica
            It lost its memory and that of its hosts.

        Returns
        -------
        list of int
            Their requests.
        """
        gone = self._saved.pop(replica.index, [])
        for one in gone:
            self._hosts[replica.index].give_back(one.request)
        return [one.request for one in gone]

    # ------------------------------------------------------------------ internals
    def _host(self, replica: Replica) -> HostCache | None:
        shape = self._shapes.get(replica.pool)
        if shape is None:
            return None
        if replica.index not in self._hosts:
            limits = replica.batcher.limits
            self._hosts[replica.index] = HostCache(
                n_groups=limits.n_groups,
                n_blocks=shape.host_blocks,
                block_tokens=limits.block_tokens,
            )
        return self._hosts[replica.index]

    def _copy(self, one: _Saved, *, is_to_host: bool) -> tuple[simpy.Event, float]:
        """Start the copies of all GPUs of a group; return their end and their bytes."""
        replica, shape = one.replica, self._shapes[one.replica.pool]
        n_blocks = replica.batcher.limits.blocks(one.context)
        n_bytes = n_blocks * shape.block_bytes + shape.window_bytes
        first = replica.first_gpu + one.group * replica.tp
        gpus = range(first, first + replica.tp)
        pairs = [(gpu, HOST) if is_to_host else (HOST, gpu) for gpu in gpus]
        loads_bytes = dict.fromkeys(pairs, n_bytes)
        done = self._shipments.ship(loads_bytes, traffic_class=TrafficClass.KV)
        return done, n_bytes * replica.tp

    def _is_known(self, one: _Saved) -> bool:
        return one in self._saved.get(one.replica.index, ())

    def _arrived(self, one: _Saved) -> None:
        if self._is_known(one):
            one.is_there = True
            self.resume(one.replica)

    def _return(self, one: _Saved) -> None:
        one.is_returning = True
        done, n_bytes = self._copy(one, is_to_host=False)
        self.n_in += 1
        self.in_bytes += n_bytes
        done.callbacks.append(lambda _: self._returned(one))

    def _returned(self, one: _Saved) -> None:
        if not self._is_known(one):
            return
        self._saved[one.replica.index].remove(one)
        self._hosts[one.replica.index].give_back(one.request)
        one.replica.join(one.request, group=one.group)

    def _let_prompts_in(self, replica: Replica) -> None:
        held = self.is_waited_for(replica)
        if replica.batcher.holds_prompts and not held:
            replica.batcher.holds_prompts = False
            replica.wake()


def build_swap(
    scenario: Scenario, *, shipments: Shipments, plans: Iterable[PoolPlan]
) -> HostSwap | None:
    """Return the way to host memory, where a scenario wants it.

    Parameters
    ----------
    scenario : Scenario
        The scenario.
    shipments : Shipments
        Moves the caches.
    plans : iterable of PoolPlan
        Its pools.

    Returns
    -------
    HostSwap or None
        None where preempted sequences are computed again.

    Raises
    ------
    CapacityError
        If there is less host memory than asked for, or weights are there already.
    """
    choice = scenario.document.deployment.preemption
    if choice.policy != "swap":
        return None
    host, place = scenario.machine.host, f"{scenario.name}: deployment.preemption"
    share_bytes = host.memory_bytes / host.gpus_per_cpu
    wanted_bytes = share_bytes if choice.host_memory_bytes is None else choice.host_memory_bytes
    if wanted_bytes > share_bytes:
        raise CapacityError(
            f"{place}.host_memory: {wanted_bytes:.4g} B for each GPU, {share_bytes:.4g} B are "
            "there; lower it, or remove it to use all"
        )
    shapes: dict[Pool, SwapShape] = {}
    for plan in plans:
        if plan.role is Pool.PREFILL:
            continue
        if plan.pool.offloads_weights:
            raise CapacityError(
                f"{place}.policy: swap, but the pool keeps weights in host memory "
                "(offloads_weights); expected one of them; remove one"
            )
        block_bytes = plan.memory.token_bytes * plan.limits.block_tokens
        shapes[plan.role] = SwapShape(
            block_bytes=block_bytes,
            window_bytes=plan.memory.window_bytes,
            host_blocks=int(wanted_bytes // block_bytes),
        )
    return HostSwap(shipments, shapes=shapes)
