"""Writes a plan as plain data, for programs, and as the entry of a cluster file that carries it out."""

from typing import Any

from cluster.planning.known_models import CHECKPOINTS
from cluster.planning.option import Option
from cluster.planning.planner import Plan


def plan_data(plan: Plan) -> dict[str, Any]:
    """Return a whole plan as mappings, lists, text and numbers; units are in the keys."""
    best, expected = plan.best, plan.expected
    chosen: dict[str, Any] | None = None
    if best and expected:
        chosen = {
            **_option_data(best),
            "expected": {
                "sequences": expected.batch,
                "ttft_s": expected.ttft_s,
                "tpot_s": expected.tpot_s,
                "requests_per_s": expected.requests_per_s,
            },
            "cost_per_million_output_tokens": plan.cost_per_million_output_tokens,
            "cost_per_million_tokens": plan.cost_per_million_tokens,
            "currency": plan.question.price.currency if plan.question.price else None,
        }
    return {
        "question": plan.question.model_dump(mode="json"),
        "model": {
            "name": plan.model.name,
            "parameters": plan.model.parameters,
            "active_parameters": plan.model.active_parameters,
            "weight_bytes": plan.model.weight_bytes,
            "precision": plan.model.weight_precision.name,
        },
        "best": chosen,
        "cluster_file": cluster_file_entry(plan),
        "cautions": cautions(plan),
        "others": [_option_data(option) for option in plan.others],
    }


def cautions(plan: Plan) -> list[str]:
    """Return warnings to read before the plan is carried out, one text each."""
    notes = [plan.hardware.caution] if plan.hardware.caution else []
    own = plan.model.weight_precision.name
    if plan.best and plan.best.precision != own and not _quantised_on_loading(plan, plan.best):
        notes.append(f"the checkpoint is {own}: the cluster file's source must name one in {plan.best.precision}")
    return notes


def cluster_file_entry(plan: Plan) -> dict[str, Any] | None:
    """Return the entry under `models:` of a cluster file that carries the plan out; None if nothing serves the load."""
    best = plan.best
    if best is None or best.steady is None:
        return None
    question, layout = plan.question, best.layout
    arguments: dict[str, Any] = {
        "max_num_seqs": max(1, best.steady.batch),
        "max_num_batched_tokens": best.step_tokens,
        "gpu_memory_utilization": question.limits.memory_share,
    }
    if question.kv_precision == "fp8":
        arguments["kv_cache_dtype"] = "fp8"
    if _quantised_on_loading(plan, best):
        arguments["quantization"] = "fp8"
    return {
        "name": plan.model.name,
        "source": CHECKPOINTS.get(question.model, question.model),
        "replicas": best.replicas,
        "parallel": {
            "tensor": layout.tensor,
            "pipeline": layout.pipeline,
            **({"data": layout.data} if layout.data > 1 else {}),
            **({"expert": layout.expert} if layout.expert > 1 else {}),
        },
        "engine_args": arguments,
    }


def _quantised_on_loading(plan: Plan, option: Option) -> bool:
    """Tell whether vLLM converts the weights as it loads: BF16 to FP8; other formats need a checkpoint of their own."""
    return option.precision == "fp8" and plan.model.weight_precision.name == "bf16"


def _option_data(option: Option) -> dict[str, Any]:
    layout, memory, steady = option.layout, option.memory, option.steady
    data: dict[str, Any] = {
        "precision": option.precision,
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
        "expert": layout.expert,
        "data": layout.data,
        "gpus_per_replica": layout.gpus,
        "replicas": option.replicas,
        "gpus": option.gpus,
    }
    if memory:
        data["memory_bytes_per_gpu"] = {
            "weights": memory.weights,
            "kv_cache": memory.kv_cache,
            "activations": memory.activations,
            "runtime": memory.runtime,
            "reserve": memory.reserve,
        }
    if steady:
        data["batch"] = steady.batch
        data["bound_by"] = option.bound_by
        data["step_tokens"] = option.step_tokens
        data["ttft_s"] = steady.ttft_s
        data["tpot_s"] = steady.tpot_s
        data["requests_per_s_per_replica"] = steady.requests_per_s
        data["output_tokens_per_s_per_gpu"] = option.tokens_per_s_per_gpu
        data["step_s"] = {part: getattr(steady.step, part) for part in steady.step.__slots__}
    if option.why_lost:
        data["why_lost"] = option.why_lost
    return data
