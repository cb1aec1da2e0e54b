"""Plans prefill and decode on replicas of their own: layout and number of each, and whether one pool does with less.

A prefill replica computes prompts alone, so the streams of others are not delayed; it is planned so that a prompt's
wait, its computation and its transfer stay within the TTFT. A decode replica computes one token of each prompt, so its
batch is bounded by TPOT and KV cache alone. Both pools get the replicas that the workload's rate needs: their ratio is
matched to it.

Two replicas can hand blocks on if each holds all layers, and the tensor size of one divides the other's (what vLLM's
NixlConnector can read).
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

from cluster.model_shapes.model_shape import ModelShape
from cluster.planning.option import Option, costs, engine_batch, largest_batch, why_it_does_not_fit
from cluster.planning.plan_file import PlanFile, Slo
from cluster.replica_cost.communication import LINK_LATENCY_S, LINK_SHARE, NETWORK_LATENCY_S
from cluster.replica_cost.cost_model import ReplicaCost, Steady, Work
from cluster.replica_cost.hardware import ACCELERATORS
from cluster.replica_cost.layout import Layout
from cluster.replica_cost.memory import MemoryUse
from cluster.replica_cost.prompt_queue import busy_s, prefill_per_s, prompt_s
from cluster.spec.role import Role

_ANY_TTFT_S: Final = 1e9
"""A TTFT that bounds nothing: decode replicas are planned by TPOT."""


@dataclass(frozen=True, slots=True)
class PoolOption:
    """One pool of a plan with two.

    Attributes:
        role: what its replicas do.
        precision: number format of the weights.
        layout: layout of one replica.
        step_tokens: tokens of the largest step.
        memory: memory use of the fullest GPU.
        batch: sequences that a rank decodes at once; 0 in a prefill pool.
        requests_per_s: requests a second that one replica serves at capacity.
        bound_by: what limits that: `TTFT`, `TPOT`, `KV cache`, `engine` or `links`.
        replicas: replicas that the workload needs.
    """

    role: Role
    precision: str
    layout: Layout
    step_tokens: int
    memory: MemoryUse
    batch: int
    requests_per_s: float
    bound_by: str
    replicas: int

    @property
    def gpus(self) -> int:
        """GPUs of all its replicas."""
        return self.replicas * self.layout.gpus


@dataclass(frozen=True, slots=True)
class TwoPools:
    """Prefill and decode on replicas of their own.

    Attributes:
        prefill: the pool that computes prompts.
        decode: the pool that generates answers.
        kv_bytes: bytes of KV cache of a mean prompt, which are sent from one to the other.
        transfer_s: seconds that this takes over the links between them.
        within_domain: whether a replica of each fits into one NVLink domain, so that the blocks go over its links.
        ttft_s: seconds to the first token at capacity, on average or for the SLO's share.
        tpot_s: seconds between a sequence's tokens at capacity, as above.
    """

    prefill: PoolOption
    decode: PoolOption
    kv_bytes: float
    transfer_s: float
    within_domain: bool
    ttft_s: float
    tpot_s: float

    @property
    def gpus(self) -> int:
        """GPUs of both pools."""
        return self.prefill.gpus + self.decode.gpus


def two_pools(question: PlanFile, shapes: Iterable[ModelShape], layouts: Iterable[Layout]) -> TwoPools | None:
    """Return the two pools that serve the workload with the fewest GPUs; None: none do within the SLO.

    Args:
        question: the plan file.
        shapes: the model in each precision to try.
        layouts: layouts of a replica to try.
    """
    possible = [layout for layout in layouts if layout.pipeline == 1]
    found = (pair for shape in shapes for pair in _pairs(question, shape, possible))
    best = min(found, key=lambda pair: pair.rank, default=None)
    return _described(best, question.workload.work) if best else None


def fetched(work: Work) -> Work:
    """Return what is left of a request for a decode replica: its answer, and one token of its prompt."""
    return replace(work, prefix_hit=1.0, input_spread=0.0)


def transfer_s(cost: ReplicaCost, sender: Layout, receiver: Layout, tokens: float) -> tuple[float, bool]:
    """Return the seconds to send the KV cache of a prompt, and whether sender and receiver fit into one domain.

    Args:
        cost: either replica.
        sender: layout of the one that has the blocks.
        receiver: layout of the one that fetches them.
        tokens: tokens of the prompt.
    """
    hardware = cost.hardware
    within = sender.gpus + receiver.gpus <= hardware.gpus_per_domain
    link = hardware.link_bytes_per_s if within else hardware.network_bytes_per_s
    latency_s = LINK_LATENCY_S if within else NETWORK_LATENCY_S
    kv_bytes = cost.shape.kv_bytes(tokens, cost.kv_precision)
    return kv_bytes / (link * LINK_SHARE * min(sender.tensor, receiver.tensor)) + latency_s, within


def why_pools(one: Option | None, apart: TwoPools | None, slo: Slo) -> str:
    """Return in words why one pool was chosen, or two."""
    if apart is None and (one is None or one.steady is None):
        return "nothing serves this within the SLO"
    if apart is None:
        return "one pool: prefill and decode on replicas of their own do not serve this within the SLO"
    ratio = f"{apart.prefill.replicas} × {apart.prefill.layout.gpus} GPUs for prompts and "  # noqa: RUF001 - its sign
    ratio += f"{apart.decode.replicas} × {apart.decode.layout.gpus} for answers"  # noqa: RUF001 - its sign
    if one is None or one.steady is None:
        return f"two pools, {ratio}: one pool does not serve this within the SLO"
    share = f"prompts take {one.steady.prefill_share:.0%} of the time of one pool, which bounds its batch to"
    share += f" {one.steady.batch} sequences a rank; decode alone keeps {apart.decode.batch}"
    if is_better(one, apart):
        return f"two pools, {ratio}, are {apart.gpus} GPUs where one pool needs {one.gpus}: {share}"
    more = apart.gpus - one.gpus
    against = f"as many as one pool has ({one.gpus})" if not more else f"{more} more than one pool has"
    limit = f"{slo.most_tpot_s * 1e3:g} ms"
    return f"one pool: apart it would be {ratio}, {apart.gpus} GPUs, {against}; {share}, within {limit}"


def is_better(one: Option | None, apart: TwoPools | None) -> bool:
    """Tell whether two pools serve the workload with fewer GPUs than one; one is simpler where both need as many."""
    return apart is not None and (one is None or apart.gpus < one.gpus)


@dataclass(frozen=True, slots=True)
class _Prefill:
    """A prefill replica, before it is known to whom it sends."""

    cost: ReplicaCost
    own_s: float
    busy_s: float


@dataclass(frozen=True, slots=True)
class _Decode:
    """A decode replica at the largest batch that its limits allow."""

    cost: ReplicaCost
    steady: Steady
    bound_by: str


@dataclass(frozen=True, slots=True)
class _Pair:
    """A replica of each kind: what both serve, and the GPUs that the workload needs of them."""

    prefill: _Prefill
    decode: _Decode
    wait_s: float
    transfer_s: float
    prefill_per_s: float
    replicas: tuple[int, int]

    @property
    def rank(self) -> tuple[float, ...]:
        """Fewest GPUs first, then the smallest gangs, then the most room."""
        prefill, decode = self.prefill.cost.layout, self.decode.cost.layout
        gpus = self.replicas[0] * prefill.gpus + self.replicas[1] * decode.gpus
        return gpus, prefill.gpus + decode.gpus, -self.prefill_per_s, -self.decode.steady.requests_per_s


def _pairs(question: PlanFile, shape: ModelShape, layouts: Iterable[Layout]) -> Iterator[_Pair]:
    """Yield the pairs of replicas that can hand blocks on and hold the SLO."""
    work = question.workload.work
    prefills: list[_Prefill] = []
    decodes: list[_Decode] = []
    for layout in layouts:
        if layout.why_not(shape, ACCELERATORS[question.hardware]):
            continue
        for number, cost in enumerate(costs(question, shape, layout)):
            if not why_it_does_not_fit(cost, cost.memory, work):
                prefills.append(_Prefill(cost, prompt_s(cost, work), busy_s(cost, work)))
                # A decode replica's steps are small: the smallest size, which comes first, leaves most KV cache.
                decodes += () if number else _decodes(question, cost, work)
    for prefill, decode in product(prefills, decodes):
        pair = _pair(question, prefill, decode)
        if pair is not None:
            yield pair


def _decodes(question: PlanFile, cost: ReplicaCost, work: Work) -> Iterator[_Decode]:
    """Yield a decode replica at the largest batch that TPOT and KV cache allow; nothing if one sequence is too slow."""
    left, slo = fetched(work), question.slo.model_copy(update={"ttft_s": _ANY_TTFT_S})
    if cost.steady(1, left, slo.share).tpot_s > slo.most_tpot_s:
        return
    engine, cached = engine_batch(question, cost.hardware), max(1, cost.sequences(work.mean_context))
    steady = largest_batch(cost, left, slo, min(engine, cached))
    bound_by = "TPOT"
    if steady.batch == min(engine, cached):
        bound_by = "engine" if engine < cached else "KV cache"
    yield _Decode(cost, steady, bound_by)


def _pair(question: PlanFile, prefill: _Prefill, decode: _Decode) -> _Pair | None:
    """Return a pair with the replicas that the workload needs; None: it cannot hand blocks on, or is too slow."""
    sender, receiver = prefill.cost.layout, decode.cost.layout
    if sender.tensor % receiver.tensor and receiver.tensor % sender.tensor:
        return None
    workload, load, share = question.workload, question.limits.load, question.slo.share
    moved_s, _ = transfer_s(prefill.cost, sender, receiver, workload.input_tokens)
    wait_s = question.slo.ttft_s - prefill.own_s - moved_s - decode.steady.ttft_s
    if wait_s <= 0:
        return None
    rate = prefill_per_s(prefill.busy_s, wait_s, workload.input_spread, share, sender.data)
    per_s = sender.data * min(rate, 1 / moved_s)
    rates = (per_s, decode.steady.requests_per_s)
    first, second = (max(1, math.ceil(workload.requests_per_s / (rate * load))) for rate in rates)
    return _Pair(prefill, decode, wait_s, moved_s, per_s, (first, second))


def _described(pair: _Pair, work: Work) -> TwoPools:
    prefill, decode, steady = pair.prefill, pair.decode, pair.decode.steady
    sender, receiver = prefill.cost, decode.cost
    is_links = pair.prefill_per_s * pair.transfer_s >= sender.layout.data
    return TwoPools(
        prefill=PoolOption(
            role=Role.PREFILL,
            precision=sender.shape.weight_precision.name,
            layout=sender.layout,
            step_tokens=sender.step_tokens,
            memory=sender.memory,
            batch=0,
            requests_per_s=pair.prefill_per_s,
            bound_by="links" if is_links else "TTFT",
            replicas=pair.replicas[0],
        ),
        decode=PoolOption(
            role=Role.DECODE,
            precision=receiver.shape.weight_precision.name,
            layout=receiver.layout,
            step_tokens=receiver.step_tokens,
            memory=receiver.memory,
            batch=steady.batch,
            requests_per_s=steady.requests_per_s,
            bound_by=decode.bound_by,
            replicas=pair.replicas[1],
        ),
        kv_bytes=sender.shape.kv_bytes(work.input_tokens, sender.kv_precision),
        transfer_s=pair.transfer_s,
        within_domain=transfer_s(sender, sender.layout, receiver.layout, work.input_tokens)[1],
        ttft_s=pair.wait_s + prefill.own_s + pair.transfer_s + steady.ttft_s,
        tpot_s=steady.tpot_s,
    )
