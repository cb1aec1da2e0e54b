"""What a replica is in numbers: the sizes that the time of a step depends on, and nothing that is fitted.

All numbers are of one GPU unless said otherwise. The functions that take these records use arithmetic alone, so a
record's fields may be arrays of one length too: the fit puts thousands of measured points into one record.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MatrixFigures:
    """Matrices of one part of the model.

    Attributes:
        parameters: values that each token is multiplied with on one GPU.
        stored_bytes: bytes that they take.
        flops: peak operations a second of the arithmetic that they are multiplied in.
        in_bf16: 1 where that arithmetic is BF16, else 0.
        in_fp8: 1 where it is FP8 or INT8, else 0.
        in_fp4: 1 where it is FP4, else 0.
        unpacked: 1 where weights of less than 8 bits are unpacked to BF16 first, else 0.
        rounds_fp8: 1 where a kernel of its own rounds activations to 8 bits, else 0.
        rounds_fp4: the same for 4 bits.
    """

    parameters: float
    stored_bytes: float
    flops: float
    in_bf16: float = 1.0
    in_fp8: float = 0.0
    in_fp4: float = 0.0
    unpacked: float = 0.0
    rounds_fp8: float = 0.0
    rounds_fp4: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplicaSizes:
    """One replica: all its layers, in one layout, on one kind of GPU.

    Attributes:
        layers: layers of the model.
        dense_layers: layers without experts.
        expert_layers: layers with experts.
        linear_layers: layers with linear attention.
        latent_layers: layers with latent attention.
        indexer_layers: layers with an indexer of sparse attention.
        hidden: values of a token's vector.
        projections: attention's matrices.
        mlp: matrices of the dense layers' MLPs.
        shared: matrices of the shared experts.
        head: the output head.
        expert: one routed expert in every layer that has experts, whole.
        router_parameters: parameters of all routers.
        routed: experts of a layer; 1 where there are none.
        active: experts that a token goes to; 0 where there are none.
        expert_parts: GPUs that the experts of a layer are dealt to; 1 where each expert is split over all.
        cache_bytes: bytes that a token in the KV cache takes in one layer.
        state_bytes: bytes of a sequence's states of linear attention that a step reads and writes, over all layers.
        index_bytes: bytes that a token keeps for all indexers.
        index_flops: operations of all indexers for a token that is looked at.
        decode_flops: operations of attention for a pair of tokens in one layer, in decode.
        prompt_flops: the same in prefill.
        exchange_layers: layers whose tokens go to experts of other ranks; 0 where there is one rank.
        tensor: GPUs of a tensor group.
        tensor_rounds: binary logarithm of it: rounds of messages in an all-reduce.
        data: data-parallel ranks.
        bf16_flops: peak BF16 operations a second.
        memory_bytes_per_s: peak bandwidth of the memory.
        link_bytes_per_s: peak bandwidth of the links, one direction.
    """

    layers: float
    dense_layers: float
    expert_layers: float
    linear_layers: float
    latent_layers: float
    indexer_layers: float
    hidden: float
    projections: MatrixFigures
    mlp: MatrixFigures
    shared: MatrixFigures
    head: MatrixFigures
    expert: MatrixFigures
    router_parameters: float
    routed: float
    active: float
    expert_parts: float
    cache_bytes: float
    state_bytes: float
    index_bytes: float
    index_flops: float
    decode_flops: float
    prompt_flops: float
    exchange_layers: float
    tensor: float
    tensor_rounds: float
    data: float
    bf16_flops: float
    memory_bytes_per_s: float
    link_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class StepLoad:
    """Tokens of one step, on each data-parallel rank.

    Attributes:
        decode: sequences that get a token.
        prefill: mean number of prompt tokens.
        most_prefill: prompt tokens of the rank that has the most; the others wait for it.
        attended: tokens that a decoded token attends to, summed over layers.
        prompt_attended: tokens that a prompt token attends to, summed over layers.
        context: tokens before a decoded token.
        prompt_context: tokens before a prompt token, on average.
        verified: tokens that are computed of each sequence: one, and those of its draft.
    """

    decode: float
    prefill: float
    most_prefill: float
    attended: float
    prompt_attended: float
    context: float
    prompt_context: float
    verified: float = 1.0
