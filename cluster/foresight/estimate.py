"""Foresees what a serving point will do: tokens a second for each GPU, TPOT and TTFT, with intervals.

foresee(serving_point("openai/gpt-oss-120b", "gb300", layout=Layout(2), input_tokens=1024, output_tokens=1024,
concurrency=64))
"""

from dataclasses import dataclass

from cluster.foresight.interval import Foreseen, Quantity, foreseen
from cluster.foresight.serving_point import ServingPoint
from cluster.step_time.closed_loop import LoopTimes, apart, together


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is foreseen.

    Attributes:
        tokens_per_s_per_gpu: output tokens a second for each GPU.
        tpot_s: mean seconds between an answer's tokens.
        ttft_s: mean seconds to the first token.
        gpus: GPUs of all replicas.
    """

    tokens_per_s_per_gpu: Foreseen
    tpot_s: Foreseen
    ttft_s: Foreseen
    gpus: int


def foresee(point: ServingPoint) -> Forecast:
    """Return what a serving point's closed loop will measure."""
    times = loop_times(point)
    kind = "apart" if point.prefill else "together"
    return Forecast(
        tokens_per_s_per_gpu=foreseen(times.tokens_per_s / point.gpus, Quantity.TOKENS_PER_S, point.engine, kind),
        tpot_s=foreseen(times.tpot_s, Quantity.TPOT, point.engine, kind),
        ttft_s=foreseen(times.ttft_s, Quantity.TTFT, point.engine, kind),
        gpus=point.gpus,
    )


def loop_times(point: ServingPoint) -> LoopTimes:
    """Return the means of a serving point's closed loop."""
    decode = point.replica(point.decode.layout)
    if point.prefill is None:
        return together(decode, point.requests, point.room)
    workers = float(point.prefill.count), float(point.decode.count)
    return apart(point.replica(point.prefill.layout), decode, point.requests, workers, point.room)
