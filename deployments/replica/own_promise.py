"""What was promised of a replica: what its cluster file says was planned, and else what the cost model foresees."""

from typing import Any

from cluster.foresight.replica_forecast import replica_forecast
from cluster.foresight.serving_point import serving_point
from cluster.planning.option import STEP_TOKENS, default_batch
from cluster.replica_cost.hardware import accelerator_named
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import USABLE_SHARE
from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from deployments.replica.own_model import own_shape
from router.replicas.plan_promise import PlanPromise


def own_promise(model: ModelSpec) -> PlanPromise | None:
    """Return what was promised of a replica; None: nothing, and nothing is foreseen of its model or its GPUs.

    Args:
        model: the model's spec, as the replica's pool runs it.
    """
    foreseen = _foreseen(model) or PlanPromise()
    given = model.planned.model_dump(exclude_none=True)
    if {"prefill_tokens_per_s", "decode_tokens_per_s"} & given.keys():
        # Rates of the plan hold for the plan's batch, so none that is foreseen for another stands beside them.
        foreseen = PlanPromise(kv_tokens=foreseen.kv_tokens)
    promise = PlanPromise(
        prefill_tokens_per_s=given.get("prefill_tokens_per_s", foreseen.prefill_tokens_per_s),
        decode_tokens_per_s=given.get("decode_tokens_per_s", foreseen.decode_tokens_per_s),
        sequences=given.get("sequences", foreseen.sequences),
        kv_tokens=given.get("kv_tokens", foreseen.kv_tokens),
        start_s=given.get("start_s", 0.0),
    )
    return promise if promise != PlanPromise(sequences=promise.sequences) else None


def _foreseen(model: ModelSpec) -> PlanPromise | None:
    """Return what the cost model foresees; None: it does not know the GPUs or the model, or tokens are drafted."""
    hardware = accelerator_named(model.accelerator)
    if model.engine != "vllm" or hardware is None or model.speculative.method != "none":
        return None
    shape = own_shape(model)
    if shape is None:
        return None
    arguments, parallel = model.engine_args, model.parallel
    layout = Layout(parallel.tensor, parallel.pipeline, parallel.data, parallel.experts_whole)
    if layout.why_not(shape, hardware):
        return None
    dtype: Any = model.kv_cache.dtype or arguments.get("kv_cache_dtype") or ""
    point = serving_point(
        shape,
        hardware.name,
        input_tokens=STEP_TOKENS,
        output_tokens=2,
        concurrency=1,
        layout=layout,
        kv_precision="fp8" if str(dtype).startswith("fp8") else "bf16",
        step_tokens=int(arguments.get("max_num_batched_tokens") or STEP_TOKENS),
    )
    batch = int(arguments.get("max_num_seqs") or default_batch(hardware))
    share = float(arguments.get("gpu_memory_utilization") or USABLE_SHARE)
    forecast = replica_forecast(point, batch, share)
    if forecast is None:
        return None
    return PlanPromise(
        prefill_tokens_per_s=forecast.prefill_tokens_per_s if model.role is not Role.DECODE else 0.0,
        decode_tokens_per_s=forecast.decode_tokens_per_s if model.role is not Role.PREFILL else 0.0,
        sequences=forecast.sequences,
        kv_tokens=forecast.kv_tokens,
    )
