"""Model + hardware + workload + SLO → how to cut a replica, how many, what it costs, and why the rest lost.

Every layout the model and the hardware allow is given the largest batch that its memory and the SLO allow; the plan is
the one that serves the workload with the fewest GPUs. Among equals the smaller gang wins, since less is lost with one
GPU, then the one with more room, then the one with fewer groups to keep in step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from cluster.cost_model import ReplicaCost, Steady, Work
from cluster.hardware import ACCELERATORS, Accelerator
from cluster.model_shape import ModelShape
from cluster.planning.layout import Layout
from cluster.planning.memory import MemoryUse, kv_bytes_on_one_gpu
from cluster.planning.plan_file import PlanFile
from cluster.planning.precision import PRECISIONS

_PIPELINES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32)
_POWERS: Final = tuple(1 << power for power in range(11))
_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve the model.

    Attributes:
        precision: of the weights.
        layout: of a replica's gang.
        memory: of the fullest GPU; None where the model cannot be laid out so.
        steady: a replica at capacity; None where it cannot serve within the SLO.
        replicas: that the workload needs; 0 likewise.
        why_lost: "" for the plan's choice.
    """

    precision: str
    layout: Layout
    memory: MemoryUse | None = None
    steady: Steady | None = None
    replicas: int = 0
    why_lost: str = ""

    @property
    def gpus(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.layout.gpus

    @property
    def tokens_per_s_per_gpu(self) -> float:
        """Output tokens a second and GPU, of a replica at capacity."""
        return self.steady.output_tokens_per_s / self.layout.gpus if self.steady else 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to a plan file.

    Attributes:
        question: the plan file.
        model: the model, as its checkpoint is.
        best: the choice; None: nothing serves this workload within the SLO.
        expected: a replica of the choice at the workload's own load; None likewise.
        cost_per_million_output_tokens: of the choice, at the workload's own load; None without a price.
        cost_per_million_tokens: likewise, prompts counted too.
        others: all other options: those that serve, by GPUs, then those that don't.
    """

    question: PlanFile
    model: ModelShape
    best: Option | None
    expected: Steady | None
    cost_per_million_output_tokens: float | None
    cost_per_million_tokens: float | None
    others: tuple[Option, ...]

    @property
    def hardware(self) -> Accelerator:
        """The GPUs planned with."""
        return ACCELERATORS[self.question.hardware]


def plan(question: PlanFile, model: ModelShape) -> Plan:
    """Return how to serve `model` as `question` asks."""
    hardware = ACCELERATORS[question.hardware]
    shapes = [model.in_precision(PRECISIONS[name]) for name in question.precisions] or [model]
    options = [
        _assessed(question, shape, hardware, layout)
        for shape in shapes
        for layout in layouts(model, question, hardware)
    ]
    serving = sorted((option for option in options if option.steady), key=_rank)
    failing = sorted((option for option in options if not option.steady), key=lambda option: option.layout.gpus)
    if not serving:
        return Plan(question, model, None, None, None, None, tuple(failing))
    best = serving[0]
    others = [replace(option, why_lost=_why_it_lost(option, best)) for option in serving[1:]]
    work, rate = question.workload.work, question.workload.requests_per_s
    per_output = per_token = None
    if question.price:
        per_s = best.gpus * question.price.gpu_hour / 3600
        per_output = per_s / (rate * work.output_tokens) * 1e6
        per_token = per_s / (rate * (work.input_tokens + work.output_tokens)) * 1e6
    expected = _at_rate(
        _cost(question, _shape_of(best, model), hardware, best.layout), best, rate / best.replicas, work
    )
    return Plan(question, model, best, expected, per_output, per_token, (*others, *failing))


def layouts(model: ModelShape, question: PlanFile, hardware: Accelerator) -> Iterator[Layout]:
    """Yield the layouts to look at: those that are possible, and powers of two that are not, to say why."""
    domain = hardware.gpus_per_domain
    most = question.limits.gpus_per_replica or max(16, 2 * domain)
    tensors = sorted(
        set(model.tensor_sizes(min(domain, most))) | {size for size in _POWERS if size <= min(domain, most)}
    )
    for tensor in tensors:
        datas = {size for size in _POWERS if tensor * size <= domain} if model.experts else set()
        datas |= {size for size in range(1, domain // tensor + 1) if (domain // tensor) % size == 0 and model.experts}
        for pipeline in _PIPELINES:
            if pipeline > model.layers or tensor * pipeline > most:
                break
            yield Layout(tensor, pipeline)
            for data in sorted(datas):
                if tensor * data > 1 and tensor * data * pipeline <= most:
                    yield Layout(tensor, pipeline, data, experts_whole=True)


def _rank(option: Option) -> tuple[float, ...]:
    layout = option.layout
    return option.gpus, layout.gpus, -round(option.tokens_per_s_per_gpu, 1), layout.expert, layout.data


def _shape_of(option: Option, model: ModelShape) -> ModelShape:
    return model.in_precision(PRECISIONS[option.precision])


def _cost(question: PlanFile, shape: ModelShape, hardware: Accelerator, layout: Layout) -> ReplicaCost:
    limits = question.limits
    kv_precision = PRECISIONS[question.kv_precision]
    return ReplicaCost(shape, hardware, layout, kv_precision, limits.step_tokens, limits.memory_share)


def _assessed(question: PlanFile, shape: ModelShape, hardware: Accelerator, layout: Layout) -> Option:
    name = shape.weight_precision.name
    reason = layout.why_not(shape, hardware)
    if reason:
        return Option(name, layout, why_lost=reason)
    cost = _cost(question, shape, hardware, layout)
    memory = cost.memory
    work, slo = question.workload.work, question.slo
    reason = _why_it_does_not_fit(cost, memory, work)
    if reason:
        return Option(name, layout, memory, why_lost=reason)
    alone = cost.steady(1, work)
    if alone.tpot_s > slo.tpot_s:
        return Option(name, layout, memory, why_lost=f"TPOT {_ms(alone.tpot_s)} > {_ms(slo.tpot_s)} with one sequence")
    if alone.ttft_s > slo.ttft_s:
        return Option(name, layout, memory, why_lost=f"TTFT {_s(alone.ttft_s)} > {_s(slo.ttft_s)} with one sequence")
    engine = question.limits.batch or (1024 if hardware.memory_bytes >= 70 * 2**30 else 256)
    low, high = 1, max(1, min(engine, cost.sequences(work.mean_context)))
    while low < high:  # both times rise with the batch
        middle = (low + high + 1) // 2
        steady = cost.steady(middle, work)
        fits = steady.tpot_s <= slo.tpot_s and steady.ttft_s <= slo.ttft_s
        low, high = (middle, high) if fits else (low, middle - 1)
    steady = cost.steady(low, work)
    capacity = steady.requests_per_s * question.limits.load
    return Option(name, layout, memory, steady, replicas=_ceil(question.workload.requests_per_s / capacity))


def _why_it_does_not_fit(cost: ReplicaCost, memory: MemoryUse, work: Work) -> str:
    gpus = cost.layout.gpus
    usable = cost.hardware.memory_bytes - memory.reserve
    if memory.weights > usable:
        return f"weights {_gb(memory.weights * gpus)} GB > {gpus} × {_gb(usable)} GB usable"
    if memory.kv_cache <= 0:
        used = f"weights {_gb(memory.weights)} + activations {_gb(memory.activations)} + runtime {_gb(memory.runtime)}"
        return f"{used} GB > {_gb(usable)} GB usable on each GPU"
    length = work.input_tokens + work.output_tokens
    needed = kv_bytes_on_one_gpu(cost.shape, cost.layout, length, cost.kv_precision)
    if needed > memory.kv_cache:
        left = _gb(memory.kv_cache)
        return f"{left} GB left for KV on each GPU; one sequence of {length:.0f} tokens needs {_gb(needed)} GB"
    if length > cost.shape.max_context:
        return f"requests of {length:.0f} tokens > the model's context of {cost.shape.max_context}"
    return ""


def _why_it_lost(option: Option, best: Option) -> str:
    rates = f"{option.tokens_per_s_per_gpu:,.0f} tokens/s per GPU against {best.tokens_per_s_per_gpu:,.0f}"
    if option.gpus > best.gpus:
        return f"needs {option.gpus} GPUs, {option.gpus - best.gpus} more: {rates}"
    if option.layout.gpus > best.layout.gpus:
        return f"as many GPUs, but a gang is {option.layout.gpus} of them instead of {best.layout.gpus}"
    if round(option.tokens_per_s_per_gpu, 1) < round(best.tokens_per_s_per_gpu, 1):
        return f"as many GPUs with less room: {rates}"
    return "no better, and more groups to keep in step"


def _at_rate(cost: ReplicaCost, best: Option, requests_per_s: float, work: Work) -> Steady:
    """Return a replica that runs just as many sequences as `requests_per_s` keep there."""
    low, high = 1, best.steady.batch if best.steady else 1
    while low < high:
        middle = (low + high) // 2
        enough = cost.steady(middle, work).requests_per_s >= requests_per_s
        low, high = (low, middle) if enough else (middle + 1, high)
    return cost.steady(low, work)


def _ceil(value: float) -> int:
    return max(1, int(-(-value // 1)))


def _gb(size: float) -> str:
    return f"{size / _GB:.3g}" if size < 100 * _GB else f"{size / _GB:.0f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def _s(seconds: float) -> str:
    return f"{seconds:.3g} s"
