"""The time of one step: each part the longer of arithmetic and memory traffic, then launches, collectives and the host.

Where arithmetic and traffic are nearly equal neither hides the other wholly: the sum of their fourth powers stands for
the larger. A data-parallel rank waits for the one with the most prompt tokens.
"""

from dataclasses import dataclass, fields

from cluster.step_time.coefficients import Coefficients
from cluster.step_time.figures import MatrixFigures, ReplicaSizes, StepLoad

_SHARPNESS = 4.0
_VECTOR_BYTES = 2.0
_PASS_SHARE = 0.8
_DECODE_ATTENTION = 0.7
"""Share of a matrix product's speed that attention over one token's cache reaches."""
_EXCHANGED_BYTES = 3.0
"""Bytes of each value on its way to an expert and back: FP8 there, BF16 back (DeepEP)."""


def longer(first: float, second: float) -> float:
    """Return about the larger of two times that overlap, seconds; somewhat more where they are nearly equal."""
    together: float = (first**_SHARPNESS + second**_SHARPNESS) ** (1 / _SHARPNESS)
    return together


@dataclass(frozen=True, slots=True)
class PassTime:
    """Seconds of one pass through all layers, by what they are spent on.

    Attributes:
        projections: attention's matrices.
        attention: attention itself, over the KV cache.
        mlp: MLPs of the dense layers.
        experts: routed and shared experts and the router.
        head: output head.
        passes: norms, residuals and rounding: each token's vector read and written beside the matrices.
        all_reduce: all-reduces within the tensor group.
        exchange: sending tokens to experts and results back.
        latency: launches of the layers' kernels.
        host: the engine's work on the host.
        drafting: drafting the tokens that it verifies.
        adapters: LoRA adapters' own matrices.
    """

    projections: float
    attention: float
    mlp: float
    experts: float
    head: float
    passes: float
    all_reduce: float
    exchange: float
    latency: float
    host: float
    drafting: float = 0.0
    adapters: float = 0.0

    @property
    def total(self) -> float:
        """Seconds of the whole pass."""
        work = self.projections + self.attention + self.mlp + self.experts + self.head + self.passes
        return work + self.all_reduce + self.exchange + self.latency + self.host + self.drafting + self.adapters

    def plus(self, other: "PassTime", share: float = 1.0) -> "PassTime":
        """Return the sum with `share` of another, part by part; the share may be negative."""
        parts = {part: getattr(self, part) + share * getattr(other, part) for part in PARTS}
        return PassTime(**parts)

    def times(self, factor: float) -> "PassTime":
        """Return each part times `factor`."""
        return PassTime(**{part: factor * getattr(self, part) for part in PARTS})


PARTS = tuple(field.name for field in fields(PassTime))
"""Names of the parts of a step's time."""


def step_time(figures: ReplicaSizes, c: Coefficients, load: StepLoad) -> PassTime:
    """Return the time of one step, without the engine's version and the extra work of steps with prompts.

    Args:
        figures: the replica.
        c: coefficients of its engine.
        load: tokens of the step.
    """
    decoded = load.decode * load.verified
    tokens = decoded + load.most_prefill
    in_gang = figures.data * (decoded + load.prefill)
    tensor, data = figures.tensor, figures.data
    bandwidth = figures.memory_bytes_per_s
    router = 2 * figures.router_parameters
    gates = longer(router * tokens / (figures.bf16_flops * c.bf16), router / (bandwidth * c.weight_memory))
    sent = 2 * (1 - 1 / tensor) * tokens  # of a ring: each vector twice over every link
    vector_bytes = figures.hidden * _VECTOR_BYTES
    gpus = tensor * data
    expert_vectors = 0.5 * figures.expert_layers * in_gang / gpus * figures.active
    link = figures.link_bytes_per_s * c.link
    return PassTime(
        projections=_matrices(figures.projections, tokens, bandwidth, c),
        attention=_attention(figures, load, c),
        mlp=_matrices(figures.mlp, tokens, bandwidth, c),
        experts=_experts(figures, in_gang, c) + _matrices(figures.shared, tokens, bandwidth, c) + gates,
        head=_matrices(figures.head, decoded + _at_most_one(load.most_prefill), bandwidth, c),
        passes=c.passes * vector_bytes * (figures.layers * tokens + expert_vectors) / (bandwidth * _PASS_SHARE),
        all_reduce=2 * figures.layers * (figures.tensor_rounds / 3 * c.all_reduce_s + sent * vector_bytes / link),
        exchange=figures.exchange_layers
        * (c.exchange_s + tokens / tensor * _others(gpus, figures.active) * figures.hidden * _EXCHANGED_BYTES / link),
        latency=_launches(figures, c),
        host=c.step_s + c.sequence_s * load.decode * data,
    )


def _launches(figures: ReplicaSizes, c: Coefficients) -> float:
    rounding = figures.layers * figures.projections.rounds_fp8 * c.fp8_layer_s
    rounding = rounding + figures.dense_layers * figures.mlp.rounds_fp4 * c.fp4_layer_s
    of_experts = figures.expert.rounds_fp8 * c.fp8_expert_layer_s + figures.expert.rounds_fp4 * c.fp4_expert_layer_s
    return (
        figures.layers * c.layer_s
        + figures.expert_layers * (c.expert_layer_s + of_experts)
        + figures.linear_layers * c.linear_layer_s
        + figures.latent_layers * c.latent_layer_s
        + figures.indexer_layers * c.indexer_layer_s
        + rounding
    )


def _attention(figures: ReplicaSizes, load: StepLoad, c: Coefficients) -> float:
    cached = load.attended * figures.cache_bytes + figures.index_bytes * load.context + figures.state_bytes
    looked = load.attended * figures.decode_flops + figures.index_flops * load.context
    decode = longer(
        load.decode * cached / (figures.memory_bytes_per_s * c.cache_memory),
        load.decode * load.verified * looked / (figures.bf16_flops * c.bf16 * _DECODE_ATTENTION),
    )
    looked = load.prompt_attended * figures.prompt_flops + figures.index_flops * load.prompt_context
    return decode + load.most_prefill * looked / (figures.bf16_flops * c.prompt_attention)


def _experts(figures: ReplicaSizes, in_gang: float, c: Coefficients) -> float:
    """Return the seconds of the routed experts: of those that are chosen at all, padded, on the fullest GPU."""
    expert, gpus = figures.expert, figures.tensor * figures.data
    left_out = (1 - figures.active / figures.routed) ** (in_gang * c.evenness)
    touched = figures.routed * (1 - left_out)
    uneven = c.imbalance * (1 - 1 / figures.expert_parts)
    rows = figures.active * in_gang + c.padding * touched
    arithmetic = 2 * expert.parameters * rows / gpus / (_reached(expert, c) * c.grouped) * (1 + uneven)
    traffic = touched / gpus * expert.stored_bytes / (figures.memory_bytes_per_s * c.expert_memory) * (1 + uneven / 2)
    return longer(arithmetic, traffic)


def _matrices(matrices: MatrixFigures, tokens: float, bandwidth: float, c: Coefficients) -> float:
    arithmetic = 2 * matrices.parameters * tokens / _reached(matrices, c)
    return longer(arithmetic, matrices.stored_bytes / (bandwidth * c.weight_memory))


def _reached(matrices: MatrixFigures, c: Coefficients) -> float:
    """Return the operations a second that matrix products reach."""
    bf16 = c.bf16 * (1 + matrices.unpacked * (c.unpacking - 1))
    return matrices.flops * (matrices.in_bf16 * bf16 + matrices.in_fp8 * c.fp8 + matrices.in_fp4 * c.fp4)


def _at_most_one(value: float) -> float:
    """Return about the value up to one, and about one beyond."""
    return value / (value + 1)


def _others(gpus: float, active: float) -> float:
    """Return the mean number of other GPUs that a token goes to: once to each that has any of its experts."""
    others: float = (gpus - 1) * (1 - (1 - 1 / gpus) ** active)
    return others
