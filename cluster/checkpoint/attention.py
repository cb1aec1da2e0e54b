"""Kinds of attention: what a token keeps in the cache, and the operations of a pair of tokens."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention: the cache keeps one compressed vector for keys and values of all heads.

    Source: DeepSeek-V2 paper, section 2.1.

    Attributes:
        kv_rank: length of the compressed vector.
        rope_dim: length of the position part kept beside it, which all heads share.
    """

    kv_rank: int
    rope_dim: int


@dataclass(frozen=True, slots=True)
class TokenIndex:
    """DeepSeek sparse attention: a small indexer scores all tokens, and attention looks at the best of them alone.

    Source: DeepSeek-V3.2-Exp report, section 2; the cache's form from vLLM 0.32 (`DeepseekV32IndexerCache`).

    Attributes:
        heads: heads of the indexer.
        dim: length of its queries and keys.
        top: tokens that attention looks at.
        layers: layers that have an indexer; others take the choice of the one before.
        parameters: parameters of the matrices of one, which every GPU of a tensor group holds whole.
    """

    heads: int
    dim: int
    top: int
    layers: int
    parameters: int

    @property
    def bytes_per_token(self) -> int:
        """Bytes that a token keeps in the cache of one indexer: an FP8 key, and a 4-byte scale for each 128 values."""
        return self.dim + self.dim // 128 * 4

    def flops(self, context: float) -> float:
        """Return the operations of all indexers to score `context` tokens for one token."""
        return 2.0 * self.layers * self.heads * self.dim * context


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """Layers with a state of fixed size in place of a cache that grows (Gated DeltaNet).

    Attributes:
        layers: number of such layers.
        key_heads: heads of queries and keys, none of which a GPU's share may cut.
        parameters: parameters of the matrices of one.
        state_values: values of one layer's state, those of its convolution included. vLLM 0.32 keeps all of them in the
            model's own format (`mamba_ssm_cache_dtype: auto`).
    """

    layers: int
    key_heads: int
    parameters: int
    state_values: int


@dataclass(frozen=True, slots=True)
class Attention:
    """One layer's attention.

    Attributes:
        heads: number of query heads.
        kv_heads: number of key and value heads; equal to `heads` in multi-head attention.
        key_dim: length of a head's queries and keys.
        value_dim: length of a head's values.
        parameters: parameters of its matrices, without biases, norms and an indexer's.
        kv_parameters: those of them that make keys and values of single heads, which are copied rather than cut.
        whole_parameters: those of them that every GPU of a tensor group holds whole, such as what compresses latents.
        latent: sizes of multi-head latent attention; None for other kinds.
        index: the indexer of sparse attention; None where attention looks at all tokens.
    """

    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    parameters: int
    kv_parameters: int = 0
    whole_parameters: int = 0
    latent: Latent | None = None
    index: TokenIndex | None = None

    @property
    def kv_values(self) -> int:
        """Number of values that one token keeps in one layer's cache, without an indexer's."""
        if self.latent:
            return self.latent.kv_rank + self.latent.rope_dim
        return self.kv_heads * (self.key_dim + self.value_dim)

    def kv_values_on_one_gpu(self, tensor: int) -> int:
        """Return the values a token keeps in one layer's cache on each of `tensor` GPUs; no head or latent is split."""
        if self.latent:
            return self.kv_values
        return -(-self.kv_heads // tensor) * (self.key_dim + self.value_dim)

    def parameters_on_one_gpu(self, tensor: int) -> float:
        """Return the parameters of a layer's matrices on each of `tensor` GPUs; each has at least one whole KV head."""
        cut = self.parameters - self.kv_parameters - self.whole_parameters
        return cut / tensor + self.kv_parameters / min(tensor, self.kv_heads) + self.whole_parameters

    @property
    def prefill_flops(self) -> int:
        """Operations of prefill for each pair of a new token and a token it attends to, keys and values unpacked."""
        return 2 * self.heads * (self.key_dim + self.value_dim)

    @property
    def decode_flops(self) -> int:
        """Operations of decode for each such pair; latent attention multiplies with the cached latents directly."""
        if self.latent:
            return 2 * self.heads * (2 * self.latent.kv_rank + self.latent.rope_dim)
        return self.prefill_flops
