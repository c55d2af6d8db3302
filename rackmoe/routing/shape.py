"""The few facts of a model that routing needs."""

from dataclasses import dataclass

from rackmoe.errors import ConfigError

__all__ = ["MoeShape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeShape:
    """How many experts there are and how many a token takes.

    Attributes
    ----------
    n_layers : int
        MoE layers.
    n_experts : int
        Routed experts of a layer.
    top_k : int
        Routed experts per token.
    n_groups : int
        Groups of consecutive experts that the gate looks at first.
    top_groups : int
        Groups that a token may use; `n_groups` means no limit.
    """

    n_layers: int
    n_experts: int
    top_k: int
    n_groups: int = 1
    top_groups: int = 1

    def __post_init__(self) -> None:
        """Refuse shapes that no gate can have."""
        if self.n_layers < 1 or not 1 <= self.top_k <= self.n_experts:
            raise ConfigError(
                f"routing: {self.n_layers} layers, top {self.top_k} of {self.n_experts} experts; "
                "expected at least one layer and top_k from 1 to the experts; check the model"
            )
        if self.n_groups < 1 or self.n_experts % self.n_groups:
            raise ConfigError(
                f"routing: {self.n_groups} groups of {self.n_experts} experts; "
                "expected equal groups; check n_group of the model"
            )
        reachable = self.top_groups * (self.n_experts // self.n_groups)
        if not 1 <= self.top_groups <= self.n_groups or reachable < self.top_k:
            raise ConfigError(
                f"routing: {self.top_groups} of {self.n_groups} groups for top {self.top_k}; "
                "expected enough groups for all choices; check topk_group of the model"
            )
