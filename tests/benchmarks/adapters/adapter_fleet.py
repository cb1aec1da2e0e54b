"""Simulated engines with adapter slots behind the live dispatcher, in virtual time."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Final

from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.events import KvEventHub
from deployments.engines.sim.generation.prompt import SimPrompt
from deployments.engines.sim.generation.scheduler import MAX_BATCHED_TOKENS, SimScheduler
from deployments.engines.sim.generation.sequence import Sequence as Running
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.outcome import Outcome
from router.prompt.chunk_chain import ChunkChain
from router.replicas.adapter_report import AdapterReport
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest
from tests.benchmarks.adapters.skewed_load import AdapterRequest

MODEL: Final = "base"
REPORT_EVERY_S: Final = 0.1
"""Seconds between two reports of a replica, as in a cluster (`DEFAULT_INTERVAL_S` of `telemetry/service.py`)."""
CHUNK_TOKENS: Final = 60
"""Tokens of one chunk of a prompt, about."""
BYTES_PER_TOKEN: Final = 4


@dataclass(slots=True)
class Outcomes:
    """What came of a load.

    Attributes:
        ttft_s: seconds to the first token of each request.
        loads: loads of adapters on all replicas.
        busiest: requests of the replica that got most, over the mean.
    """

    ttft_s: list[float] = field(default_factory=list)
    loads: int = 0
    busiest: float = 0.0

    @property
    def mean_ttft_s(self) -> float:
        """Mean seconds to the first token."""
        return sum(self.ttft_s) / len(self.ttft_s)

    @property
    def p90_ttft_s(self) -> float:
        """Seconds to the first token that nine of ten requests have at most."""
        return sorted(self.ttft_s)[int(0.9 * len(self.ttft_s))]


@dataclass(slots=True)
class _Running:
    """One request on one replica."""

    ticket: Ticket
    request: AdapterRequest
    left: int


class _Machine:
    """One engine."""

    def __init__(self, name: str, spec: SimSpec, slots: int, adapters: list[str]) -> None:
        self.name = name
        self.scheduler = SimScheduler(spec, KvEventHub(spec.block_tokens), slots)
        self.scheduler.adapters.set_known(adapters)
        self.requests: dict[Running, _Running] = {}
        self.accepted = 0
        self.reports = 0
        self.steps = False
        self._capacity_tokens = spec.kv_blocks * spec.block_tokens

    def report(self) -> LoadReport:
        """Return its load report now."""
        scheduler = self.scheduler
        self.reports += 1
        return LoadReport(
            sequence=self.reports,
            running=scheduler.running,
            waiting=scheduler.waiting,
            waiting_tokens=scheduler.waiting_tokens,
            kv_usage=scheduler.cache.usage,
            kv_capacity_tokens=self._capacity_tokens,
            prefill_tokens_per_s=scheduler.prefill_rate.per_s,
            decode_tokens_per_s=scheduler.decode_rate.per_s,
            accepted=self.accepted,
            step_tokens=MAX_BATCHED_TOKENS,
        )

    def adapters(self) -> AdapterReport:
        """Return its report of adapters now."""
        own = self.scheduler.adapters
        return AdapterReport(own.known, own.held, own.slots, own.load_s, own.loads)


class AdapterFleet:
    """Replicas and the dispatcher of one gateway, driven through a load.

    Args:
        policy: the routing policy.
        replicas: number of replicas.
        slots: adapters that each can have loaded.
        adapters: the adapters' names.
        spec: the engines' timing.
        seed: of ties.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a fleet is
        self, policy: str, replicas: int, slots: int, adapters: list[str], spec: SimSpec, seed: int
    ) -> None:
        self._dispatcher = Dispatcher(MODEL, policy, rng=Random(seed))
        names = [f"r{number}" for number in range(replicas)]
        self._machines = {name: _Machine(name, spec, slots, adapters) for name in names}
        rows = [
            Endpoint(name, MODEL, "h", 1, signals=frozenset({Signal.LOAD, Signal.RATES}), node_id=name)
            for name in names
        ]
        self._dispatcher.set_replicas(rows, 0.0)
        self._spec = spec
        self._events: list[tuple[float, int, object]] = []
        self._numbers = count()
        self._asked: dict[int, AdapterRequest] = {}
        self._left = 0
        self._outcomes = Outcomes()

    def run(self, load: list[AdapterRequest]) -> Outcomes:
        """Send a load; return what came of it once all of it has been answered."""
        self._left = len(load)
        for request in load:
            self._at(request.at_s, request)
        self._at(0.0, None)
        while self._left:
            now_s, _, event = heappop(self._events)
            if isinstance(event, AdapterRequest):
                self._arrives(event, now_s)
            elif isinstance(event, _Machine):
                self._step_ends(event, now_s)
            else:
                self._report(now_s)
            self._dispatch(now_s)
        self._outcomes.loads = sum(machine.scheduler.adapters.loads for machine in self._machines.values())
        counts = [machine.accepted for machine in self._machines.values()]
        self._outcomes.busiest = max(counts) * len(counts) / sum(counts)
        self._dispatcher.check_integrity(now_s)
        return self._outcomes

    def _at(self, at_s: float, event: object) -> None:
        heappush(self._events, (at_s, next(self._numbers), event))

    def _report(self, now_s: float) -> None:
        for machine in self._machines.values():
            self._dispatcher.report(machine.name, machine.report(), now_s)
            self._dispatcher.fleet.replicas[machine.name].adapters.reported(machine.adapters())
        self._dispatcher.tick(now_s)
        self._at(now_s + REPORT_EVERY_S, None)

    def _arrives(self, request: AdapterRequest, now_s: float) -> None:
        number = next(self._numbers)
        ends = list(range(CHUNK_TOKENS * BYTES_PER_TOKEN, request.prompt_tokens * BYTES_PER_TOKEN, 240))
        chain = ChunkChain(
            [hash((number, end)) & 0xFFFF_FFFF_FFFF_FFFF for end in ends],
            ends,
            request.prompt_tokens * BYTES_PER_TOKEN,
            tokens=request.prompt_tokens,
        )
        routed = RoutingRequest(
            str(number), MODEL, "/v1/chat/completions", stream=True, body=b"", chain=chain, adapter=request.adapter
        )
        ticket = self._dispatcher.offer(routed, "all", now_s)
        self._asked[id(ticket)] = request
        if ticket.refusal is not None:
            raise RuntimeError(f"a request was refused: {ticket.refusal.message}")
        self._send(ticket, now_s)

    def _dispatch(self, now_s: float) -> None:
        while (ticket := self._dispatcher.next(now_s)) is not None:
            self._send(ticket, now_s)

    def _send(self, ticket: Ticket, now_s: float) -> None:
        if ticket.attempt is None:
            return  # it waits
        request = self._asked.pop(id(ticket))
        machine = self._machines[ticket.attempt.replica.replica_id]
        machine.accepted += 1
        text = f"{ticket.request.request_id} ".ljust(request.prompt_tokens * BYTES_PER_TOKEN, ".")
        prompt = SimPrompt(text, float(BYTES_PER_TOKEN), from_ids=False, answer_from=len(text), adapter=request.adapter)
        sequence = Running(prompt, self._spec.block_tokens)
        machine.requests[sequence] = _Running(ticket, request, request.output_tokens)
        machine.scheduler.add(sequence)
        if not machine.steps:
            self._step(machine, now_s)

    def _step(self, machine: _Machine, now_s: float) -> None:
        step_s = machine.scheduler.begin_step()
        machine.steps = step_s is not None
        if step_s is not None:
            self._at(now_s + step_s, machine)

    def _step_ends(self, machine: _Machine, now_s: float) -> None:
        for sequence in machine.scheduler.end_step():
            running = machine.requests[sequence]
            if running.left == running.request.output_tokens:
                self._dispatcher.answers(running.ticket, now_s)
                self._dispatcher.first_token(running.ticket, now_s)
                self._outcomes.ttft_s.append(now_s - running.request.at_s)
            running.left -= 1
            if running.left:
                machine.scheduler.append(sequence, "word")
                continue
            machine.scheduler.finish(sequence)
            del machine.requests[sequence]
            request = running.request
            usage = Usage(request.prompt_tokens, 0, request.output_tokens)
            self._dispatcher.finish(running.ticket, Outcome.OK, usage, now_s, is_whole=True)
            self._left -= 1
        machine.scheduler.check_integrity()
        self._step(machine, now_s)
