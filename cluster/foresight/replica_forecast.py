"""What the cost model foresees of one replica whatever its load: full steps of prompts, answers, and its KV cache.

Answers are foreseen at the slowest step that the replica has without prompts: the most sequences that it runs at once,
with contexts that fill its KV cache. So a replica that takes longer is slower than foreseen under any load.
"""

from dataclasses import dataclass

from cluster.foresight.serving_point import ServingPoint
from cluster.replica_cost.memory import USABLE_SHARE, kv_bytes_on_one_gpu, memory_use
from cluster.step_time.figures import StepLoad
from cluster.step_time.paced import decode_s, prompts_s

PROMPT_TOKENS = 8192.0
"""Tokens of the prompts for which full steps are foreseen: longer ones attend to more, and take longer."""


@dataclass(frozen=True, slots=True)
class ReplicaForecast:
    """What is foreseen of one replica.

    Attributes:
        prefill_tokens_per_s: prompt tokens a second in full steps.
        decode_tokens_per_s: tokens a second that `sequences` get in steps without prompts.
        sequences: most sequences that are decoded at once.
        kv_tokens: tokens that its KV cache holds.
    """

    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    sequences: float
    kv_tokens: float


def replica_forecast(point: ServingPoint, sequences: int, usable_share: float = USABLE_SHARE) -> ReplicaForecast | None:
    """Return what is foreseen of one of a point's decode replicas; None: its weights leave no memory for a KV cache.

    Args:
        point: the point of service; its load does not matter.
        sequences: most sequences that each data-parallel rank runs at once.
        usable_share: share of a GPU's memory that may be used.
    """
    shape, layout, step_tokens = point.shape, point.decode.layout, point.step_tokens
    memory = memory_use(shape, point.hardware, layout, step_tokens, usable_share=usable_share).kv_cache
    each = kv_bytes_on_one_gpu(shape, layout, 1.0, point.kv_precision)
    if memory <= each:
        return None
    kv_tokens = memory / each  # of a rank
    context = min(kv_tokens / sequences, float(shape.max_context))
    figures, coefficients = point.figures(layout), point.coefficients
    stages = layout.pipeline
    decoding = StepLoad(sequences / stages, 0.0, 0.0, shape.attended(context), 0.0, context, 0.0)
    before = PROMPT_TOKENS / 2
    full = StepLoad(0.0, step_tokens, step_tokens, 0.0, shape.attended(before), 0.0, before)
    return ReplicaForecast(
        prefill_tokens_per_s=stages * layout.data * step_tokens / prompts_s(figures, coefficients, full),
        decode_tokens_per_s=layout.data * sequences / decode_s(figures, coefficients, decoding),
        sequences=float(layout.data * sequences),
        kv_tokens=layout.data * kv_tokens,
    )
