"""The sizes of a replica that the time of a step depends on: from shape, layout and GPU to `ReplicaSizes`."""

import math
from typing import Final

from cluster.model_shapes.model_shape import ModelShape, WeightGroup
from cluster.model_shapes.precision import Precision, Rate
from cluster.replica_cost.hardware import Accelerator
from cluster.replica_cost.layout import Layout
from cluster.step_time.figures import MatrixFigures, ReplicaSizes

_ROUNDED_TO_8_BITS: Final = frozenset({"fp8", "int8"})
_ROUNDED_TO_4_BITS: Final = frozenset({"nvfp4"})
_UNPACKED_BELOW_BITS: Final = 8


def replica_figures(shape: ModelShape, hardware: Accelerator, layout: Layout, kv_precision: Precision) -> ReplicaSizes:
    """Return the sizes of one replica, all its stages together.

    Args:
        shape: the model, in the precision it is served in.
        hardware: kind of GPU.
        layout: layout of the replica.
        kv_precision: number format of the KV cache.
    """
    attention, experts, tensor = shape.attention, shape.experts, layout.tensor
    index, linear = attention.index, shape.linear

    def matrices(part: WeightGroup, parameters: float) -> MatrixFigures:
        return _matrices(hardware, shape.precision(part), parameters)

    return ReplicaSizes(
        layers=shape.layers,
        dense_layers=shape.dense_layers,
        expert_layers=shape.expert_layers,
        linear_layers=linear.layers if linear else 0,
        latent_layers=shape.cache_layers if attention.latent else 0,
        indexer_layers=index.layers if index else 0,
        hidden=shape.hidden,
        projections=matrices(WeightGroup.ATTENTION, shape.attention_parameters * shape.attention_share(tensor)),
        mlp=matrices(WeightGroup.MLP, shape.dense_layers * shape.mlp_parameters / tensor),
        shared=matrices(
            WeightGroup.SHARED_EXPERTS, shape.expert_layers * experts.shared_parameters / tensor if experts else 0.0
        ),
        head=matrices(WeightGroup.HEAD, shape.vocab * shape.hidden / tensor),
        expert=matrices(WeightGroup.EXPERTS, shape.expert_layers * experts.parameters if experts else 0.0),
        router_parameters=shape.expert_layers * experts.router_parameters if experts else 0.0,
        routed=experts.routed if experts else 1,
        active=experts.active if experts else 0,
        expert_parts=layout.expert,
        cache_bytes=attention.kv_values_on_one_gpu(tensor) * kv_precision.bytes,
        state_bytes=2 * shape.state_bytes / tensor,
        index_bytes=shape.index_bytes_per_token,
        index_flops=shape.index_flops(1.0),
        decode_flops=attention.decode_flops / tensor,
        prompt_flops=attention.prefill_flops / tensor,
        exchange_layers=shape.expert_layers if layout.data > 1 else 0,
        tensor=tensor,
        tensor_rounds=math.log2(tensor),
        data=layout.data,
        bf16_flops=hardware.flops[Rate.BF16],
        memory_bytes_per_s=hardware.memory_bytes_per_s,
        link_bytes_per_s=hardware.link_bytes_per_s,
    )


def _matrices(hardware: Accelerator, precision: Precision, parameters: float) -> MatrixFigures:
    rate = next(rate for rate in precision.rates if rate in hardware.flops)
    if precision.name == "mxfp4" and Rate.FP4 in hardware.flops:
        rate = Rate.FP8  # block-scaled units multiply MXFP4 weights with MXFP8 activations
    return MatrixFigures(
        parameters=parameters,
        stored_bytes=parameters * precision.bytes,
        flops=hardware.flops[rate],
        in_bf16=float(rate is Rate.BF16),
        in_fp8=float(rate in {Rate.FP8, Rate.INT8}),
        in_fp4=float(rate is Rate.FP4),
        unpacked=float(rate is Rate.BF16 and precision.bits < _UNPACKED_BELOW_BITS),
        rounds_fp8=float(precision.name in _ROUNDED_TO_8_BITS),
        rounds_fp4=float(precision.name in _ROUNDED_TO_4_BITS),
    )
