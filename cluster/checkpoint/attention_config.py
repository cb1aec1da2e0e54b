"""Attention of one layer from a config: its kind, its matrices by name, and its biases and norms."""

from dataclasses import dataclass
from typing import Final

from cluster.checkpoint.attention import Attention, Latent, LinearAttention, TokenIndex
from cluster.checkpoint.config_keys import ConfigKeys
from cluster.checkpoint.matrix import Cut, Matrix, parameters_of

GATED_DELTA: Final = frozenset({"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"})
"""Families with Gated DeltaNet in most layers, and gated attention in the others."""

INDEXED: Final = frozenset({"deepseek_v32", "glm_moe_dsa"})
"""Families with DeepSeek sparse attention."""

_KEY_VALUE: Final = "self_attn.qkv_proj"


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """One layer's attention and its weights.

    Attributes:
        attention: its kind and sizes.
        matrices: its matrices.
        small: biases and norms.
        indexer: the indexer's weights; None: there is none.
    """

    attention: Attention
    matrices: tuple[Matrix, ...]
    small: int
    indexer: "IndexerWeights | None" = None


@dataclass(frozen=True, slots=True)
class IndexerWeights:
    """One layer's indexer and its weights.

    Attributes:
        in_layer: whether each layer has one.
        matrices: its matrices that a quantiser may take.
        plain: its matrices that vLLM keeps in BF16 (`wk_weights_proj`, `quant_config=None`).
        small: weights of its norm.
    """

    in_layer: tuple[bool, ...]
    matrices: tuple[Matrix, ...]
    plain: tuple[Matrix, ...]
    small: int


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """One layer's linear attention and its weights.

    Attributes:
        attention: its kind and sizes, with the number of such layers.
        matrices: its matrices.
        small: weights of its convolution, its norm and its decays.
    """

    attention: LinearAttention
    matrices: tuple[Matrix, ...]
    small: int


def read_attention(keys: ConfigKeys, family: str, hidden: int, layers: int) -> AttentionWeights:
    """Read the attention of those layers that keep a cache.

    Raises:
        ModelShapeError: a key is missing or wrong.
    """
    heads = keys.count("num_attention_heads")
    if keys.number("kv_lora_rank", 0):
        return _latent_attention(keys, family, hidden, heads, layers)
    kv_heads = keys.count("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise keys.refuse(f"{heads} attention heads are not divisible by {kv_heads} KV heads")
    dim = keys.count("head_dim", default=hidden // heads)
    if not dim:
        raise keys.refuse(f"{heads} attention heads cannot share a hidden size of {hidden}")
    gated = 2 if family in GATED_DELTA else 1
    matrices: tuple[Matrix, ...] = (
        Matrix("self_attn.q_proj", hidden, gated * heads * dim, Cut.OUTPUTS, fused=_KEY_VALUE),
        Matrix("self_attn.k_proj", hidden, kv_heads * dim, Cut.OUTPUTS, least=dim, fused=_KEY_VALUE),
        Matrix("self_attn.v_proj", hidden, kv_heads * dim, Cut.OUTPUTS, least=dim, fused=_KEY_VALUE),
        Matrix("self_attn.o_proj", heads * dim, hidden, Cut.INPUTS),
    )
    if family == "phi3":  # one matrix in the file
        matrices = (
            Matrix(_KEY_VALUE, hidden, (heads + 2 * kv_heads) * dim, Cut.OUTPUTS, least=dim),
            Matrix("self_attn.o_proj", heads * dim, hidden, Cut.INPUTS),
        )
    small = _small(keys, family, hidden, heads, kv_heads, dim)
    copied = 2 * kv_heads * dim * hidden
    return AttentionWeights(Attention(heads, kv_heads, dim, dim, parameters_of(matrices), copied), matrices, small)


def _small(keys: ConfigKeys, family: str, hidden: int, heads: int, kv_heads: int, dim: int) -> int:  # noqa: PLR0913, PLR0917
    """Return the number of biases, norms and sinks of a layer's attention."""
    small = 0
    if family == "qwen2" or keys.flag("attention_bias"):
        queries = 2 * heads if family in GATED_DELTA else heads
        small += (queries + 2 * kv_heads) * dim
        small += hidden if family not in {"qwen2", "glm4_moe"} else 0
    if family.startswith("qwen3") or family == "gemma3_text" or (family == "glm4_moe" and keys.flag("use_qk_norm")):
        small += 2 * dim  # norms of queries and keys
    if family == "minimax_m2":
        small += (heads + kv_heads) * dim  # the same over all heads at once
    if family == "gpt_oss":
        small += heads  # attention sinks
    return small


def _latent_attention(keys: ConfigKeys, family: str, hidden: int, heads: int, layers: int) -> AttentionWeights:
    kv_rank, rope = keys.count("kv_lora_rank"), keys.count("qk_rope_head_dim")
    nope, value = keys.count("qk_nope_head_dim"), keys.count("v_head_dim")
    q_rank = keys.number("q_lora_rank", 0)
    key = nope + rope
    queries: tuple[Matrix, ...] = (Matrix("self_attn.q_proj", hidden, heads * key, Cut.OUTPUTS),)
    if q_rank:
        queries = (
            Matrix("self_attn.q_a_proj", hidden, q_rank, fused="self_attn.fused_qkv_a_proj"),
            Matrix("self_attn.q_b_proj", q_rank, heads * key, Cut.OUTPUTS),
        )
    matrices = (
        *queries,
        Matrix("self_attn.kv_a_proj_with_mqa", hidden, kv_rank + rope, fused="self_attn.fused_qkv_a_proj"),
        Matrix("self_attn.kv_b_proj", kv_rank, heads * (nope + value), Cut.OUTPUTS),
        Matrix("self_attn.o_proj", heads * value, hidden, Cut.INPUTS),
    )
    index, indexer = _indexer(keys, hidden, q_rank, layers) if family in INDEXED else (None, None)
    attention = Attention(
        heads=heads,
        kv_heads=heads,
        key_dim=key,
        value_dim=value,
        parameters=parameters_of(matrices),
        whole_parameters=parameters_of(matrix for matrix in matrices if matrix.cut == Cut.NOT),
        latent=Latent(kv_rank, rope),
        index=index,
    )
    return AttentionWeights(attention, matrices, q_rank + kv_rank, indexer)


def _indexer(keys: ConfigKeys, hidden: int, q_rank: int, layers: int) -> tuple[TokenIndex, IndexerWeights]:
    if not q_rank:
        raise keys.refuse("q_lora_rank is missing: an indexer starts from compressed queries")
    kinds = keys.items("indexer_types") or ["full"] * layers
    if len(kinds) != layers or not set(map(str, kinds)) <= {"full", "shared"} or kinds[0] != "full":
        raise keys.refuse(f"indexer_types must be full or shared for each of the {layers} layers, full for the first")
    heads, dim = keys.count("index_n_heads"), keys.count("index_head_dim")
    weights = IndexerWeights(
        in_layer=tuple(kind == "full" for kind in kinds),
        matrices=(Matrix("self_attn.indexer.wq_b", q_rank, heads * dim),),
        plain=(
            Matrix("self_attn.indexer.wk", hidden, dim),
            Matrix("self_attn.indexer.weights_proj", hidden, heads),
        ),
        small=2 * dim,  # the norm of its keys, with a bias
    )
    parameters = parameters_of(weights.matrices) + parameters_of(weights.plain)
    return TokenIndex(heads, dim, keys.count("index_topk"), sum(weights.in_layer), parameters), weights


def read_linear_attention(keys: ConfigKeys, family: str, hidden: int, layers: int) -> LinearWeights:
    """Read the Gated DeltaNet of `layers` layers.

    Raises:
        ModelShapeError: a key is missing or wrong.
    """
    key_dim, value_dim = keys.count("linear_key_head_dim"), keys.count("linear_value_head_dim")
    key_heads, value_heads = keys.count("linear_num_key_heads"), keys.count("linear_num_value_heads")
    kernel = keys.count("linear_conv_kernel_dim")
    keys_all, values_all = key_dim * key_heads, value_dim * value_heads
    mixed = 2 * keys_all + values_all
    into: tuple[Matrix, ...]
    if family == "qwen3_next":
        into = (
            Matrix("linear_attn.in_proj_qkvz", hidden, mixed + values_all, Cut.OUTPUTS),
            Matrix("linear_attn.in_proj_ba", hidden, 2 * value_heads, Cut.OUTPUTS),
        )
    else:
        into = (
            Matrix("linear_attn.in_proj_qkv", hidden, mixed, Cut.OUTPUTS),
            Matrix("linear_attn.in_proj_z", hidden, values_all, Cut.OUTPUTS),
            Matrix("linear_attn.in_proj_b", hidden, value_heads, Cut.OUTPUTS),
            Matrix("linear_attn.in_proj_a", hidden, value_heads, Cut.OUTPUTS),
        )
    matrices = (*into, Matrix("linear_attn.out_proj", values_all, hidden, Cut.INPUTS))
    small = mixed * kernel + 2 * value_heads + value_dim
    state = value_heads * key_dim * value_dim + (kernel - 1) * mixed
    return LinearWeights(LinearAttention(layers, key_heads, parameters_of(matrices), state), matrices, small)
