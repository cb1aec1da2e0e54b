"""Foresees what a serving point will do: tokens a second for each GPU, TPOT and TTFT, with intervals.

foresee("openai/gpt-oss-120b", "gb300", layout=Layout(tensor=2), input_tokens=1024, output_tokens=1024, concurrency=64)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.foresight.interval import Foreseen, Quantity, foreseen
from cluster.foresight.serving_point import ServingPoint, Workers, serving_point
from cluster.planning.layout import Layout
from cluster.planning.model_shape import ModelShape
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


def foresee(  # noqa: PLR0913 - each is one choice of who serves
    model: str | Mapping[str, Any] | ModelShape,
    hardware: str,
    *,
    input_tokens: float,
    output_tokens: float,
    concurrency: float,
    layout: Layout | None = None,
    prefill: Workers | None = None,
    decode: Workers | None = None,
    engine: str = "vllm",
    version: str = "",
    precision: str = "",
    kv_precision: str = "",
) -> Forecast:
    """Return what a closed loop of `concurrency` requests will measure.

    Args:
        model: id on the Hugging Face hub, a parsed `config.json`, or a shape.
        hardware: name of an accelerator, such as `gb300`.
        input_tokens: tokens of a prompt.
        output_tokens: tokens of an answer.
        concurrency: requests under way at once, at all replicas together.
        layout: layout of the one replica that computes prompts and answers; None: `prefill` and `decode` say.
        prefill: replicas that compute prompts alone.
        decode: replicas that compute answers alone.
        engine: `vllm`, `sglang` or `trtllm`.
        version: its version; "" if it is not known.
        precision: number format of the weights; "": the model's own.
        kv_precision: number format of the KV cache; "": FP8 where the weights are quantised, else BF16.

    Raises:
        ValueError: the accelerator or a format is unknown, or no layout is given.
        ModelShapeError: the model is unknown.
    """
    return forecast(
        serving_point(
            model,
            hardware,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            concurrency=concurrency,
            layout=layout,
            prefill=prefill,
            decode=decode,
            engine=engine,
            version=version,
            precision=precision,
            kv_precision=kv_precision,
        )
    )


def forecast(point: ServingPoint) -> Forecast:
    """Return what a serving point will do."""
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
