"""A model's shape: the memory of its weights and KV cache and the operations of a token, whatever the hardware.

`cluster.planning.model_config` reads shapes from Hugging Face `config.json` files. Counts of parameters follow the
published ones: multi-token-prediction layers (DeepSeek's MTP) are left out, and tied embeddings count once. *Active*
parameters are those that a token is multiplied with. They include `active` of the routed experts but not the input
embedding, which is only looked up; DeepSeek's and OpenAI's model cards count the same way, Qwen's adds the embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cluster.planning.precision import BF16, Precision


class WeightGroup(StrEnum):
    """The part of a model that weights belong to."""

    EMBEDDING = "embedding"
    HEAD = "head"
    ATTENTION = "attention"
    MLP = "mlp"
    SHARED_EXPERTS = "shared experts"
    EXPERTS = "experts"
    ROUTER = "router"
    SMALL = "norms and biases"


QUANTISED_WITH_EXPERTS = frozenset({WeightGroup.MLP, WeightGroup.SHARED_EXPERTS, WeightGroup.EXPERTS})
QUANTISED_LINEARS = QUANTISED_WITH_EXPERTS | {WeightGroup.ATTENTION}


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
class Attention:
    """One layer's attention.

    Attributes:
        heads: number of query heads.
        kv_heads: number of key and value heads; equal to `heads` in multi-head attention.
        key_dim: length of a head's queries and keys.
        value_dim: length of a head's values.
        parameters: parameters of its matrices, without biases and norms.
        latent: sizes of multi-head latent attention; None for other kinds.
    """

    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    parameters: int
    latent: Latent | None = None

    @property
    def kv_values(self) -> int:
        """Number of values that one token keeps in one layer's cache."""
        if self.latent:
            return self.latent.kv_rank + self.latent.rope_dim
        return self.kv_heads * (self.key_dim + self.value_dim)

    def kv_values_on_one_gpu(self, tensor: int) -> int:
        """Return the values a token keeps in one layer's cache on each of `tensor` GPUs; no head or latent is split."""
        if self.latent:
            return self.kv_values
        return -(-self.kv_heads // tensor) * (self.key_dim + self.value_dim)

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


@dataclass(frozen=True, slots=True)
class Experts:
    """One mixture-of-experts layer.

    Attributes:
        routed: number of experts to choose from.
        active: number of experts that each token goes to.
        width: inner length of an expert.
        parameters: parameters of one routed expert.
        shared_parameters: parameters of the shared experts, which every token passes.
        router_parameters: parameters of the router.
    """

    routed: int
    active: int
    width: int
    parameters: int
    shared_parameters: int
    router_parameters: int

    def touched(self, tokens: float) -> float:
        """Return the mean number of experts that `tokens` tokens need together, if experts are chosen evenly."""
        return float(self.routed * (1.0 - (1.0 - self.active / self.routed) ** tokens))


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only language model.

    Attributes:
        name: name of the model.
        layers: number of transformer layers.
        hidden: length of a token's vector between layers.
        vocab: tokens in the vocabulary.
        mlp_width: inner length of a dense layer's MLP; 0 where all layers have experts.
        mlp_parameters: parameters of one dense layer's MLP.
        dense_layers: number of layers with a dense MLP; the others have experts.
        attention: attention of every layer.
        windows: pairs of an attention window in tokens (None: no limit) and the number of layers that have it.
        experts: experts of each layer that has them; None: the model has none.
        tied: whether the output head is the input embedding.
        small_parameters: norms, biases and attention sinks of the whole model.
        max_context: longest context the model was made for, tokens.
        precisions: number format of each part's weights; BF16 for parts not named.
        scale_block: rows and columns that share a scale where weights are quantised in blocks, else 1; no GPU's share
            of an MLP may split a block.
    """

    name: str
    layers: int
    hidden: int
    vocab: int
    mlp_width: int
    mlp_parameters: int
    dense_layers: int
    attention: Attention
    windows: tuple[tuple[int | None, int], ...]
    experts: Experts | None
    tied: bool
    small_parameters: int
    max_context: int
    precisions: Mapping[WeightGroup, Precision]
    scale_block: int = 1

    @property
    def expert_layers(self) -> int:
        """Number of layers with experts."""
        return self.layers - self.dense_layers

    @property
    def parameters_by_part(self) -> dict[WeightGroup, int]:
        """Parameters of the whole model, by part."""
        table = self.vocab * self.hidden
        experts = self.experts
        return {
            WeightGroup.EMBEDDING: table,
            WeightGroup.HEAD: 0 if self.tied else table,
            WeightGroup.ATTENTION: self.layers * self.attention.parameters,
            WeightGroup.MLP: self.dense_layers * self.mlp_parameters,
            WeightGroup.SHARED_EXPERTS: self.expert_layers * experts.shared_parameters if experts else 0,
            WeightGroup.EXPERTS: self.expert_layers * experts.routed * experts.parameters if experts else 0,
            WeightGroup.ROUTER: self.expert_layers * experts.router_parameters if experts else 0,
            WeightGroup.SMALL: self.small_parameters,
        }

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        return sum(self.parameters_by_part.values())

    @property
    def active_parameters(self) -> int:
        """Parameters that a token is multiplied with; see the module for what counts."""
        parts = self.parameters_by_part
        idle = parts[WeightGroup.EXPERTS] * (1 - self.experts.active / self.experts.routed) if self.experts else 0
        lookup = 0 if self.tied else parts[WeightGroup.EMBEDDING]
        return round(self.parameters - idle - lookup)

    def precision(self, part: WeightGroup) -> Precision:
        """Return the number format of a part's weights."""
        return self.precisions.get(part, BF16)

    @property
    def weight_precision(self) -> Precision:
        """Number format of most of the weights, which names the model's precision."""
        parts = self.parameters_by_part
        by_precision: dict[Precision, int] = {}
        for part, count in parts.items():
            by_precision[self.precision(part)] = by_precision.get(self.precision(part), 0) + count
        return max(by_precision, key=lambda precision: by_precision[precision])

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights, scales included."""
        return sum(count * self.precision(part).bytes for part, count in self.parameters_by_part.items())

    def in_precision(self, precision: Precision) -> "ModelShape":
        """Return the model with its linear layers in `precision`.

        FP8, INT8 and INT4 checkpoints hold all linear layers but the head in that format (as vLLM's own FP8 does);
        4-bit floats are used for MLPs and experts, with attention left in BF16 (as NVIDIA's DeepSeek-R1-FP4 and
        OpenAI's gpt-oss are).
        """
        if precision == self.weight_precision:
            return self
        parts = QUANTISED_WITH_EXPERTS if precision.name in {"nvfp4", "mxfp4"} else QUANTISED_LINEARS
        chosen = {} if precision == BF16 else dict.fromkeys(parts, precision)
        return replace(self, precisions=chosen, scale_block=1)

    def kv_bytes_per_token(self, precision: Precision) -> float:
        """Return the bytes that one more token adds to a short sequence's cache, over all layers."""
        return self.layers * self.attention.kv_values * precision.bytes

    def kv_bytes(self, context: float, precision: Precision) -> float:
        """Return the bytes of KV cache of a sequence of `context` tokens; layers with a window keep no more than it."""
        return self.attended(context) * self.attention.kv_values * precision.bytes

    def attended(self, context: float) -> float:
        """Return the tokens that a token after `context` others attends to, summed over layers."""
        return sum(count * (context if window is None else min(context, window)) for window, count in self.windows)

    def flops_per_token(self, context: float) -> float:
        """Return the operations to decode one token after `context` others.

        Two for each active parameter, plus those of attention.
        """
        return 2 * self.active_parameters + self.attention.decode_flops * self.attended(context)

    def tensor_sizes(self, most: int) -> list[int]:
        """Return the tensor-parallel sizes up to `most` that divide the model evenly."""
        return [size for size in range(1, most + 1) if not self.why_not_tensor(size)]

    def why_not_tensor(self, size: int, *, experts_are_cut: bool = True) -> str:
        """Return why `size` GPUs cannot share each layer; "" if they can.

        Args:
            size: tensor-parallel size.
            experts_are_cut: whether each expert is split over the GPUs; otherwise each GPU has whole experts.
        """
        heads, kv_heads = self.attention.heads, self.attention.kv_heads
        if heads % size:
            return f"{heads} attention heads are not divisible by {size}"
        if self.attention.latent is None and kv_heads % size and size % kv_heads:
            return f"{kv_heads} KV heads and {size} GPUs: neither divides the other"
        widths = {"MLP": self.mlp_width if self.dense_layers else 0}
        if self.experts and experts_are_cut:
            widths["expert"] = self.experts.width
        for what, width in widths.items():
            if width % size:
                return f"{what} width {width} is not divisible by {size}"
            if (width // size) % self.scale_block:
                return f"{what} width {width} / {size} = {width // size} would cut a scale block of {self.scale_block}"
        return ""

    def pipeline_sizes(self, most: int) -> list[int]:
        """Return the pipeline sizes up to `most` that give every stage the same number of layers."""
        return [size for size in range(1, min(most, self.layers) + 1) if self.layers % size == 0]

    def stage_layers(self, pipeline: int) -> int:
        """Return the layers of the fullest pipeline stage; vLLM's `get_pp_indices` spreads the remainder evenly."""
        return -(-self.layers // pipeline)
