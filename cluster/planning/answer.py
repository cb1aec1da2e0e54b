"""Writes a plan as plain data, for programs, and as the entry of a cluster file that carries it out."""

from typing import Any

from cluster.kv_tiers.offload_trade import OffloadTrade
from cluster.model_shapes.known_models import CHECKPOINTS, REASONING
from cluster.planning.disaggregation import PoolOption, TwoPools
from cluster.planning.option import Option
from cluster.planning.planned_rates import planned_of, planned_of_pool
from cluster.planning.planner import Plan
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import MemoryUse
from cluster.replica_cost.speculation import SpeculationTrade
from cluster.spec.model_parts.speculative_spec import OF_ANOTHER_CHECKPOINT


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
        }
    return {
        "question": plan.question.model_dump(mode="json"),
        "model": {
            "name": plan.model.name,
            "parameters": plan.model.parameters,
            "active_parameters": plan.model.active_parameters,
            "weight_bytes": plan.model.weight_bytes,
            "precision": plan.model.weight_precision.name,
            "bytes_by_format": dict(plan.model.formats),
            "bytes_by_part": {part.value: size for part, size in plan.model.bytes_by_part.items() if size},
        },
        "best": chosen,
        "apart": _two_pools_data(plan.apart) if plan.apart else None,
        "chosen": ("two_pools" if plan.is_apart else "one_pool") if plan.gpus else None,
        "why_pools": plan.why_pools,
        "offload": _offload_data(plan.offload) if plan.offload else None,
        "speculation": _speculation_data(plan.speculation) if plan.speculation else None,
        "cost_per_million_output_tokens": plan.cost_per_million_output_tokens,
        "cost_per_million_tokens": plan.cost_per_million_tokens,
        "currency": plan.question.price.currency if plan.question.price else None,
        "cluster_file": cluster_file_entry(plan),
        "cautions": cautions(plan),
        "others": [_option_data(option) for option in plan.others],
    }


def cautions(plan: Plan) -> list[str]:
    """Return warnings to read before the plan is carried out, one text each."""
    notes = [plan.hardware.caution] if plan.hardware.caution else []
    own = plan.model.weight_precision.name
    precision = plan.apart.decode.precision if plan.apart and plan.is_apart else plan.best and plan.best.precision
    if precision and precision != own and not _quantised_on_loading(plan, precision):
        notes.append(f"the checkpoint is {own}: the cluster file's source must name one in {precision}")
    if plan.source.endswith(".json"):
        notes.append(
            f"{plan.source} is a config alone: the cluster file's source must name the checkpoint's id or folder"
        )
    asked = plan.question.speculative
    if asked is not None and asked.model.endswith(".json"):
        notes.append(f"{asked.model} is a config alone: speculative.model must name the draft's id or folder")
    generates = not plan.question.task.pools
    if generates and plan.question.model in REASONING and not plan.question.workload.output_spread:
        notes.append(
            f"{plan.question.model} reasons, so its answers differ widely in length, and this plan takes all for "
            "equally long: set workload.output_spread (1.1 for DeepSeek-R1 in MLPerf)"
        )
    tiers = plan.offload
    if tiers and tiers.is_used and not plan.is_apart and tiers.room.needs_more_shared_memory(tiers.offload):
        notes.append(
            "vLLM keeps KV cache in /dev/shm, which by itself is half of a machine's memory: mount it larger "
            f"(`mount -o remount,size={tiers.offload.cpu_gb * tiers.room.replicas:.0f}G /dev/shm`, or shm in the chart)"
        )
    draft = plan.speculation.draft if plan.speculation else None
    if draft and draft.has_tables and draft.shape and draft.shape.vocab != plan.model.vocab:
        notes.append(
            f"the draft model has a vocabulary of {draft.shape.vocab} tokens and the model one of {plan.model.vocab}: "
            "vLLM wants them equal"
        )
    return [*notes, *plan.model.cautions]


def cluster_file_entry(plan: Plan) -> dict[str, Any] | None:
    """Return the entry under `models:` of a cluster file that carries the plan out; None if nothing serves the load."""
    entry: dict[str, Any] = {
        "name": plan.model.name,
        "source": plan.source or CHECKPOINTS.get(plan.question.model, plan.question.model),
    }
    pools = plan.question.task.pools
    if pools:
        entry["task"] = str(plan.question.task)
    entry["slo"] = plan.question.slo.model_dump(mode="json", exclude_none=True)
    if plan.question.adapters is not None:
        entry |= {"adapter_slots": plan.question.adapters.slots, "adapter_rank": plan.question.adapters.rank}
    if plan.apart and plan.is_apart:
        return {**entry, "pools": [_pool(plan, pool) for pool in (plan.apart.prefill, plan.apart.decode)]}
    best = plan.best
    if best is None or best.steady is None:
        return None
    arguments = _engine_args(plan, best.precision, best.step_tokens)
    if not pools:
        arguments = {"max_num_seqs": max(1, best.steady.batch), **arguments}
    entry |= {"replicas": best.replicas, "parallel": _parallel(best.layout), "engine_args": arguments}
    if best.offload:
        entry["kv_cache"] = {"offload": best.offload.as_in_the_cluster_file}
    entry["planned"] = planned_of(plan, best)
    return {**entry, "speculative": _speculative(plan)} if best.draft else entry


def _speculative(plan: Plan) -> dict[str, Any]:
    """Return the `speculative` of the cluster file; a head's checkpoint is a placeholder, as plans do not name it."""
    asked = plan.question.speculative
    if asked is None:
        return {}
    found: dict[str, Any] = {"method": asked.method, "tokens": asked.tokens}
    if asked.method in OF_ANOTHER_CHECKPOINT:
        found["model"] = CHECKPOINTS.get(asked.model, asked.model) or "the head's checkpoint"
    return found


def _speculation_data(trade: SpeculationTrade) -> dict[str, Any]:
    return {
        "method": trade.draft.method,
        "tokens": trade.draft.tokens,
        "tokens_per_step": trade.draft.per_step,
        "batch": trade.batch,
        "step_s": trade.step_s,
        "step_s_without": trade.plain_step_s,
        "speedup": trade.speedup,
        "tokens_per_s_per_gpu": trade.tokens_per_s,
        "tokens_per_s_per_gpu_without": trade.plain_tokens_per_s,
        "why": trade.why,
    }


def _offload_data(trade: OffloadTrade) -> dict[str, Any]:
    room = trade.room
    return {
        "used": trade.is_used,
        "replicas_per_machine": room.replicas,
        "host_bytes_per_machine": trade.offload.cpu_bytes * room.replicas,
        "host_bytes_free": room.free_memory_bytes,
        "disk_bytes_per_machine": trade.offload.disk_bytes * room.replicas,
        "disk_bytes_free": room.free_disk_bytes,
        "device_tokens": trade.tokens.device_tokens,
        "compute_s_per_token": trade.tokens.compute_s,
        "tiers": {tier.name: {"tokens": tier.tokens, "s_per_token": tier.token_s} for tier in trade.tokens.tiers},
        "tokens_per_s_per_gpu": trade.tokens_per_s,
        "tokens_per_s_per_gpu_without": trade.plain_tokens_per_s,
        "why": trade.why,
    }


def _pool(plan: Plan, pool: PoolOption) -> dict[str, Any]:
    arguments = _engine_args(plan, pool.precision, pool.step_tokens)
    if pool.batch:
        arguments = {"max_num_seqs": pool.batch, **arguments}
    return {
        "name": pool.role.value,
        "role": pool.role.value,
        "replicas": pool.replicas,
        "parallel": _parallel(pool.layout),
        "engine_args": arguments,
        "planned": planned_of_pool(plan, pool),
    }


def _parallel(layout: Layout) -> dict[str, int]:
    return {
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
        **({"data": layout.data} if layout.data > 1 else {}),
        **({"expert": layout.expert} if layout.expert > 1 else {}),
    }


def _engine_args(plan: Plan, precision: str, step_tokens: int) -> dict[str, Any]:
    question = plan.question
    arguments: dict[str, Any] = {
        "max_num_batched_tokens": step_tokens,
        "gpu_memory_utilization": question.limits.memory_share,
    }
    if question.kv_precision == "fp8":
        arguments["kv_cache_dtype"] = "fp8"
    if _quantised_on_loading(plan, precision):
        arguments["quantization"] = "fp8_per_tensor"  # vLLM 0.32 warns of plain "fp8"
    return arguments


def _quantised_on_loading(plan: Plan, precision: str) -> bool:
    """Tell whether vLLM converts the weights as it loads: BF16 to FP8; other formats need a checkpoint of their own."""
    return precision == "fp8" and plan.model.weight_precision.name == "bf16"


def _two_pools_data(apart: TwoPools) -> dict[str, Any]:
    return {
        "gpus": apart.gpus,
        "ttft_s": apart.ttft_s,
        "tpot_s": apart.tpot_s,
        "kv_bytes_per_prompt": apart.kv_bytes,
        "transfer_s": apart.transfer_s,
        "within_one_domain": apart.within_domain,
        "prefill": _pool_data(apart.prefill),
        "decode": _pool_data(apart.decode),
    }


def _pool_data(pool: PoolOption) -> dict[str, Any]:
    data: dict[str, Any] = {
        **_layout_data(pool.precision, pool.layout),
        "replicas": pool.replicas,
        "gpus": pool.gpus,
        "bound_by": pool.bound_by,
        "step_tokens": pool.step_tokens,
        "requests_per_s_per_replica": pool.requests_per_s,
        "memory_bytes_per_gpu": _memory_data(pool.memory),
    }
    return {**data, "batch": pool.batch} if pool.batch else data


def _layout_data(precision: str, layout: Layout) -> dict[str, Any]:
    return {
        "precision": precision,
        "tensor": layout.tensor,
        "pipeline": layout.pipeline,
        "expert": layout.expert,
        "data": layout.data,
        "gpus_per_replica": layout.gpus,
    }


def _memory_data(memory: MemoryUse) -> dict[str, float]:
    return {part: getattr(memory, part) for part in memory.__slots__}


def _option_data(option: Option) -> dict[str, Any]:
    memory, steady = option.memory, option.steady
    data: dict[str, Any] = {
        **_layout_data(option.precision, option.layout),
        "replicas": option.replicas,
        "gpus": option.gpus,
    }
    if memory:
        data["memory_bytes_per_gpu"] = _memory_data(memory)
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
