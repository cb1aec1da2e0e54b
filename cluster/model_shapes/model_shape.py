"""A model's shape: the memory of its weights and KV cache and the operations of a token, whatever the hardware.

`cluster.model_shapes.model_config` reads shapes from Hugging Face `config.json` files. Counts of parameters follow the
published ones: multi-token-prediction layers (DeepSeek's MTP) are left out, and tied embeddings count once. *Active*
parameters are those that a token is multiplied with. They include `active` of the routed experts but not the input
embedding, which is only looked up, nor what looks at images; DeepSeek's and OpenAI's model cards count the same way,
Qwen's adds the embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from cluster.adapter_room.adapter_values import NO_VALUES, AdapterValues
from cluster.checkpoint.attention import Attention, LinearAttention
from cluster.checkpoint.experts import Experts
from cluster.model_shapes.precision import BF16, Precision
from cluster.quantisation.tensor_cut import TensorCut


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
    VISION = "vision tower"


QUANTISED_WITH_EXPERTS = frozenset({WeightGroup.MLP, WeightGroup.SHARED_EXPERTS, WeightGroup.EXPERTS})
QUANTISED_LINEARS = QUANTISED_WITH_EXPERTS | {WeightGroup.ATTENTION}


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
        attention: attention of every layer that keeps a cache.
        windows: pairs of an attention window in tokens (None: no limit) and the number of layers that have it.
        experts: experts of each layer that has them; None: the model has none.
        tied: whether the output head is the input embedding.
        small_parameters: norms, biases and attention sinks of the whole model.
        max_context: longest context the model was made for, tokens.
        precisions: number format of each part's weights; BF16 for parts not named. Its bits are the mean over the
            part, with scales, zero points and matrices that are left unquantised.
        linear: layers with linear attention, which keep a state of fixed size in place of a cache; None: none do.
        vision_parameters: parameters of what looks at images.
        cuts: tensor-parallel sizes that the quantisation rules out.
        formats: formats of the checkpoint's matrices with their grouping, and the bytes of each, the largest first;
            empty where nothing is quantised.
        cautions: what is to be known of the checkpoint before it is served.
        adapter: what a LoRA adapter of rank 1 adds to the layers.
        mtp_layers: layers of its own that draft tokens (multi-token prediction); they are counted nowhere else.
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
    linear: LinearAttention | None = None
    vision_parameters: int = 0
    cuts: tuple[TensorCut, ...] = ()
    formats: tuple[tuple[str, float], ...] = ()
    cautions: tuple[str, ...] = ()
    adapter: AdapterValues = NO_VALUES
    mtp_layers: int = 0

    @property
    def cache_layers(self) -> int:
        """Number of layers that keep a cache."""
        return sum(count for _, count in self.windows)

    @property
    def attention_parameters(self) -> int:
        """Parameters of attention in all layers."""
        linear = self.linear.layers * self.linear.parameters if self.linear else 0
        return self.cache_layers * self.attention.parameters + self.index_parameters + linear

    @property
    def index_parameters(self) -> int:
        """Parameters of all indexers of sparse attention."""
        index = self.attention.index
        return index.layers * index.parameters if index else 0

    def attention_share(self, tensor: int) -> float:
        """Return the share of attention's parameters that each of `tensor` GPUs holds; some matrices are copied."""
        linear = self.linear.layers * self.linear.parameters / tensor if self.linear else 0.0
        own = self.cache_layers * self.attention.parameters_on_one_gpu(tensor) + self.index_parameters + linear
        return own / self.attention_parameters

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
            WeightGroup.ATTENTION: self.attention_parameters,
            WeightGroup.MLP: self.dense_layers * self.mlp_parameters,
            WeightGroup.SHARED_EXPERTS: self.expert_layers * experts.shared_parameters if experts else 0,
            WeightGroup.EXPERTS: self.expert_layers * experts.routed * experts.parameters if experts else 0,
            WeightGroup.ROUTER: self.expert_layers * experts.router_parameters if experts else 0,
            WeightGroup.SMALL: self.small_parameters,
            WeightGroup.VISION: self.vision_parameters,
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
        return round(self.parameters - idle - lookup - self.vision_parameters)

    def precision(self, part: WeightGroup) -> Precision:
        """Return the number format of a part's weights."""
        return self.precisions.get(part, BF16)

    @property
    def weight_precision(self) -> Precision:
        """Number format of most of the weights, which names the model's precision."""
        parts = self.parameters_by_part
        by_name: dict[str, int] = {}
        for part, count in parts.items():
            by_name[self.precision(part).name] = by_name.get(self.precision(part).name, 0) + count
        most = max(by_name, key=lambda name: by_name[name])
        return self.precision(max(parts, key=lambda part: parts[part] if self.precision(part).name == most else -1))

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights, scales included."""
        return sum(self.bytes_by_part.values())

    @property
    def bytes_by_part(self) -> dict[WeightGroup, float]:
        """Bytes of the weights, scales included, by part."""
        return {part: count * self.precision(part).bytes for part, count in self.parameters_by_part.items()}

    def in_precision(self, precision: Precision) -> "ModelShape":
        """Return the model with its linear layers in `precision`.

        FP8, INT8 and INT4 checkpoints hold all linear layers but the head in that format (as vLLM's own FP8 does);
        4-bit floats are used for MLPs and experts, with attention left in BF16 (as NVIDIA's DeepSeek-R1-FP4 and
        OpenAI's gpt-oss are).
        """
        if precision.name == self.weight_precision.name:
            return self
        parts = QUANTISED_WITH_EXPERTS if precision.name in {"nvfp4", "mxfp4"} else QUANTISED_LINEARS
        chosen = {} if precision == BF16 else dict.fromkeys(parts, precision)
        return replace(self, precisions=chosen, cuts=(), formats=(), cautions=())

    def kv_bytes_per_token(self, precision: Precision) -> float:
        """Return the bytes that one more token adds to a short sequence's cache, over all layers."""
        return self.cache_layers * self.attention.kv_values * precision.bytes + self.index_bytes_per_token

    def kv_bytes(self, context: float, precision: Precision) -> float:
        """Return the bytes of KV cache of a sequence of `context` tokens; layers with a window keep no more than it.

        States of linear attention count from the first token on.
        """
        values = self.kept(context) * self.attention.kv_values
        return values * precision.bytes + self.index_bytes_per_token * context + self.state_bytes

    @property
    def index_bytes_per_token(self) -> int:
        """Bytes that a token keeps in the caches of all indexers of sparse attention, in any format of the KV cache."""
        index = self.attention.index
        return index.layers * index.bytes_per_token if index else 0

    @property
    def state_bytes(self) -> float:
        """Bytes of a sequence's states of linear attention, over all layers."""
        return self.linear.layers * self.linear.state_values * BF16.bytes if self.linear else 0.0

    def kept(self, context: float) -> float:
        """Return the tokens that a sequence of `context` tokens keeps in its cache, summed over layers."""
        return sum(count * (context if window is None else min(context, window)) for window, count in self.windows)

    def attended(self, context: float) -> float:
        """Return the tokens that a token after `context` others attends to, summed over layers.

        Sparse attention looks at the best of them alone.
        """
        index = self.attention.index
        return self.kept(min(context, index.top) if index else context)

    def flops_per_token(self, context: float) -> float:
        """Return the operations to decode one token after `context` others.

        Two for each active parameter, plus those of attention.
        """
        return (
            2 * self.active_parameters
            + self.attention.decode_flops * self.attended(context)
            + self.index_flops(context)
        )

    def index_flops(self, context: float) -> float:
        """Return the operations of sparse attention's indexers to choose among `context` tokens, for one token."""
        return self.attention.index.flops(context) if self.attention.index else 0.0

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
        if self.linear and self.linear.key_heads % size:
            return f"{self.linear.key_heads} heads of linear attention are not divisible by {size}"
        # An expert that one GPU has whole must consist of whole groups all the same.
        reasons = (cut.why_not(1 if cut.in_expert and not experts_are_cut else size) for cut in self.cuts)
        return next((reason for reason in reasons if reason), "")

    def pipeline_sizes(self, most: int) -> list[int]:
        """Return the pipeline sizes up to `most` that give every stage the same number of layers."""
        return [size for size in range(1, min(most, self.layers) + 1) if self.layers % size == 0]

    def stage_layers(self, pipeline: int) -> int:
        """Return the layers of the fullest pipeline stage; vLLM's `get_pp_indices` spreads the remainder evenly."""
        return -(-self.layers // pipeline)
