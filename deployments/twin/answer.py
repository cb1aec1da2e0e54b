"""What a run says: shares in time, percentiles, cache hits, waits, GPU-hours and prices, as plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import inf
from typing import Any, Final

import numpy as np

from cluster.spec.model_spec import ModelSpec
from deployments.twin.cluster import Cluster
from deployments.twin.records import Columns, Numbers
from deployments.twin.run import TwinRun

QUANTILES: Final = (0.5, 0.9, 0.99)
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Waits:
    """What requests waited for until their first token: mean seconds of all that were answered.

    Attributes:
        replica: in the gateway, with no replica of the model that took requests.
        room: in the gateway, until a replica had room.
        engine: in the engine, until it was taken into the batch.
        prefill: until its prompt was computed, its own work and that beside it.
        transfer: until its blocks had come from the replica that computed them.
    """

    replica: float
    room: float
    engine: float
    prefill: float
    transfer: float

    @classmethod
    def of(cls, columns: Columns) -> "Waits":
        """Return the waits of requests."""
        if not len(columns.arrived_s):
            return cls(0.0, 0.0, 0.0, 0.0, 0.0)
        held = columns.dispatched_s - columns.arrived_s
        cold = np.where(columns.held_cold, held, 0.0)
        engine = np.maximum(0.0, columns.begun_s - columns.dispatched_s)
        transfer = columns.fetched_s
        rest = columns.ttft_s - held - engine - transfer
        parts = cold, held - cold, engine, rest, transfer
        return cls(*(float(part.mean()) for part in parts))


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one model, one tenant, or all.

    Attributes:
        requests: requests that came.
        answered: those that were answered.
        refused: those that were refused, by outcome.
        in_time: share of the requests that had their latencies, refused ones included; None: none are set.
        ttft_s: mean, then the quantiles of `QUANTILES`, seconds to the first token.
        tpot_s: the same of the mean seconds between two tokens.
        latency_s: the same of the seconds to the last token.
        cached_share: share of the prompt tokens that were cached.
        prompt_tokens: prompt tokens of the answered requests.
        output_tokens: tokens of their answers.
        waits: what they waited for.
    """

    requests: int
    answered: int
    refused: Mapping[str, int]
    in_time: float | None
    ttft_s: tuple[float, ...]
    tpot_s: tuple[float, ...]
    latency_s: tuple[float, ...]
    cached_share: float
    prompt_tokens: int
    output_tokens: int
    waits: Waits


@dataclass(frozen=True, slots=True)
class TwinAnswer:
    """What a run says.

    Attributes:
        all: of all requests.
        models: of each model's.
        tenants: of each tenant's.
        seconds: length of the run.
        gpu_hours: GPU-hours of all replicas, from the moment that each had its machines.
        gpus: GPUs, on average over the run.
        output_tokens_per_s: tokens of answers a second.
        tokens_per_s_per_gpu: the same for each GPU.
        cost: cost of the GPU-hours; 0: there is no price.
        per_million_output: cost of a million tokens of answers; 0: as above.
        per_million: cost of a million tokens, those of prompts included; 0: as above.
        currency: currency of the costs.
        waiting_peak: most requests that waited at once.
        resent: requests that were sent again because their replica was lost.
        replicas_lost: replicas that were lost.
        unplaced_s: seconds that replicas waited for machines.
        adapter_loads: times that a replica loaded an adapter.
        busiest: requests of the replica that answered most, over the mean of all that answered.
        marks: pairs of a time and what happened then.
    """

    all: Figures
    models: Mapping[str, Figures]
    tenants: Mapping[str, Figures]
    seconds: float
    gpu_hours: float
    gpus: float
    output_tokens_per_s: float
    tokens_per_s_per_gpu: float
    cost: float
    per_million_output: float
    per_million: float
    currency: str
    waiting_peak: int
    resent: int
    replicas_lost: int
    unplaced_s: float
    adapter_loads: int
    busiest: float
    marks: tuple[tuple[float, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


def answer(cluster: Cluster, run: TwinRun) -> TwinAnswer:
    """Return what a finished run says."""
    records, scenario = run.records, cluster.scenario
    columns = records.columns()
    tenants = records.tenants
    met = _in_time(cluster, columns, tenants)
    everything = np.ones(len(records), bool)
    models = {
        model.name: _figures(
            columns.only(columns.model == number),
            _refused(run, model=number),
            None if met is None or not _has_targets(cluster, model) else met[columns.model == number],
        )
        for number, model in enumerate(cluster.models)
    }
    names = sorted({*tenants, *(tenant for _, tenant, _ in records.refused)})
    numbers = {name: number for number, name in enumerate(tenants)}
    by_tenant = {
        name: _figures(
            columns.only(columns.tenant == numbers.get(name, -1)),
            _refused(run, tenant=name),
            None if met is None else met[columns.tenant == numbers.get(name, -1)],
        )
        for name in names
    }
    seconds = max(run.ended_s, 1e-9)
    gpu_hours = run.fleet.gpu_seconds(run.ended_s) / _HOUR_S
    total = _figures(columns.only(everything), _refused(run), met)
    cost = gpu_hours * scenario.gpu_hour
    counts = np.bincount(columns.replica) if len(records) else np.array([1])
    gpus = gpu_hours * _HOUR_S / seconds
    return TwinAnswer(
        all=total,
        models=models,
        tenants=by_tenant,
        seconds=run.ended_s,
        gpu_hours=gpu_hours,
        gpus=gpus,
        output_tokens_per_s=total.output_tokens / seconds,
        tokens_per_s_per_gpu=total.output_tokens / seconds / gpus if gpus else 0.0,
        cost=cost,
        per_million_output=cost / total.output_tokens * 1e6 if total.output_tokens else 0.0,
        per_million=cost / (total.prompt_tokens + total.output_tokens) * 1e6 if total.output_tokens else 0.0,
        currency=scenario.currency,
        waiting_peak=records.waiting_peak,
        resent=records.resent,
        replicas_lost=run.fleet.lost,
        unplaced_s=run.fleet.unplaced_s,
        adapter_loads=run.fleet.loads(),
        busiest=float(counts.max() * len(counts) / counts.sum()),
        marks=tuple(run.timeline.marks),
    )


def _has_targets(cluster: Cluster, model: ModelSpec) -> bool:
    scenario = cluster.scenario
    named = any(tenant.slo is not None for tenant in cluster.spec.gateway.tenants)
    return named or model.slo.is_set or scenario.ttft_s is not None or scenario.tpot_s is not None


def _in_time(cluster: Cluster, columns: Columns, tenants: list[str]) -> "np.ndarray[Any, np.dtype[np.bool_]] | None":
    """Return which requests had the latencies that they were to have; None: none are set anywhere."""
    if not any(_has_targets(cluster, model) for model in cluster.models):
        return None
    scenario = cluster.scenario
    own = {tenant.name: tenant.slo for tenant in cluster.spec.gateway.tenants if tenant.slo is not None}
    ttft_s = np.full(len(columns.model), inf)
    tpot_s = np.full(len(columns.model), inf)
    for number, model in enumerate(cluster.models):
        for place, tenant in enumerate(tenants):
            slo = own.get(tenant)
            which = (columns.model == number) & (columns.tenant == place)
            first = scenario.ttft_s or (slo.ttft_s if slo else None) or model.slo.ttft_s
            token = scenario.tpot_s or (slo.tpot_s if slo else None) or model.slo.tpot_s
            ttft_s[which] = first or inf
            tpot_s[which] = token or inf
    return np.asarray((columns.ttft_s <= ttft_s) & (columns.tpot_s <= tpot_s))


def _refused(run: TwinRun, model: int | None = None, tenant: str | None = None) -> dict[str, int]:
    found: dict[str, int] = {}
    for (number, name, outcome), count in sorted(run.records.refused.items()):
        if model in {None, number} and tenant in {None, name}:
            found[outcome] = found.get(outcome, 0) + count
    return found


def _figures(
    columns: Columns, refused: Mapping[str, int], met: "np.ndarray[Any, np.dtype[np.bool_]] | None"
) -> Figures:
    answered = len(columns.arrived_s)
    requests = answered + sum(refused.values())
    prompt = int(columns.prompt.sum())
    return Figures(
        requests=requests,
        answered=answered,
        refused=dict(refused),
        in_time=None if met is None else float(met.sum()) / max(1, requests),
        ttft_s=_spread(columns.ttft_s),
        tpot_s=_spread(columns.tpot_s[columns.output > 1]),
        latency_s=_spread(columns.last_s - columns.arrived_s),
        cached_share=float(columns.cached.sum()) / max(1, prompt),
        prompt_tokens=prompt,
        output_tokens=int(columns.output.sum()),
        waits=Waits.of(columns),
    )


def _spread(values: Numbers) -> tuple[float, ...]:
    """Return the mean and the quantiles (nearest rank, so each is a value that occurred)."""
    if not len(values):
        return (0.0,) * (1 + len(QUANTILES))
    found = np.quantile(values, QUANTILES, method="inverted_cdf")
    return float(values.mean()), *(float(value) for value in found)


def _plain(value: object) -> object:
    if isinstance(value, Figures | Waits):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def rows(found: TwinAnswer) -> Iterator[tuple[str, float, str]]:
    """Yield the figures by which two runs are compared: name, value, and unit."""
    total = found.all
    if total.in_time is not None:
        yield "in time", total.in_time * 100, "%"
    yield "refused", float(total.requests - total.answered), ""
    for name, values in (("TTFT", total.ttft_s), ("TPOT", total.tpot_s)):
        for label, value in zip(("mean", "p50", "p90", "p99"), values, strict=True):
            yield f"{name} {label}", value * 1e3, "ms"
    yield "cached", total.cached_share * 100, "%"
    yield "waiting, most", float(found.waiting_peak), ""
    yield "output tokens/s", found.output_tokens_per_s, ""
    yield "output tokens/s/GPU", found.tokens_per_s_per_gpu, ""
    yield "GPU-hours", found.gpu_hours, "h"
    if found.cost:
        yield "per million tokens", found.per_million, found.currency
        yield "per million output tokens", found.per_million_output, found.currency
    yield "length", found.seconds, "s"
