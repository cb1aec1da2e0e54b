"""One point of service: a model on GPUs, an engine, its layout, and a closed loop of requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.foresight.hub_models import hub_model
from cluster.model_shapes.model_config import shape_from_config
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import BF16, FP8, PRECISIONS, Precision
from cluster.planning.plan_file import unknown_hardware
from cluster.replica_cost.hardware import ACCELERATORS, Accelerator
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import kv_bytes_on_one_gpu, weights_on_one_gpu
from cluster.replica_cost.replica_figures import replica_figures
from cluster.step_time.closed_loop import LoopReplica, Requests
from cluster.step_time.coefficients import SEPARATE_PROMPTS, Coefficients, coefficients_of
from cluster.step_time.figures import ReplicaSizes

SERVED_SHARE = 0.96
"""Share of a GPU's nominal memory that engines use: 0.9 to 0.95 of what there is, which is somewhat more."""

RESERVED_BYTES = 3e9
"""Bytes of that which activations, graphs and collectives take."""

_LEAST_SHARE = 0.02
_NAMES = {"fp4": "nvfp4", "fp8_block": "fp8", "int4_wo": "int4"}


@dataclass(frozen=True, slots=True)
class Workers:
    """Replicas that compute prompts, or that compute answers.

    Attributes:
        layout: layout of each.
        count: number of them.
    """

    layout: Layout
    count: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of all of them."""
        return self.count * self.layout.gpus


@dataclass(frozen=True, slots=True)
class ServingPoint:
    """A model, served, and what is asked of it.

    Attributes:
        shape: the model, in the precision it is served in.
        hardware: kind of GPU.
        engine: the engine: `vllm`, `sglang` or `trtllm`.
        version: its version; "" if it is not known.
        kv_precision: number format of the KV cache.
        decode: replicas that compute answers; prompts too, where there is no `prefill`.
        prefill: replicas that compute prompts alone; None: `decode` does.
        input_tokens: tokens of a prompt.
        output_tokens: tokens of an answer, at least 2.
        concurrency: requests under way at once, at all replicas together.
        step_tokens: prompt tokens of the largest step.
    """

    shape: ModelShape
    hardware: Accelerator
    engine: str
    version: str
    kv_precision: Precision
    decode: Workers
    prefill: Workers | None
    input_tokens: float
    output_tokens: float
    concurrency: float
    step_tokens: int = 8192

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.decode.gpus + (self.prefill.gpus if self.prefill else 0)

    @property
    def coefficients(self) -> Coefficients:
        """Coefficients of the engine on these GPUs."""
        return coefficients_of(self.engine, self.hardware.generation, self.version)

    @property
    def separate(self) -> float:
        """1 where the engine computes prompts and answers in steps of their own, else 0."""
        return float(self.engine in SEPARATE_PROMPTS)

    def figures(self, layout: Layout) -> ReplicaSizes:
        """Return the sizes of a replica of a layout."""
        return replica_figures(self.shape, self.hardware, layout, self.kv_precision)

    def replica(self, layout: Layout) -> LoopReplica:
        """Return a replica of a layout, as the cost model wants it."""
        step_tokens, stages = float(self.step_tokens), float(layout.pipeline)
        return LoopReplica(self.figures(layout), self.coefficients, self.separate, step_tokens, stages)

    @property
    def requests(self) -> Requests:
        """The closed loop, as the cost model wants it."""
        context = self.input_tokens + self.output_tokens / 2
        return Requests(
            concurrency=self.concurrency,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            attended=self.shape.attended(context),
            prompt_attended=self.shape.attended(self.input_tokens / 2),
        )

    @property
    def room(self) -> float:
        """Sequences that the KV cache of one decode replica holds, of all its ranks; at least one."""
        layout, memory = self.decode.layout, self.hardware.memory_bytes
        left = SERVED_SHARE * memory - RESERVED_BYTES - weights_on_one_gpu(self.shape, layout)
        context = self.input_tokens + self.output_tokens / 2
        each = kv_bytes_on_one_gpu(self.shape, layout, context, self.kv_precision)
        return max(1.0, max(left, _LEAST_SHARE * memory) / each) * layout.data


def serving_point(  # noqa: PLR0913 - each is one choice of who serves
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
    step_tokens: int = 8192,
) -> ServingPoint:
    """Return a point of service by names.

    Args:
        model: id on the Hugging Face hub, a parsed `config.json`, or a shape.
        hardware: name of an accelerator, such as `gb300`; `_sxm` at its end is left out.
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
        step_tokens: prompt tokens of the largest step.

    Raises:
        ValueError: the accelerator or a format is unknown, or neither `layout` nor `decode` is given.
        ModelShapeError: the model is unknown.
    """
    name = hardware.removesuffix("_sxm")
    if name not in ACCELERATORS:
        raise ValueError(unknown_hardware(name))
    served = decode or (Workers(layout) if layout else None)
    if served is None:
        raise ValueError("say the layout of the replica, or of the prefill and the decode replicas")
    shape = _shape(model, precision)
    quantised = shape.weight_precision.name != BF16.name
    return ServingPoint(
        shape=shape,
        hardware=ACCELERATORS[name],
        engine=engine,
        version=version,
        kv_precision=_precision(kv_precision) if kv_precision else FP8 if quantised else BF16,
        decode=served,
        prefill=prefill,
        input_tokens=input_tokens,
        output_tokens=max(2.0, output_tokens),
        concurrency=concurrency,
        step_tokens=step_tokens,
    )


def _shape(model: str | Mapping[str, Any] | ModelShape, precision: str) -> ModelShape:
    if isinstance(model, str):
        shape = hub_model(model)
    elif isinstance(model, ModelShape):
        shape = model
    else:
        shape = shape_from_config(model, str(model.get("model_type", "model")))
    if not precision or shape.weight_precision.name == "mxfp4":
        return shape  # gpt-oss is served as it was trained
    return shape.in_precision(_precision(precision))


def _precision(name: str) -> Precision:
    found = PRECISIONS.get(_NAMES.get(name, name))
    if found is None:
        raise ValueError(f"unknown number format {name!r}; known: {', '.join(PRECISIONS)}")
    return found
