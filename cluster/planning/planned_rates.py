"""What a plan promises of each replica: the `planned` of the cluster file's entry, for replicas to be held to."""

from dataclasses import replace

from cluster.model_shapes.precision import PRECISIONS
from cluster.planning.disaggregation import PoolOption
from cluster.planning.option import Option, costs
from cluster.planning.planner import Plan
from cluster.replica_cost.cost_model import ReplicaCost
from cluster.replica_cost.layout import Layout
from cluster.spec.role import Role


def planned_of(plan: Plan, option: Option) -> dict[str, float]:
    """Return what is promised of a replica of a plan's single pool."""
    cost = replace(_cost(plan, option.precision, option.layout, option.step_tokens), draft=option.draft)
    if plan.question.task.pools:
        return _planned(plan, cost, 0, Role.PREFILL)
    return _planned(plan, cost, max(1, option.steady.batch) if option.steady else 1, Role.BOTH)


def planned_of_pool(plan: Plan, pool: PoolOption) -> dict[str, float]:
    """Return what is promised of a replica of one of a plan's two pools."""
    return _planned(plan, _cost(plan, pool.precision, pool.layout, pool.step_tokens), pool.batch, pool.role)


def _planned(plan: Plan, cost: ReplicaCost, batch: int, role: Role) -> dict[str, float]:
    layout, work = cost.layout, plan.question.workload.work
    lanes = layout.data * layout.pipeline  # each stage of each rank works on a part of the batch of its own
    decode = max(1.0, batch / layout.pipeline) if batch else 0.0
    found: dict[str, float] = {}
    if role is not Role.DECODE:
        found["prefill_tokens_per_s"] = cost.prefill_tokens_per_s(batch, work)
    if role is not Role.PREFILL:
        step_s = cost.through_stages_s(cost.step(decode, 0.0, work).total, decode * cost.verified)
        found["decode_tokens_per_s"] = lanes * decode * cost.per_step / step_s
        found["sequences"] = batch * layout.data
    found["kv_tokens"] = cost.kv_tokens
    return {key: _three_digits(value) for key, value in found.items()}


def _cost(plan: Plan, precision: str, layout: Layout, step_tokens: int) -> ReplicaCost:
    shape = plan.model
    if precision != shape.weight_precision.name:
        shape = shape.in_precision(PRECISIONS[precision])
    return next(cost for cost in costs(plan.question, shape, layout) if cost.step_tokens == step_tokens)


def _three_digits(value: float) -> int:
    """Return a number as people read it: no plan is more exact."""
    return int(float(f"{value:.3g}"))
