"""Estimates the memory of each GPU of a gang, by part: weights, activations, runtime, and what is left for KV cache."""

from dataclasses import dataclass, replace
from typing import Final

from cluster.adapter_room.adapter_plan import AdapterPlan
from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import BF16, Precision
from cluster.replica_cost.hardware import Accelerator
from cluster.replica_cost.layout import Layout

USABLE_SHARE: Final = 0.92
"""Share of a GPU's memory that may be used (vLLM 0.32's default `gpu_memory_utilization`)."""

RUNTIME_BYTES: Final = 4.1e9
"""Bytes of driver context, collectives' buffers and captured graphs.

Source: NVIDIA's aiconfigurator, `other_mem` 3.5 GiB and `nccl_mem` 392 MiB.
"""

_WORKING_VECTORS: Final = 8
"""Vectors of the hidden size held for each token: residual, norm, queries, keys, values, outputs and their copies."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of the fullest GPU of a gang, in bytes.

    Attributes:
        weights: its share of the model's weights.
        activations: intermediate values of the largest step.
        runtime: driver, collectives and graphs.
        kv_cache: what is left for the KV cache; below 0 where the other parts do not fit.
        reserve: memory that is never used.
        adapters: slots of LoRA adapters.
    """

    weights: float
    activations: float
    runtime: float
    kv_cache: float
    reserve: float
    adapters: float = 0.0


def memory_use(
    shape: ModelShape,
    hardware: Accelerator,
    layout: Layout,
    step_tokens: int,
    *,
    usable_share: float = USABLE_SHARE,
) -> MemoryUse:
    """Return the memory use of the fullest GPU of a gang, bytes.

    Args:
        shape: the model.
        hardware: kind of GPU.
        layout: layout of the gang.
        step_tokens: tokens of the largest step (vLLM's `max_num_batched_tokens`).
        usable_share: share of a GPU's memory that may be used.
    """
    usable = hardware.memory_bytes * usable_share
    weights = weights_on_one_gpu(shape, layout)
    experts = shape.experts
    widest = max(shape.mlp_width, experts.active * experts.width if experts else 0)
    vectors = _WORKING_VECTORS * shape.hidden + 2 * widest / layout.tensor
    activations = step_tokens * vectors * BF16.bytes
    return MemoryUse(
        weights=weights,
        activations=activations,
        runtime=RUNTIME_BYTES,
        kv_cache=usable - weights - activations - RUNTIME_BYTES,
        reserve=hardware.memory_bytes - usable,
    )


def with_adapters(memory: MemoryUse, shape: ModelShape, layout: Layout, adapters: AdapterPlan) -> MemoryUse:
    """Return the memory use of the fullest GPU with the slots of LoRA adapters."""
    stage = shape.stage_layers(layout.pipeline) / shape.layers
    slots = adapters.bytes_on_one_gpu(shape.adapter, layout.tensor, expert_share_of_one_gpu(shape, layout), stage)
    return replace(memory, adapters=slots, kv_cache=memory.kv_cache - slots)


def weights_on_one_gpu(shape: ModelShape, layout: Layout) -> float:
    """Return the bytes of weights on the fullest GPU: a stage with the most layers, and the larger of both tables.

    The tables are the input embedding, with what looks at images beside it, and the output head; a gang of one stage
    holds both.
    """
    size = shape.bytes_by_part
    stage = shape.stage_layers(layout.pipeline) / shape.layers
    cut = stage * (size[WeightGroup.MLP] + size[WeightGroup.SHARED_EXPERTS]) / layout.tensor
    cut += stage * size[WeightGroup.ATTENTION] * shape.attention_share(layout.tensor)
    whole = stage * (size[WeightGroup.ROUTER] + size[WeightGroup.SMALL])
    tables = (size[WeightGroup.EMBEDDING] + size[WeightGroup.VISION], size[WeightGroup.HEAD])
    table = (sum(tables) if layout.pipeline == 1 else max(tables)) / layout.tensor
    experts = 0.0
    if shape.experts:
        experts = stage * size[WeightGroup.EXPERTS] * expert_share_of_one_gpu(shape, layout)
    return cut + whole + table + experts


def expert_share_of_one_gpu(shape: ModelShape, layout: Layout) -> float:
    """Return the share of a layer's experts that the fullest GPU holds."""
    if shape.experts is None:
        return 0.0
    if not layout.experts_whole:
        return 1 / layout.stage_gpus
    return -(-shape.experts.routed // layout.expert) / shape.experts.routed


def kv_bytes_on_one_gpu(shape: ModelShape, layout: Layout, context: float, precision: Precision) -> float:
    """Return the bytes of KV cache of one sequence of `context` tokens on each GPU of its data-parallel rank."""
    values = shape.attention.kv_values_on_one_gpu(layout.tensor)
    stage = shape.stage_layers(layout.pipeline) / shape.layers
    index = shape.index_bytes_per_token * context  # every GPU of a tensor group has all of an indexer's keys
    return stage * (shape.kept(context) * values * precision.bytes + index + shape.state_bytes / layout.tensor)
