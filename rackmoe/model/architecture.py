"""What a mixture-of-experts model is made of: attention, experts and the order of its layers."""

from dataclasses import dataclass

from rackmoe.model.dtypes import ComponentDtypes

__all__ = [
    "GroupedQueryAttention",
    "Indexer",
    "LatentAttention",
    "Layers",
    "ModelArchitecture",
    "Moe",
    "Published",
    "Window",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """The lightning indexer of sparse attention (DeepSeek-V3.2, GLM-5).

    Attributes
    ----------
    n_heads, head_dim : int
        Shape of the index queries, counts. One index key per token.
    top_k : int
        Cached tokens that a query attends to at most, a count.
    """

    n_heads: int
    head_dim: int
    top_k: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (MLA): one compressed key-value vector per token.

    Attributes
    ----------
    n_heads : int
        Query heads, a count.
    q_lora_rank : int or None
        Width of the compressed query, a count; None when queries are not compressed.
    kv_lora_rank, qk_rope_dim : int
        Widths of the two parts of the cached vector, counts.
    qk_nope_dim, v_dim : int
        Widths per head of the keys without rotation and of the values, counts.
    indexer : Indexer or None
        Present where attention is sparse.
    """

    n_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_dim: int
    qk_rope_dim: int
    v_dim: int
    indexer: Indexer | None = None

    @property
    def qk_dim(self) -> int:
        """Width of a query or key per head, a count."""
        return self.qk_nope_dim + self.qk_rope_dim

    @property
    def kv_dim(self) -> int:
        """Cached elements per token and layer, a count."""
        return self.kv_lora_rank + self.qk_rope_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQueryAttention:
    """Grouped-query attention (GQA): several query heads share a key-value head.

    Attributes
    ----------
    n_heads, n_kv_heads, head_dim : int
        Query heads, key-value heads and the width of each, counts.
    has_qkv_bias, has_o_bias : bool
        Whether the projections carry biases.
    n_norm_weights : int
        Weights of the query and key norms of one layer, a count; 0 without them.
    has_sinks : bool
        Whether each query head has a learned attention sink.
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    has_qkv_bias: bool = False
    has_o_bias: bool = False
    n_norm_weights: int = 0
    has_sinks: bool = False

    @property
    def kv_dim(self) -> int:
        """Cached elements per token and layer, keys and values, a count."""
        return 2 * self.n_kv_heads * self.head_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class Moe:
    """The expert layers.

    Attributes
    ----------
    n_routed_experts, top_k : int
        Logical experts of a layer and how many each token visits, counts.
    inter : int
        Intermediate width of a routed expert, a count.
    n_shared_experts, shared_inter : int
        Experts that every token visits, and the width of all of them together, counts.
    n_groups, top_k_groups : int
        Group-limited routing: groups of experts, and groups a token may use, counts.
    scoring : str
        ``softmax`` or ``sigmoid``.
    route_scale : float
        Factor on the routing weights, a pure number.
    has_expert_bias, has_router_bias : bool
        Whether expert projections and the router carry biases (a correction bias counts).
    """

    n_routed_experts: int
    top_k: int
    inter: int
    n_shared_experts: int = 0
    shared_inter: int = 0
    n_groups: int = 1
    top_k_groups: int = 1
    scoring: str = "softmax"
    route_scale: float = 1.0
    has_expert_bias: bool = False
    has_router_bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The part of the context that a layer with local attention sees.

    Attributes
    ----------
    n_tokens : int
        Length of the window, a count of tokens.
    is_chunked : bool
        True where the context is cut into fixed chunks and a token sees its own chunk
        (Llama 4); False where the window slides with the token (gpt-oss).
    """

    n_tokens: int
    is_chunked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The order of the layers.

    Attributes
    ----------
    is_moe : tuple of bool
        For each layer, whether its feed-forward part is an expert layer.
    windows : tuple of (Window or None)
        For each layer, its local attention; None where it sees the whole context.
    dense_inter : int
        Intermediate width of the dense layers, a count; 0 without dense layers.
    n_mtp_layers : int
        Layers for multi-token prediction after the last, a count.
    """

    is_moe: tuple[bool, ...]
    windows: tuple[Window | None, ...]
    dense_inter: int = 0
    n_mtp_layers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the model's authors say about its size.

    Attributes
    ----------
    title : str
        Name for people.
    total_parameters, active_parameters : float or None
        Published figures, counts; None where the file does not say.
    source : str
        Where the figures and the file's facts come from.
    """

    title: str
    total_parameters: float | None = None
    active_parameters: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchitecture:
    """A mixture-of-experts decoder.

    Attributes
    ----------
    name : str
        Name of the model, the stem of its file.
    family : str
        Name of the architecture as its ``config.json`` spells it.
    hidden, vocab, max_context : int
        Width of the residual stream, size of the vocabulary, longest context, counts.
    attention : LatentAttention or GroupedQueryAttention
        Attention of every layer.
    moe : Moe
        Expert layers.
    layers : Layers
        Order of the layers.
    dtypes : ComponentDtypes
        Format of the weights by component.
    published : Published
        What the authors say.
    has_tied_embeddings : bool
        Whether the output head is the input embedding.
    """

    name: str
    family: str
    hidden: int
    vocab: int
    max_context: int
    attention: LatentAttention | GroupedQueryAttention
    moe: Moe
    layers: Layers
    dtypes: ComponentDtypes
    published: Published
    has_tied_embeddings: bool = False

    @property
    def is_mla(self) -> bool:
        """Whether attention is latent (MLA) rather than grouped-query (GQA)."""
        return isinstance(self.attention, LatentAttention)

    @property
    def n_layers(self) -> int:
        """Decoder layers, the ones for multi-token prediction apart, a count."""
        return len(self.layers.is_moe)

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Indices of the expert layers."""
        return tuple(layer for layer, is_moe in enumerate(self.layers.is_moe) if is_moe)

    @property
    def dense_layers(self) -> tuple[int, ...]:
        """Indices of the layers with a dense feed-forward part."""
        return tuple(layer for layer, is_moe in enumerate(self.layers.is_moe) if not is_moe)

    @property
    def dense_inter(self) -> int:
        """Intermediate width of the dense layers, a count; 0 without them."""
        return self.layers.dense_inter

    @property
    def n_mtp_layers(self) -> int:
        """Layers for multi-token prediction, a count."""
        return self.layers.n_mtp_layers

    def attention_window(self, layer: int) -> int | None:
        """Return how far a layer's attention reaches back.

        Parameters
        ----------
        layer : int
            Index of the layer.

        Returns
        -------
        int or None
            Length of the window, a count of tokens; None where the layer sees everything.
        """
        window = self.layers.windows[layer]
        return None if window is None else window.n_tokens
