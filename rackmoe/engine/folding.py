"""Which work comes before each MoE layer: a step law goes from one to the next."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rackmoe.model.architecture import ModelArchitecture

__all__ = ["Folding", "folded_times_s", "folded_times_s_plain"]

Floats = NDArray[np.float64]


@njit(cache=True)
def folded_times_s(
    block_s: Floats,
    dense_s: Floats,
    attention_s: Floats,
    router_s: Floats,
    n_blocks: Floats,
    n_dense: Floats,
    n_of_class: Floats,
    tp: int,
) -> Floats:
    """Return the work of each GPU before the dispatch of each MoE layer.

    Parameters
    ----------
    block_s, dense_s, router_s : ndarray of shape (n_groups,)
        One attention block without its kernels, one dense part and one router. [s]
    attention_s : ndarray of shape (n_classes, n_groups)
        Attention kernels of one layer of each class. [s]
    n_blocks, n_dense : ndarray of shape (n_moe_layers,)
        Attention blocks and dense parts since the MoE layer before.
    n_of_class : ndarray of shape (n_classes, n_moe_layers)
        The attention blocks by class.
    tp : int
        GPUs of a group.

    Returns
    -------
    ndarray of shape (n_moe_layers, n_groups * tp)
        Durations. [s]
    """
    n_layers, n_groups = n_blocks.size, block_s.size
    out = np.empty((n_layers, n_groups * tp))
    for layer in range(n_layers):
        for group in range(n_groups):
            time_s = n_blocks[layer] * block_s[group] + n_dense[layer] * dense_s[group]
            for index in range(n_of_class.shape[0]):
                time_s += n_of_class[index, layer] * attention_s[index, group]
            time_s += router_s[group]
            for gpu in range(group * tp, (group + 1) * tp):
                out[layer, gpu] = time_s
    return out


def folded_times_s_plain(
    block_s: Floats,
    dense_s: Floats,
    attention_s: Floats,
    router_s: Floats,
    n_blocks: Floats,
    n_dense: Floats,
    n_of_class: Floats,
    tp: int,
) -> Floats:
    """Return what `folded_times_s` returns, in plain NumPy.

    Parameters
    ----------
    block_s, dense_s, attention_s, router_s, n_blocks, n_dense, n_of_class, tp : ndarray and int
        As for the compiled one. [s]

    Returns
    -------
    ndarray of shape (n_moe_layers, n_groups * tp)
        Durations. [s]
    """
    time_s = n_blocks[:, None] * block_s + n_dense[:, None] * dense_s
    for count, class_s in zip(n_of_class, attention_s, strict=True):
        time_s += count[:, None] * class_s
    return np.repeat(time_s + router_s, tp, axis=1)


class Folding:
    """The layers of a model, each counted with the MoE layer that follows it.

    Parameters
    ----------
    arch : ModelArchitecture
        The model. Layers after its last MoE layer are counted with that one.
    class_of_layer : tuple of int
        Class of attention of each layer.

    Attributes
    ----------
    n_blocks, n_dense : ndarray of shape (n_moe_layers,)
        Attention blocks and dense feed-forward parts since the MoE layer before.
    n_of_class : ndarray of shape (n_classes, n_moe_layers)
        The attention blocks by class.
    """

    def __init__(self, arch: ModelArchitecture, *, class_of_layer: tuple[int, ...]) -> None:
        moe = list(arch.moe_layers)
        self.n_of_class = np.zeros((max(class_of_layer) + 1, len(moe)))
        self.n_dense = np.zeros(len(moe))
        for layer in range(arch.n_layers):
            at = min(int(np.searchsorted(moe, layer)), len(moe) - 1)
            self.n_of_class[class_of_layer[layer], at] += 1
            self.n_dense[at] += layer not in moe
        self.n_blocks = self.n_of_class.sum(axis=0)
        self._n_layers_of_class = self.n_of_class.sum(axis=1)

    def pre_times_s(
        self,
        *,
        block_s: Floats,
        dense_s: Floats,
        attention_s: Floats,
        router_s: Floats,
        tp: int,
    ) -> Floats:
        """Return the work of each GPU before the dispatch of each MoE layer.

        Parameters
        ----------
        block_s, dense_s, attention_s, router_s, tp : ndarray and int
            As for `folded_times_s`. [s]

        Returns
        -------
        ndarray of shape (n_moe_layers, n_groups * tp)
            Durations. [s]
        """
        found: Floats = folded_times_s(
            block_s,
            dense_s,
            attention_s,
            router_s,
            self.n_blocks,
            self.n_dense,
            self.n_of_class,
            tp,
        )
        return found

    def attention_s(self, attention_s: Floats) -> float:
        """Return the time of the attention kernels of all layers, mean over the groups.

        Parameters
        ----------
        attention_s : ndarray of shape (n_classes, n_groups)
            Attention kernels of one layer of each class. [s]

        Returns
        -------
        float
            Duration. [s]
        """
        by_group_s = self._n_layers_of_class @ attention_s
        return float(np.add.reduce(by_group_s)) / len(by_group_s)
