"""The coefficients of the time of a step, each with what it stands for, and their values for an engine on a GPU.

A value is the product of one that all share and of deviations of the engine, of the GPU's generation and of the
engine's version. Deviations are held near one by a prior (`Term`), so an engine, a generation or a version that the
measurements hardly show is predicted like the others. `cluster.step_time.fitted` has the values that were fitted.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from cluster.step_time.fitted import DEVIATIONS, SHARED


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Coefficients of an engine on a GPU; shares are of the peak, and times are seconds.

    Attributes:
        weight_memory: share of the memory's bandwidth that reading dense weights reaches.
        expert_memory: the same for routed experts.
        cache_memory: the same for the KV cache.
        bf16: share of the peak arithmetic that matrix products reach in BF16.
        fp8: the same in FP8.
        fp4: the same in FP4.
        unpacking: share of the BF16 speed that is left where 4-bit weights are unpacked first.
        grouped: share of a dense product's speed that the grouped products of experts reach.
        padding: rows that each expert's product is padded by, on average.
        prompt_attention: share of the BF16 peak that attention over prompts reaches.
        passes: times that each layer reads or writes a token's vector beside the matrices (norms, residuals, rounding).
        step_s: the engine's work on the host for each step.
        sequence_s: the engine's work on the host for each sequence of a step.
        layer_s: launches of each layer.
        expert_layer_s: further launches of a layer with experts: routing, sorting, combining.
        linear_layer_s: further launches of a layer with linear attention.
        latent_layer_s: further launches of a layer with latent attention.
        indexer_layer_s: further launches of a layer with an indexer.
        fp8_layer_s: launches that round activations for FP8 projections, each layer.
        fp4_layer_s: launches that round activations for FP4 MLPs, each layer.
        fp8_expert_layer_s: the same for FP8 experts.
        fp4_expert_layer_s: the same for FP4 experts.
        all_reduce_s: latency of an all-reduce over eight GPUs; it grows with the logarithm of their number.
        link: share of the links' bandwidth that collectives reach.
        exchange_s: latency of sending tokens to experts of other ranks and back, each layer.
        imbalance: how much more the fullest GPU has to do than the mean one, where experts are dealt whole.
        evenness: share of the tokens that choose experts as if all were equally liked.
        lockstep: exponent of the number of ranks by which prompts of any rank delay all.
        prompt_step_s: further work on the host for a step that has prompt tokens.
        first_token_s: from a request's arrival to its first step, and from its first token to the client.
        burst: share of a full round of prompts that a request waits for, as closed loops start together.
        apart_burst: the same at replicas that compute prompts alone.
        turnover: share of an answer's time that a request waits for a place in the batch.
        transfer_s: fixed time to hand a prompt from a prefill to a decode replica.
        decode_pace: factor on decode steps: what a version's rows do not tell, speculation above all.
        prefill_pace: factor on prompts, the same.
    """

    weight_memory: float
    expert_memory: float
    cache_memory: float
    bf16: float
    fp8: float
    fp4: float
    unpacking: float
    grouped: float
    padding: float
    prompt_attention: float
    passes: float
    step_s: float
    sequence_s: float
    layer_s: float
    expert_layer_s: float
    linear_layer_s: float
    latent_layer_s: float
    indexer_layer_s: float
    fp8_layer_s: float
    fp4_layer_s: float
    fp8_expert_layer_s: float
    fp4_expert_layer_s: float
    all_reduce_s: float
    link: float
    exchange_s: float
    imbalance: float
    evenness: float
    lockstep: float
    prompt_step_s: float
    first_token_s: float
    burst: float
    apart_burst: float
    turnover: float
    transfer_s: float
    decode_pace: float
    prefill_pace: float


NAMES: Final = tuple(field.name for field in fields(Coefficients))
"""Names of all coefficients."""

ENGINES: Final = ("vllm", "sglang", "trtllm")
"""Engines that coefficients are fitted for."""

SEPARATE_PROMPTS: Final = frozenset({"sglang"})
"""Engines whose steps compute either prompts or answers, unless they are told otherwise."""


@functools.lru_cache(maxsize=256)
def coefficients_of(engine: str, generation: str = "", version: str = "") -> Coefficients:
    """Return the coefficients of an engine on a GPU.

    Args:
        engine: name of the engine; one that is not known has the shared values.
        generation: generation of the GPU; one that is not known has the shared values.
        version: version of the engine; "" or one that is not known has the engine's values.
    """
    keys = (engine, generation, f"{engine} {version}" if version else "")
    return Coefficients(**{name: _value(name, keys, DEVIATIONS) for name in NAMES})


def _value(name: str, keys: tuple[str, ...], deviations: Mapping[str, Mapping[str, float]]) -> float:
    value = SHARED[name]
    for key in keys:
        value *= deviations.get(key, {}).get(name, 1.0)
    return value
