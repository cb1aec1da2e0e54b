"""A trace through simulated replicas in virtual time: which policy finds caches, and what that does to TTFT."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from math import ceil, floor
from random import Random
from typing import TYPE_CHECKING

from cluster.errors import PolicyError
from deployments.simulator.prefill_replica import PrefillReplica
from deployments.simulator.trace import BLOCK_TOKENS, TraceRequest, chunk_chain
from router.dispatch.dispatcher import Dispatcher
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint, Signal
from router.request import RoutingRequest
from router.scheduling.needed_telemetry import why_unmet

if TYPE_CHECKING:
    from router.dispatch.ticket import Ticket

MODEL = "trace"
TENANT = "trace"
TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What a trace is replayed on.

    Attributes:
        policy: its name.
        replicas: how many there are.
        kv_blocks: blocks of `BLOCK_TOKENS` tokens each one's cache holds.
        prefill_rate: tokens each one prefills a second.
        seed: for everything random.
        exact: replicas stream what they hold; else it is inferred from what was sent to them.
        report_interval_s: replicas send telemetry so often; 0: right before each request.
        speedup: the trace's times are divided by it.
    """

    policy: str = "expected_ttft"
    replicas: int = 8
    kv_blocks: int = 4000
    prefill_rate: float = 8000.0
    seed: int = 0
    exact: bool = True
    report_interval_s: float = 0.1
    speedup: float = 1.0


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came out. Ratios are of prompt blocks; times are seconds to the first token.

    Attributes:
        hit_ratio: blocks that were cached where they were sent.
        ideal_hit_ratio: blocks that one infinite cache would have held.
        imbalance: the most uncached work any replica got over the mean; 1 is even.
    """

    policy: str
    requests: int
    hit_ratio: float
    ideal_hit_ratio: float
    imbalance: float
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float

    def as_dict(self) -> dict[str, str | int | float]:
        """Return the figures by name."""
        return asdict(self)


def replay(trace: Sequence[TraceRequest], settings: ReplaySettings) -> ReplayResult:
    """Send a trace's requests to simulated replicas as the live policy code decides.

    Raises:
        PolicyError: there is no policy of that name, or it needs residency and replicas do not tell it.
    """
    run = _Replay(settings)
    ttfts_s = [run.request(number, request) for number, request in enumerate(trace)]
    ttfts_s.sort()
    busy_s = [replica.busy_s for replica in run.machines.values()]
    return ReplayResult(
        policy=settings.policy,
        requests=len(trace),
        hit_ratio=run.hit_blocks / run.blocks,
        ideal_hit_ratio=_ideal_hits(trace) / run.blocks,
        imbalance=max(busy_s) * len(busy_s) / sum(busy_s),
        ttft_mean_s=sum(ttfts_s) / len(ttfts_s),
        ttft_p50_s=_quantile(ttfts_s, 0.5),
        ttft_p90_s=_quantile(ttfts_s, 0.9),
        ttft_p99_s=_quantile(ttfts_s, 0.99),
    )


def _ideal_hits(trace: Sequence[TraceRequest]) -> int:
    seen: set[int] = set()
    hits = 0
    for request in trace:
        hits += next((at for at, block in enumerate(request.hash_ids) if block not in seen), len(request.hash_ids))
        seen.update(request.hash_ids)
    return hits


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of all are not above (nearest rank)."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


class _Replay:
    """The state of one run: the dispatcher on one side, the machines on the other, and first tokens to come."""

    def __init__(self, settings: ReplaySettings) -> None:
        self._settings = settings
        rng = Random(settings.seed)  # noqa: S311 - replayable, not cryptographic
        # What is compared is where each request goes, so none waits for another's end: all go at once.
        self._dispatcher = Dispatcher(MODEL, settings.policy, rng=rng, limits=AdmissionLimits(late_binding=False))
        self.machines = {
            f"replica-{number:04d}": PrefillReplica(settings.kv_blocks, settings.prefill_rate)
            for number in range(settings.replicas)
        }
        signals = frozenset({Signal.LOAD, Signal.RESIDENCY} if settings.exact else {Signal.LOAD})
        kv_tokens = settings.kv_blocks * BLOCK_TOKENS
        endpoints = [Endpoint(name, MODEL, "sim", 0, signals=signals, kv_tokens=kv_tokens) for name in self.machines]
        unmet = why_unmet(self._dispatcher.fleet.policy, endpoints)
        if unmet:
            raise PolicyError(unmet)
        self._dispatcher.set_replicas(endpoints, 0.0)
        if settings.exact:
            for name, machine in self.machines.items():
                self._dispatcher.apply_residency(name, machine.snapshot())
        self._first_tokens: list[tuple[float, int, Ticket, Usage]] = []
        self._reported_s = float("-inf")
        self._ticked_s = 0.0
        self.blocks = 0
        self.hit_blocks = 0

    def request(self, number: int, request: TraceRequest) -> float:
        """Route one request; return its time to first token."""
        settings = self._settings
        now_s = request.timestamp / 1000.0 / settings.speedup
        self._catch_up(now_s)
        chain = chunk_chain(request, settings.seed)
        routing = RoutingRequest(f"{number}", MODEL, "/v1/completions", stream=True, body=b"", chain=chain)
        ticket = self._dispatcher.offer(routing, TENANT, now_s)
        if ticket.attempt is None:
            raise AssertionError(f"a request is {ticket.state}, though every replica always has room")
        machine = self.machines[ticket.attempt.replica.replica_id]
        prefill = machine.accept(chain, request.input_length, now_s)
        usage = Usage(request.input_length, request.input_length - prefill.tokens, 1)
        heappush(self._first_tokens, (prefill.end_s, number, ticket, usage))
        self.blocks += len(chain)
        self.hit_blocks += prefill.hit_blocks
        return prefill.end_s - now_s

    def _catch_up(self, now_s: float) -> None:
        """Let everything happen that happened up to `now_s`, telemetry last."""
        first_tokens = self._first_tokens
        while first_tokens and first_tokens[0][0] <= now_s:
            at_s, _, ticket, usage = heappop(first_tokens)
            self._dispatcher.finish(ticket, Outcome.OK, usage, at_s, is_whole=True)
        if now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            self._dispatcher.tick(now_s)
        interval_s = self._settings.report_interval_s
        report_s = floor(now_s / interval_s) * interval_s if interval_s > 0.0 else now_s
        if report_s > self._reported_s or interval_s <= 0.0:
            self._reported_s = report_s
            for name, machine in self.machines.items():
                self._dispatcher.report(name, machine.report(report_s), report_s)
                delta = machine.delta()
                if delta is not None and self._settings.exact and not self._dispatcher.apply_residency(name, delta):
                    raise AssertionError("a delta was lost, though none ever is")
