"""Plans how to serve a model: layout of a replica, number of replicas, cost, and why the other options lost.

Each layout that model and hardware allow gets the largest batch that its memory and the SLO allow. The plan is the
option that serves the workload with the fewest GPUs. Among equals the smaller gang wins, since the loss of a GPU then
takes less with it; then the one with more throughput to spare; then the one with fewer groups to keep in step. Prefill
and decode on replicas of their own are planned beside it, and chosen if they need fewer GPUs than one pool.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from cluster.kv_tiers.offload_trade import OffloadTrade
from cluster.model_shapes.model_shape import ModelShape
from cluster.model_shapes.precision import PRECISIONS
from cluster.planning.disaggregation import TwoPools, is_better, two_pools, why_pools
from cluster.planning.option import Option, assess, costs, offload_trade, speculation_trade, work_of
from cluster.planning.plan_file import PlanFile
from cluster.planning.pooling import pooled
from cluster.replica_cost.cost_model import ReplicaCost, Steady, Work
from cluster.replica_cost.hardware import ACCELERATORS, Accelerator
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.speculation import DraftPlan, SpeculationTrade, draft_plan

_PIPELINES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32)
_POWERS: Final = tuple(1 << power for power in range(11))


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a plan file.

    Attributes:
        question: the plan file.
        model: the model, in its checkpoint's precision.
        best: the best single pool; None: none serves the workload within the SLO.
        expected: one of its replicas at the workload's own load; None without one.
        apart: the best two pools, one for prefill and one for decode; None: none serve the workload within the SLO.
        why_pools: why one pool was chosen, or two.
        source: where the checkpoint is, for the cluster file; "": the model's name says it.
        speculation: what speculative decoding takes and brings in the best single pool; None: the plan file names none,
            or there is no such pool. Two pools are planned without it.
        offload: what KV cache beyond the GPUs takes and brings in the best single pool; None as above.
        cost_per_million_output_tokens: cost of a million output tokens at the workload's own load; None without a
            price, a choice, or output.
        cost_per_million_tokens: cost of a million tokens, those of prompts included; None without a price or a choice.
        others: all other options: first those that serve, fewest GPUs first, then those that do not.
    """

    question: PlanFile
    model: ModelShape
    best: Option | None
    expected: Steady | None
    cost_per_million_output_tokens: float | None
    cost_per_million_tokens: float | None
    others: tuple[Option, ...]
    apart: TwoPools | None = None
    why_pools: str = ""
    source: str = ""
    speculation: SpeculationTrade | None = None
    offload: OffloadTrade | None = None

    @property
    def is_apart(self) -> bool:
        """Whether the plan is two pools."""
        return is_better(self.best, self.apart)

    @property
    def gpus(self) -> int:
        """GPUs of the plan; 0 if nothing serves the workload."""
        if self.apart and self.is_apart:
            return self.apart.gpus
        return self.best.gpus if self.best else 0

    @property
    def hardware(self) -> Accelerator:
        """The kind of GPU the plan is for."""
        return ACCELERATORS[self.question.hardware]


def plan(question: PlanFile, model: ModelShape, source: str = "", draft: ModelShape | None = None) -> Plan:
    """Return how to serve `model` as `question` asks.

    Args:
        question: the plan file.
        model: the model, in its checkpoint's precision.
        source: where the checkpoint is, for the cluster file; "": the model's name says it.
        draft: the small model that may draft for it; None: none may.
    """
    shapes = [model.in_precision(PRECISIONS[name]) for name in question.precisions] or [model]
    pools = question.task.pools  # computes prompts alone, for which stages are not planned
    possible = [layout for layout in layouts(model, question) if layout.pipeline == 1 or not pools]
    options = [
        assess(question, shape, layout, _draft(question, shape, draft)) for shape in shapes for layout in possible
    ]
    serving = sorted((option for option in options if option.steady), key=_rank)
    failing = sorted((option for option in options if not option.steady), key=lambda option: option.layout.gpus)
    apart = None if pools else two_pools(question, shapes, possible)
    best = serving[0] if serving else None
    why = "" if pools and best else why_pools(best, apart, question.slo)
    per_output, per_token = _prices(
        question, apart.gpus if apart and is_better(best, apart) else best.gpus if best else 0
    )
    if best is None:
        return Plan(question, model, None, None, per_output, per_token, tuple(failing), apart, why, source)
    others = [replace(option, why_lost=_why_it_lost(option, best, question)) for option in serving[1:]]
    rate = question.workload.requests_per_s
    shape = next(shape for shape in shapes if shape.weight_precision.name == best.precision)
    cost = next(cost for cost in costs(question, shape, best.layout) if cost.step_tokens == best.step_tokens)
    cost = replace(cost, draft=best.draft)
    work = work_of(question, cost, best.offload)
    each = rate / best.replicas
    expected = pooled(cost, work, question.slo, each) if pools else _at_rate(cost, best, each, work, question.slo.share)
    drafts = _draft(question, shape, draft)
    trade = speculation_trade(question, shape, best, drafts) if drafts else None
    tiers = offload_trade(question, shape, best)
    ranked = (*others, *failing)
    return Plan(question, model, best, expected, per_output, per_token, ranked, apart, why, source, trade, tiers)


def _draft(question: PlanFile, shape: ModelShape, draft: ModelShape | None) -> DraftPlan | None:
    return draft_plan(question.speculative, shape, draft) if question.speculative else None


def _prices(question: PlanFile, gpus: int) -> tuple[float | None, float | None]:
    """Return the cost of a million output tokens and of a million tokens; None where there is no price or no plan."""
    if not question.price or not gpus:
        return None, None
    work, rate = question.workload.work, question.workload.requests_per_s
    per_s = gpus * question.price.gpu_hour / 3600
    if question.task.pools:
        return None, per_s / (rate * work.input_tokens) * 1e6
    return per_s / (rate * work.output_tokens) * 1e6, per_s / (rate * (work.input_tokens + work.output_tokens)) * 1e6


def layouts(model: ModelShape, question: PlanFile) -> Iterator[Layout]:
    """Yield the layouts to assess: all possible ones, and powers of two that are impossible, to say why."""
    domain = ACCELERATORS[question.hardware].gpus_per_domain
    most = question.limits.gpus_per_replica or max(16, 2 * domain)
    widest = min(domain, most)
    tensors = sorted({*model.tensor_sizes(widest), *(size for size in _POWERS if size <= widest)})
    for tensor in tensors:
        room = domain // tensor
        datas = [data for data in range(1, room + 1) if (room % data == 0 or data in _POWERS) and model.experts]
        for pipeline in _PIPELINES:
            if pipeline > model.layers or tensor * pipeline > most:
                break
            yield Layout(tensor, pipeline)
            for data in datas:
                if tensor * data > 1 and tensor * data * pipeline <= most:
                    yield Layout(tensor, pipeline, data, experts_whole=True)


def _rank(option: Option) -> tuple[float, ...]:
    layout = option.layout
    return option.gpus, layout.gpus, -round(option.tokens_per_s_per_gpu, 1), layout.expert, layout.data


def _why_it_lost(option: Option, best: Option, question: PlanFile) -> str:
    what = "answers" if question.task.pools else "tokens"
    rates = f"{option.tokens_per_s_per_gpu:,.0f} {what}/s per GPU against {best.tokens_per_s_per_gpu:,.0f}"
    if option.gpus > best.gpus:
        return f"needs {option.gpus} GPUs, {option.gpus - best.gpus} more: {rates}"
    if option.layout.gpus > best.layout.gpus:
        return f"as many GPUs, but a gang is {option.layout.gpus} of them instead of {best.layout.gpus}"
    if round(option.tokens_per_s_per_gpu, 1) < round(best.tokens_per_s_per_gpu, 1):
        return f"as many GPUs with less room: {rates}"
    return "no better, and more groups to keep in step"


def _at_rate(cost: ReplicaCost, best: Option, requests_per_s: float, work: Work, share: float | None) -> Steady:
    """Return a replica at the smallest batch that serves `requests_per_s` requests a second."""
    low, high = 1, best.steady.batch if best.steady else 1
    while low < high:
        middle = (low + high) // 2
        enough = cost.steady(middle, work, share).requests_per_s >= requests_per_s
        low, high = (low, middle) if enough else (middle + 1, high)
    return cost.steady(low, work, share)
