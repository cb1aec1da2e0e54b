"""Checks one way to serve a model against memory and SLO: how much it serves, or the exact reason why it cannot."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from cluster.kv_tiers.fetch_time import from_disk_s, from_host_s
from cluster.kv_tiers.machine_room import PROCESS_BYTES, MachineRoom, replicas_on_a_machine
from cluster.kv_tiers.offload_plan import OffloadPlan
from cluster.kv_tiers.offload_trade import OffloadTrade, TierTrade, TokenTrade
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import PRECISIONS
from cluster.planning.disk_room import ON_DISK
from cluster.planning.plan_file import PlanFile, Slo
from cluster.planning.pooling import pooled
from cluster.replica_cost.cost_model import ReplicaCost, Steady, Work
from cluster.replica_cost.hardware import ACCELERATORS, Accelerator
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import MemoryUse, kv_bytes_on_one_gpu
from cluster.replica_cost.speculation import DraftPlan, SpeculationTrade

STEP_TOKENS: Final = 8192
"""Tokens of the largest step unless the plan file sets it (the default of vLLM's API server on large GPUs)."""

STEPS_TO_TRY: Final = (STEP_TOKENS, 4096, 2048, 1024)
"""Tokens of the largest step to try where that matters: for ranks in lockstep, as all wait while one prefills a chunk,
and for a share of the requests within the SLO, as a long chunk makes single tokens slow. The first of equals is taken.
"""

_LARGE_GPU_BYTES: Final = 70 * 2**30
_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve the model.

    Attributes:
        precision: number format of the weights.
        layout: layout of one replica.
        step_tokens: tokens of the largest step.
        memory: memory use of the fullest GPU; None where the model cannot be laid out this way.
        steady: a replica at capacity; None where it cannot serve within the SLO.
        bound_by: what limits the batch: `TPOT`, `TTFT`, `KV cache` or `engine`; "" where nothing is served.
        replicas: replicas that the workload needs; 0 where it cannot be served.
        draft: what drafts tokens; None: it does not speculate.
        offload: where it keeps KV cache beyond the GPUs; None: nowhere.
        why_lost: why another option was chosen, or why this one cannot serve; "" for the plan's choice.
    """

    precision: str
    layout: Layout
    step_tokens: int = STEP_TOKENS
    memory: MemoryUse | None = None
    steady: Steady | None = None
    bound_by: str = ""
    replicas: int = 0
    draft: DraftPlan | None = None
    offload: OffloadPlan | None = None
    why_lost: str = ""

    @property
    def gpus(self) -> int:
        """GPUs of all replicas together."""
        return self.replicas * self.layout.gpus

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Output tokens a second for each GPU of a replica at capacity; 0 where nothing is served.

        Of a model that generates none these are its answers.
        """
        return self.steady.output_tokens_per_s / self.layout.gpus if self.steady else 0.0


def assess(question: PlanFile, shape: ModelShape, layout: Layout, draft: DraftPlan | None = None) -> Option:
    """Return how well `layout` answers the question, with the step size that serves the most tokens a second.

    Args:
        question: the plan file.
        shape: the model, in the precision to try.
        layout: the layout to try.
        draft: what may draft tokens; it does where more tokens a second are then served. None: nothing may.
    """
    option = Option(shape.weight_precision.name, layout)
    reason = layout.why_not(shape, ACCELERATORS[question.hardware])
    if reason:
        return replace(option, why_lost=reason)
    drafts = (None,) if draft is None or draft.why_not(layout) else (None, draft)
    tried = [
        _with_cost(option, question, each, offload)
        for cost in costs(question, shape, layout)
        for each in (replace(cost, draft=draft) for draft in drafts)
        for offload in _offloads(question, each)
    ]
    return max(tried, key=lambda each: each.tokens_per_s_per_gpu)


def speculation_trade(question: PlanFile, shape: ModelShape, chosen: Option, draft: DraftPlan) -> SpeculationTrade:
    """Return what speculation takes and brings in the layout of an option that serves, with its step size."""
    cost = next(each for each in costs(question, shape, chosen.layout) if each.step_tokens == chosen.step_tokens)
    why_not = draft.why_not(chosen.layout)
    drafting, work = cost if why_not else replace(cost, draft=draft), question.workload.work
    batch = chosen.steady.batch if chosen.steady else 1
    options = [_with_cost(replace(chosen, steady=None), question, each) for each in (drafting, cost)]
    with_drafts, without = (each.tokens_per_s_per_gpu for each in options)
    step_s, plain_step_s = (each.step(batch / cost.layout.pipeline, 0.0, work).total for each in (drafting, cost))
    return SpeculationTrade(draft, batch, step_s, plain_step_s, with_drafts, without, why_not)


def costs(question: PlanFile, shape: ModelShape, layout: Layout) -> Iterator[ReplicaCost]:
    """Yield the cost model of a replica for each step size to try."""
    limits, hardware, kv_precision = question.limits, ACCELERATORS[question.hardware], PRECISIONS[question.kv_precision]
    sizes = STEPS_TO_TRY if layout.data > 1 or question.slo.share is not None else (STEP_TOKENS,)
    for step_tokens in (limits.step_tokens,) if limits.step_tokens else sizes:
        yield ReplicaCost(
            shape, hardware, layout, kv_precision, step_tokens, limits.memory_share, adapters=question.adapters
        )


def engine_batch(question: PlanFile, hardware: Accelerator) -> int:
    """Return the most sequences an engine runs at once: the plan file's limit, else vLLM's default `max_num_seqs`."""
    return question.limits.batch or default_batch(hardware)


def default_batch(hardware: Accelerator) -> int:
    """Return vLLM's default `max_num_seqs`."""
    return 1024 if hardware.memory_bytes >= _LARGE_GPU_BYTES else 256


def work_of(question: PlanFile, cost: ReplicaCost, offload: OffloadPlan | None) -> Work:
    """Return the size of requests, some of whose tokens are fetched from the tiers below a replica's GPUs."""
    work = question.workload.work
    best = _token_trade(cost, work, offload).best if offload else None
    if offload is None or best is None:
        return work
    return replace(work, tier_hit=offload.hit, fetch_s=offload.hit * work.input_tokens * best.token_s)


def _token_trade(cost: ReplicaCost, work: Work, offload: OffloadPlan) -> TokenTrade:
    """Return what a replica's GPUs and tiers hold, and the seconds of a token of a prompt."""
    on_gpu = cost.kv_bytes_of_tokens(work.input_tokens) / work.input_tokens
    everywhere = on_gpu * cost.layout.pipeline * (1 if cost.shape.attention.latent else cost.layout.tensor)
    tiers = (
        ("host memory", offload.cpu_bytes, from_host_s(on_gpu)),
        ("files", offload.disk_bytes, from_disk_s(on_gpu, everywhere)),
    )
    return TokenTrade(
        device_tokens=cost.kv_tokens,
        compute_s=cost.layout.data / cost.prefill_tokens_per_s(1, work),
        tiers=tuple(TierTrade(name, size, size / everywhere, token_s) for name, size, token_s in tiers if size),
    )


def _offloads(question: PlanFile, cost: ReplicaCost) -> tuple[OffloadPlan | None, ...]:
    """Return with which tiers to try a replica, the first of equals to be taken; with none where they do not pay."""
    offload = question.offload
    if offload is None or cost.memory.kv_cache <= 0:
        return (None,)
    return (offload, None) if _token_trade(cost, question.workload.work, offload).best else (None,)


def offload_trade(question: PlanFile, shape: ModelShape, chosen: Option) -> OffloadTrade | None:
    """Return what KV cache beyond the GPUs takes and brings in an option that serves; None: the plan file has none."""
    offload = question.offload
    if offload is None:
        return None
    cost = next(each for each in costs(question, shape, chosen.layout) if each.step_tokens == chosen.step_tokens)
    cost = replace(cost, draft=chosen.draft)
    options = [_with_cost(replace(chosen, steady=None), question, cost, each) for each in (offload, None)]
    with_tiers, without = (each.tokens_per_s_per_gpu for each in options)
    return OffloadTrade(
        offload,
        _room(question, shape, chosen),
        _token_trade(cost, question.workload.work, offload),
        is_used=chosen.offload is not None,
        tokens_per_s=with_tiers,
        plain_tokens_per_s=without,
    )


def _room(question: PlanFile, shape: ModelShape, chosen: Option) -> MachineRoom:
    hardware, machine = ACCELERATORS[question.hardware], question.machine
    of_gpus = hardware.memory_bytes * question.limits.memory_share if hardware.is_host else 0.0
    return MachineRoom(
        title=hardware.title,
        gpus=hardware.gpus_per_node,
        memory_bytes=hardware.host_memory_bytes if machine.memory_gb is None else machine.memory_gb * _GB,
        engine_bytes=hardware.gpus_per_node * PROCESS_BYTES + of_gpus,
        disk_bytes=hardware.disk_bytes if machine.disk_gb is None else machine.disk_gb * _GB,
        checkpoint_bytes=shape.weight_bytes * ON_DISK,
        replica_gpus=chosen.layout.gpus,
        replicas=replicas_on_a_machine(hardware.gpus_per_node, chosen.layout.gpus, chosen.replicas),
    )


def _with_cost(option: Option, question: PlanFile, cost: ReplicaCost, offload: OffloadPlan | None = None) -> Option:
    memory, work, slo = cost.memory, work_of(question, cost, offload), question.slo
    option = replace(option, step_tokens=cost.step_tokens, memory=memory, draft=cost.draft, offload=offload)
    reason = why_it_does_not_fit(cost, memory, work)
    if question.task.pools and not reason:
        return _pooling(option, question, cost, work)
    reason = reason or _why_too_slow(cost.steady(1, work, slo.share), slo)
    if reason:
        return replace(option, why_lost=reason)
    engine, cached = engine_batch(question, cost.hardware), max(1, cost.sequences(work.mean_context))
    steady = largest_batch(cost, work, slo, min(engine, cached))
    if steady.batch == min(engine, cached):
        bound_by = "engine" if engine < cached else "KV cache"
    else:
        bound_by = _why_too_slow(cost.steady(steady.batch + 1, work, slo.share), slo).partition(" ")[0]
    return replace(option, steady=steady, bound_by=bound_by, replicas=_replicas(question, steady))


def _pooling(option: Option, question: PlanFile, cost: ReplicaCost, work: Work) -> Option:
    steady = pooled(cost, work, question.slo)
    if not steady.requests_per_s:
        return replace(option, why_lost=f"an answer takes {steady.ttft_s:.3g} s > {question.slo.ttft_s:.3g} s alone")
    return replace(option, steady=steady, bound_by="TTFT", replicas=_replicas(question, steady))


def _replicas(question: PlanFile, steady: Steady) -> int:
    return max(1, math.ceil(question.workload.requests_per_s / (steady.requests_per_s * question.limits.load)))


def largest_batch(cost: ReplicaCost, work: Work, slo: Slo, most: int) -> Steady:
    """Return the replica at its largest batch within the SLO, by bisection: TPOT and TTFT both rise with the batch."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if _why_too_slow(cost.steady(middle, work, slo.share), slo) else (middle, high)
    return cost.steady(low, work, slo.share)


def _why_too_slow(steady: Steady, slo: Slo) -> str:
    sequences = "with one sequence" if steady.batch == 1 else f"with {steady.batch} sequences"
    if steady.tpot_s > slo.most_tpot_s:
        return f"TPOT {steady.tpot_s * 1e3:.3g} ms > {slo.most_tpot_s * 1e3:.3g} ms {sequences}"
    if steady.ttft_s > slo.ttft_s:
        return f"TTFT {steady.ttft_s:.3g} s > {slo.ttft_s:.3g} s {sequences}"
    return ""


def why_it_does_not_fit(cost: ReplicaCost, memory: MemoryUse, work: Work) -> str:
    """Return why one request does not fit into a replica's memory or the model's context; "" if it does."""
    gpus = cost.layout.gpus
    usable = cost.hardware.memory_bytes - memory.reserve
    length = work.input_tokens + work.output_tokens
    if length > cost.shape.max_context:
        return f"requests of {length:.0f} tokens > the model's context of {cost.shape.max_context}"
    if memory.weights > usable:
        return f"weights {_gb(memory.weights * gpus)} GB > {gpus} × {_gb(usable)} GB usable"  # noqa: RUF001 - its sign
    if memory.kv_cache <= 0:
        used = f"weights {_gb(memory.weights)} + activations {_gb(memory.activations)} + runtime {_gb(memory.runtime)}"
        used += f" + adapters {_gb(memory.adapters)}" if memory.adapters else ""
        return f"{used} GB > {_gb(usable)} GB usable on each GPU"
    needed = kv_bytes_on_one_gpu(cost.shape, cost.layout, length, cost.kv_precision)
    if needed > memory.kv_cache:
        left = _gb(memory.kv_cache)
        return f"{left} GB left for KV on each GPU; one sequence of {length:.0f} tokens needs {_gb(needed)} GB"
    return ""


def _gb(size: float) -> str:
    return f"{size / _GB:.3g}" if size < 100 * _GB else f"{size / _GB:.0f}"
