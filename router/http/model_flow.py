"""Flow control of one model in one gateway process: `router.flow_control`, driven by what happens here.

An exchange `offer`s its request; it is told `dispatch` at once or later, or `refused`. A replica is picked only after
that, when there is room. Nothing here awaits, and where nothing waits nothing is scheduled.
"""

import asyncio
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Protocol

import structlog

from router.dispatch.gateway_load import ModelLoad
from router.estimator.model_estimator import ModelEstimator, Ticket, Usage
from router.flow_control.admission import Admission
from router.flow_control.limits import AdmissionLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.queued_request import QueuedRequest, RequestState
from router.flow_control.rate_limits import RateLimits
from router.flow_control.unacknowledged import Unacknowledged
from router.flow_control.verdict import Admit, Reject
from router.flow_control.work import OUTPUT_WEIGHT, OutputEstimate, work_of
from router.replicas.snapshot import LoadReport, ReplicaSnapshot
from router.request import RoutingRequest

DISPATCHES_A_TURN = 64
"""Waiting requests sent in one go; between two goes the event loop moves other requests' bytes."""
GENERATING_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"})
"""Paths whose answers are generated token by token; others cost their prompt only."""
BYTES_PER_TOKEN = 4.0
"""Of a request's body, where its prompt is not read."""

_log = structlog.get_logger("rackserve.gateway")


class Waiter(Protocol):
    """A request that may have to wait."""

    def dispatch(self) -> None:
        """There is room: pick a replica and go there."""
        ...

    def refused(self, verdict: Reject) -> None:
        """It will not be served."""
        ...

    def failed_inside(self) -> None:
        """The gateway itself failed with it."""
        ...


class ModelFlow:
    """One model's flow control.

    Args:
        model: its name.
        limits: its bounds.
        room: what may wait in this process.
        rates: the tenants' rate limits.
        now_s: monotonic seconds.
        on_dispatched: called with the class of each request that goes to a replica, and how long it waited.

    Attributes:
        admission: who waits, and which replicas have room.
        outlook: what is expected of the replicas; None where the model's policy reads no prompts.
        on_held: called when a request is held because the model has no replica.
    """

    def __init__(  # noqa: PLR0913 - the composition of one model
        self,
        model: str,
        limits: AdmissionLimits,
        room: WaitingRoom,
        rates: RateLimits,
        *,
        now_s: Callable[[], float],
        on_dispatched: Callable[[Priority, float], None],
    ) -> None:
        self.model = model
        self.admission: Admission[Waiter] = Admission(limits, room, rates)
        self.outlook: ModelEstimator | None = None
        self.on_held: Callable[[], None] = _nothing
        self._on_dispatched = on_dispatched
        self.now_s = now_s
        self._outputs: dict[str, OutputEstimate] = {}
        self._unacknowledged: dict[str, Unacknowledged] = {}
        self._pump_is_due = False
        self._opening: asyncio.Handle | None = None
        self._opening_due_s = 0.0

    # --- a request's life

    def estimate(self, request: RoutingRequest, tenant: str) -> float:
        """Return how much work a request is thought to be: its prompt, where most of it is cached, and its answer.

        The answer's length that was assumed is kept in `request.output_tokens`.
        """
        outlook, chain = self.outlook, request.chain
        if outlook is not None and len(chain):
            longest = outlook.match(chain).longest
            prompt_tokens = outlook.tokens(chain) - (outlook.cached_tokens(chain, longest) if longest else 0.0)
        else:
            prompt_tokens = len(request.body) / BYTES_PER_TOKEN
        if request.path not in GENERATING_PATHS:
            return work_of(prompt_tokens, 0.0)
        output = self._outputs.get(tenant)
        if output is None:
            output = self._outputs[tenant] = OutputEstimate()
        request.output_tokens = output.tokens(request.max_tokens)
        return work_of(prompt_tokens, request.output_tokens)

    def offer(self, claim: QueuedRequest[Waiter]) -> None:
        """Take a new request: its owner is told `dispatch` or `refused` before this returns, or later."""
        now_s = self.now_s()
        admission = self.admission
        verdict = admission.offer(claim, now_s)
        if isinstance(verdict, Admit):
            self._on_dispatched(claim.priority, 0.0)
            claim.owner.dispatch()
            return
        if isinstance(verdict, Reject):
            claim.owner.refused(verdict)
            return
        if admission.displaced:
            displaced, admission.displaced = admission.displaced, []
            for other, refusal in displaced:
                other.owner.refused(refusal)
        if admission.slots.taking:
            self._watch_openings(now_s)
        else:
            self.on_held()

    def put_back(self, claim: QueuedRequest[Waiter]) -> None:
        """A request that was dispatched could not be sent: it is its tenant's next."""
        self.admission.put_back(claim, self.now_s())
        if self.admission.slots.taking:
            self.room_opened()
        else:
            self.on_held()

    def remove(self, claim: QueuedRequest[Waiter]) -> None:
        """The client of a waiting request left."""
        self.admission.remove(claim, self.now_s())

    def ended(self, claim: QueuedRequest[Waiter], request: RoutingRequest, usage: Usage) -> None:
        """A request is over, wherever it was; of what it cost, the estimate stands for what `usage` does not say."""
        if claim.state is not RequestState.DISPATCHED:
            if claim.state is RequestState.WAITING:
                self.remove(claim)
            return
        output_tokens: float | None = usage.completion_tokens
        if output_tokens:
            output = self._outputs.get(claim.tenant)
            if output is not None and request.path in GENERATING_PATHS:
                output.observe(output_tokens)
        elif output_tokens is None:
            output_tokens = request.output_tokens
        if usage.prompt_tokens is None:
            uncached_tokens = claim.work - OUTPUT_WEIGHT * request.output_tokens
        else:
            uncached_tokens = usage.prompt_tokens - (usage.cached_tokens or 0)
        self.admission.ended(claim, work_of(uncached_tokens, output_tokens))

    # --- a request on a replica

    def narrow(self, candidates: Sequence[ReplicaSnapshot], now_s: float) -> Sequence[ReplicaSnapshot]:
        """Return the replicas a request may go to now.

        A policy that knows what waits where may pick one that has a place but more prefill ahead of it than its depth:
        it does so where the prompt is cached there, and waiting costs less than computing it again.
        """
        slots = self.admission.slots
        if self.outlook is not None:
            return slots.with_places(candidates, now_s)
        return slots.with_room(candidates, now_s)

    def has_room(self, replicas: Iterable[ReplicaSnapshot], tried: Container[str]) -> bool | None:
        """Tell whether one of `replicas` that has not been tried has room; None: all have been tried."""
        now_s = self.now_s()
        known = self.admission.slots.replicas
        untried = [known[key] for replica in replicas if (key := replica.replica_id) not in tried and key in known]
        return any(slots.has_room(now_s) for slots in untried) if untried else None

    def sent(self, replica: ReplicaSnapshot, request: RoutingRequest, ticket: Ticket | None) -> None:
        """A request is given to a replica, at `request.now_s`."""
        replica_id = replica.endpoint.replica_id
        slots = self.admission.slots
        unacknowledged = self._unacknowledged.get(replica_id)
        if unacknowledged is None:
            return
        report = replica.report
        prefill_s = 0.0
        if report is not None:
            unacknowledged.add(request.now_s)
            if ticket is not None and self.outlook is not None:
                prefill_s = ticket.uncached_tokens * self.outlook.replicas[replica_id].rates.now.s_per_token
            elif report.prefill_tokens_per_s > 0:
                prefill_s = len(request.body) / BYTES_PER_TOKEN / report.prefill_tokens_per_s
        else:
            unacknowledged.sent += 1
        slots.take(replica_id, prefill_s, request.now_s)

    def given_back(self, replica: ReplicaSnapshot, now_s: float) -> None:
        """A request is no longer on a replica."""
        self.admission.slots.give(replica.endpoint.replica_id, now_s)
        if self.admission.someone_waits:
            self.room_opened()

    # --- replicas

    def refresh(self, known: Iterable[str], candidates: Sequence[ReplicaSnapshot]) -> None:
        """Take which replicas exist, and which of them may be given requests now."""
        now_s = self.now_s()
        admission = self.admission
        known = set(known)
        for replica_id in admission.slots.replicas.keys() - known:
            admission.leave(replica_id, now_s)
            self._unacknowledged.pop(replica_id, None)
        for replica_id in known - admission.slots.replicas.keys():
            admission.join(replica_id, now_s)
            self._unacknowledged[replica_id] = Unacknowledged()
        takers = {replica.replica_id for replica in candidates}
        for replica_id in known:
            admission.drain(replica_id, now_s, draining=replica_id not in takers)
        if len(admission):
            self.room_opened()

    def reported(self, replica_id: str, report: LoadReport | None) -> None:
        """Take a replica's load report; None: it has fallen silent."""
        now_s = self.now_s()
        slots = self.admission.slots
        unacknowledged = self._unacknowledged.get(replica_id)
        if unacknowledged is None:
            return
        if report is None:
            slots.silent(replica_id, now_s)
        else:
            wanted = bool(len(self.admission))
            backlog_s, s_per_token = self._backlog(replica_id, report, now_s)
            step_s = report.step_tokens * s_per_token
            missing = unacknowledged.reported(report.accepted, now_s)
            slots.report(
                replica_id,
                report,
                now_s,
                backlog_s=backlog_s,
                step_s=step_s,
                unacknowledged=missing,
                wanted=wanted,
            )
        if len(self.admission):
            self.room_opened()

    def _backlog(self, replica_id: str, report: LoadReport, now_s: float) -> tuple[float, float]:
        """Return how long a replica will prefill what it has, and how long it takes for a token (0: not known)."""
        outlook = self.outlook.replicas.get(replica_id) if self.outlook is not None else None
        if outlook is not None:
            s_per_token = outlook.rates.now.s_per_token
            return outlook.pending.wait_s(now_s, s_per_token), s_per_token
        s_per_token = 1.0 / report.prefill_tokens_per_s if report.prefill_tokens_per_s > 0 else 0.0
        return report.waiting_tokens * s_per_token, s_per_token

    # --- time

    def tick(self) -> None:
        """Refuse those whose time is over; call a few times a second."""
        if len(self.admission):
            for claim, refusal in self.admission.expire(self.now_s()):
                claim.owner.refused(refusal)
            self.room_opened()

    def room_opened(self) -> None:
        """A replica may have room: dispatch soon, once what is being done now is done."""
        if not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def refuse_all(self, verdict: Reject) -> None:
        """Refuse all that wait."""
        now_s = self.now_s()
        for claim in self.admission.waiting():
            self.admission.remove(claim, now_s)
            claim.owner.refused(verdict)

    def _pump(self) -> None:
        self._pump_is_due = False
        now_s = self.now_s()
        admission = self.admission
        for _ in range(DISPATCHES_A_TURN):
            claim = admission.next(now_s)
            if claim is None:
                if len(admission):
                    self._watch_openings(now_s)
                return
            self._on_dispatched(claim.priority, now_s - claim.arrived_s)
            try:
                claim.owner.dispatch()
            except Exception:  # noqa: BLE001 - a mistake of ours must cost one request, not those behind it
                _log.exception("request failed inside the gateway", model=self.model)
                claim.owner.failed_inside()
        self.room_opened()

    def _watch_openings(self, now_s: float) -> None:
        """Look again when a replica will have prefilled what it was given."""
        opens_s = self.admission.slots.next_opening_s()
        if opens_s is None:
            return
        loop = asyncio.get_running_loop()
        due_s = loop.time() + max(0.0, opens_s - now_s)
        if self._opening is not None:
            if self._opening_due_s <= due_s:
                return
            self._opening.cancel()
        # Its own `when` is not to be asked: uvloop makes no timer of what is due within half a millisecond.
        self._opening = loop.call_at(due_s, self._opened)
        self._opening_due_s = due_s

    def _opened(self) -> None:
        self._opening = None
        self.room_opened()

    # --- what others are told

    def load(self, reports: Sequence[LoadReport | None]) -> ModelLoad:
        """Return what the autoscaler is told; `reports` are those of the replicas that may be given requests."""
        load = self.admission.load(self.now_s())
        known = [report for report in reports if report is not None]
        waits_s = [
            report.waiting_tokens / report.prefill_tokens_per_s if report.prefill_tokens_per_s > 0 else 0.0
            for report in known
        ]
        return ModelLoad(
            model=self.model,
            waiting_requests=load.waiting_requests,
            held_requests=load.held_requests,
            waiting_work=load.waiting_work,
            in_flight=load.in_flight,
            offered_requests=load.offered_requests,
            offered_work=load.offered_work,
            offered_work_squared=load.offered_work_squared,
            dispatched_work=load.dispatched_work,
            refused_requests=load.refused_requests,
            prefill_s=load.prefill_s,
            occupancy=load.occupancy,
            replicas=len(reports),
            engine_waiting_tokens=sum(report.waiting_tokens for report in known),
            engine_wait_s=min(waits_s) if waits_s and len(waits_s) == len(reports) else 0.0,
            kv_usage=sum(report.kv_usage for report in known) / len(known) if known else 0.0,
        )


def _nothing() -> None:
    pass
