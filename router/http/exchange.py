"""One request on its way: waiting for room, to a replica, to another if that fails, and its answer to the client."""

import asyncio
from http import HTTPStatus
from math import inf

from router.estimator.model_estimator import Usage
from router.flow_control.priority import Priority
from router.flow_control.queued_request import QueuedRequest
from router.flow_control.verdict import Reject
from router.http.attempt import Attempt
from router.http.auth import Tenant
from router.http.client import Client
from router.http.data_plane import MAX_ATTEMPTS, DataPlane, ReplicaRoute
from router.http.model_flow import ModelFlow, Waiter
from router.http.relayed_answer import RelayedAnswer
from router.http.wire.incoming import IncomingRequest
from router.http.wire.response_head import ResponseHead
from router.http.wire.responses import error_body, response
from router.http.wire.upstream import Sink, UpstreamConnection
from router.outcome import HTTP_STATUS, Outcome
from router.request import RoutingRequest

_COST_NOTHING = Usage(0, 0, 0)
_FAILED = "every replica that was tried failed before answering"


class Exchange:
    """One request and its answer.

    Its life is `start` → (a wait) → `dispatch` → an upstream connection → `upstream_head` → bytes to its sink … →
    `upstream_done`. A replica that fails before its head sends it back to `dispatch` or, where no other has room, to
    wait; so does one that dies within a stream that another can go on with. The client leaving ends it at any point.

    Args:
        plane: the gateway's shared state.
        flow: the model's flow control.
        client: who asked.
        incoming: the request as it came.
        request: the same, as routing sees it.
        tenant: whose it is.
        priority: its class.
        wait_s: how long it may wait for room; infinite: the model's own bounds apply.

    Attributes:
        answer: what the client gets.
        head_request: the method was HEAD: no body follows the head.
        upstream: the connection that carries it now, None while there is none.
    """

    __slots__ = (
        "_attempt",
        "_attempts",
        "_began_s",
        "_body",
        "_claim",
        "_client",
        "_cost",
        "_ended",
        "_flow",
        "_incoming",
        "_plane",
        "_request",
        "_request_id",
        "_span",
        "_tenant",
        "_tried",
        "answer",
        "head_request",
        "upstream",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - what a request is; made in `front` alone
        self,
        plane: DataPlane,
        flow: ModelFlow,
        client: Client,
        incoming: IncomingRequest,
        request: RoutingRequest,
        tenant: Tenant,
        priority: Priority = Priority.NORMAL,
        wait_s: float = inf,
    ) -> None:
        self._plane = plane
        self._flow = flow
        self._client = client
        self._incoming = incoming
        self._request = request
        self._request_id = request.request_id.encode()
        self._tenant = tenant
        self._tried: set[str] = set()
        self._attempts = 0
        self._attempt: Attempt | None = None
        self.answer = RelayedAnswer(client.transport, incoming, request)
        self._body = incoming.body
        self._cost = Usage()
        self._ended = False
        self._began_s = plane.now_s()
        self._span = plane.tracer.begin(incoming, request, tenant.name) if plane.tracer is not None else None
        work = flow.estimate(request, tenant.name)
        self._claim: QueuedRequest[Waiter] = QueuedRequest(
            self, tenant.name, work, priority, len(incoming.body), self._began_s + wait_s
        )
        self.head_request = incoming.method == b"HEAD"
        self.upstream: UpstreamConnection | None = None

    def start(self) -> None:
        """Ask for room on a replica: `dispatch` or `refused` follows, at once or later."""
        self._flow.offer(self._claim)

    def dispatch(self) -> None:
        """Pick a replica and send the request there."""
        plane = self._plane
        self._attempts += 1
        attempt = self._attempt = Attempt.begin(plane, self._flow, self._request, self._tried)
        if attempt is None:
            self._refuse(Outcome.REPLICA_FAILED, _FAILED)
            return
        if self._span is not None:
            self._span.dispatched(attempt)
        route = plane.route_to(attempt.decision.replica)
        upstream = route.pool.take()
        if upstream is None:
            self._connect(route)
        else:
            self._send(upstream, route)

    def _connect(self, route: ReplicaRoute) -> None:
        task = asyncio.get_running_loop().create_task(self._connect_and_send(route))
        self._plane.tasks.add(task)
        task.add_done_callback(self._plane.tasks.discard)

    async def _connect_and_send(self, route: ReplicaRoute) -> None:
        try:
            upstream = await route.pool.connect()
        except (OSError, TimeoutError) as error:
            if not self._ended:
                self._attempt_failed(f"does not accept connections: {error or 'timed out'}")
            return
        if self._ended:
            route.pool.put(upstream)
        else:
            self._send(upstream, route)

    def _send(self, upstream: UpstreamConnection, route: ReplicaRoute) -> None:
        head = self._incoming.upstream_head(route.head_end, self._request_id, len(self._body))
        self.upstream = upstream
        upstream.send(self, head, self._body)

    # --- the answer

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Start the answer to the client with the replica's own head."""
        attempt = self._attempt
        answer = self.answer
        if attempt is None:
            return self._client.transport.write
        if head.retry_elsewhere:
            self._going_away(attempt)
            return self._client.transport.write
        plane = self._plane
        plane.fleet.succeeded(attempt.decision.replica)
        if answer.is_resumed:
            return self._resumed_head(head, body)
        if plane.draining:
            answer.keep_alive = False
        sink = answer.begin(head, body, self._own_headers(), self._engine_gave_up)
        if body or head.length == 0:
            self._first_bytes()
            return sink

        def first(data: bytes) -> None:
            self._first_bytes()
            if self.upstream is not None:
                self.upstream.sink = sink
            sink(data)

        return first

    def _first_bytes(self) -> None:
        """The body begins: with a stream's first token, or the whole of another answer."""
        plane = self._plane
        plane.meters.model(self._request.model).ttfb_s.observe(plane.now_s() - self._began_s)
        if self._attempt is not None:
            self._attempt.first_bytes()
        if self._span is not None:
            self._span.first_bytes()

    def _own_headers(self) -> bytes:
        lines = b"x-request-id: " + self._request_id + b"\r\n"
        if self._attempt is not None and b"x-rackserve-explain" in self._incoming.headers:
            waited_s = self._request.now_s - self._began_s
            lines += self._attempt.explanation() + b"x-rackserve-waited-ms: %d\r\n" % round(1000 * waited_s)
        return lines

    def upstream_done(self) -> None:
        """The answer is complete."""
        head = self.answer.head
        if self._ended or head is None:
            return
        self.answer.complete()
        if head.status < HTTPStatus.BAD_REQUEST:
            self._learn()
            self._end(Outcome.OK)
        else:
            self._cost = _COST_NOTHING
            self._end(Outcome.UPSTREAM_STATUS)
        self._client.exchange_ended(keep_alive=self.answer.keep_alive)

    def _learn(self) -> None:
        """Tell how it went to whoever learns from it."""
        attempt = self._attempt
        if attempt is not None:
            usage, reply = self.answer.usage(with_reply=attempt.is_watched)
            self._cost = usage
            attempt.answered(usage, reply, streamed=self._request.stream)

    # --- failures

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """The replica broke off: try another, or tell the client that its answer ends here."""
        if self._ended:
            return
        if self.answer.head is None:
            self._attempt_failed(reason)
            return
        if self._attempt is not None:
            self._plane.replica_failed(self._attempt.decision.replica, reason)
        whole = between_chunks or self.answer.is_resumed
        if not (whole and self._resume()):
            self._break(f"the replica {reason} before the answer was complete", whole=whole)

    def _engine_gave_up(self) -> bool:
        """The engine says in its stream that it cannot go on; tell whether another replica will, instead."""
        upstream = self.upstream
        gone_on = not self._ended and self._resume()
        if gone_on and upstream is not None:
            upstream.abandon()
        return gone_on

    def _resume(self) -> bool:
        """Let another replica go on with the stream from the text the client has; tell whether that can be asked."""
        attempt = self._attempt
        body = self.answer.resume()
        if body is None or attempt is None:
            return False
        if not body:
            self._end(Outcome.OK)
            self._client.exchange_ended(keep_alive=self.answer.keep_alive)
            return True
        self._body = body
        self.upstream = None
        self._tried.add(attempt.replica_id)
        attempt.given_up(Outcome.REPLICA_FAILED)
        self._plane.meters.model(self._request.model).resumed += 1
        self._go_elsewhere()
        return True

    def _resumed_head(self, head: ResponseHead, body: bytes) -> Sink:
        """The replica that goes on answers: its events follow, its head does not."""
        sink = self.answer.go_on(head, body, self._engine_gave_up)
        if sink is not None:
            return sink
        if self.upstream is not None:
            self.upstream.abandon()
        self._break(f"the stream could not be resumed: another replica answered {head.status}", whole=True)
        return self._client.transport.write

    def _break(self, message: str, *, whole: bool) -> None:
        """End an answer that cannot be completed; `whole`: what was sent ends with a whole chunk."""
        self._end(Outcome.REPLICA_FAILED)
        self.answer.break_off(Outcome.REPLICA_FAILED, message, whole=whole)
        self._client.exchange_broken()

    def _attempt_failed(self, reason: str) -> None:
        """No byte of the answer has come: the request can go elsewhere."""
        attempt = self._attempt
        upstream = self.upstream
        self.upstream = None
        if attempt is None:
            return
        plane = self._plane
        plane.meters.model(self._request.model).retries += 1
        attempt.given_up(Outcome.REPLICA_FAILED)
        if upstream is not None and upstream.used > 1 and upstream.received == 0:
            # The replica closed an idle connection just as it was used again: that is no failure of the replica.
            self._attempts -= 1
        else:
            plane.replica_failed(attempt.decision.replica, reason)
            self._tried.add(attempt.replica_id)
        self._go_elsewhere()

    def _going_away(self, attempt: Attempt) -> None:
        """The replica is stopping and has not begun: another takes the request."""
        upstream = self.upstream
        self.upstream = None
        if upstream is not None:
            upstream.abandon()
        self._plane.replica_leaving(attempt.decision.replica)
        attempt.given_up(Outcome.REPLICA_FAILED)
        self._attempts -= 1
        self._go_elsewhere()

    def _go_elsewhere(self) -> None:
        """Go to a replica that has not been tried or, where none has room now, wait for one."""
        fleet = self._plane.fleet.models.get(self._request.model)
        staying = fleet.staying() if fleet is not None else []
        has_room = self._flow.has_room(staying, self._tried)
        if self._attempts >= MAX_ATTEMPTS or fleet is None:
            self._refuse(Outcome.REPLICA_FAILED, _FAILED)
        elif has_room or (has_room is False and self.answer.is_resumed):
            self.dispatch()  # a stream that is cut has waited before: it goes before those that wait
        elif has_room is False or (not staying and self._flow.admission.limits.cold_start_timeout_s > 0):
            self._flow.put_back(self._claim)
        else:
            self._refuse(Outcome.REPLICA_FAILED, _FAILED)

    # --- from outside

    def timed_out(self, timeout_s: float) -> None:
        """The replica sent nothing for too long."""
        upstream = self.upstream
        attempt = self._attempt
        if upstream is None or attempt is None or self._ended:
            return
        reason = f"sent nothing for {timeout_s:g} s"
        between_chunks = upstream.between_chunks
        upstream.abandon()
        if self.answer.head is not None:
            self.upstream_failed(reason, between_chunks=between_chunks)
            return
        self._plane.replica_failed(attempt.decision.replica, reason)
        self._refuse(Outcome.REPLICA_TIMEOUT, f"the replica {reason}")

    def model_timeout_s(self) -> float:
        """Return how long the replica may send nothing."""
        return self._plane.request_timeouts_s.get(self._request.model, inf)

    def client_left(self) -> None:
        """Nobody waits for the answer any more: closing the connection makes the engine abort."""
        if self._ended:
            return
        upstream = self.upstream
        self._end(Outcome.CLIENT_LEFT)
        if upstream is not None:
            upstream.abandon()

    def refused(self, verdict: Reject) -> None:
        """Admission refuses it."""
        self._refuse(verdict.outcome, verdict.message, retry_after=verdict.retry_after)

    def failed_inside(self) -> None:
        """The gateway itself failed with it."""
        if not self._ended:
            if self.upstream is not None:
                self.upstream.abandon()
            self._refuse(Outcome.INTERNAL, "the gateway failed; it has logged why")

    def _refuse(self, outcome: Outcome, message: str, *, retry_after: int = 1) -> None:
        if self.answer.head is not None:
            self._break(message, whole=True)
            return
        self._cost = _COST_NOTHING
        self._end(outcome)
        headers = self._own_headers()
        status = HTTP_STATUS[outcome]
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            headers += b"retry-after: %d\r\n" % retry_after
        keep_alive = self.answer.keep_alive and not self._plane.draining
        body = error_body(outcome, message)
        self._client.transport.write(
            response(status, body, headers=headers, close=not keep_alive, head_only=self.head_request)
        )
        self._client.exchange_ended(keep_alive=keep_alive)

    def _end(self, outcome: Outcome) -> None:
        """Give back what was reserved and count how it ended; exactly once."""
        self._ended = True
        plane = self._plane
        model = self._request.model
        upstream = self.upstream
        if self._attempt is not None:
            self._attempt.given_up(outcome)  # unless it was answered
        usage = self._cost
        if usage.completion_tokens is None:
            usage = Usage(usage.prompt_tokens, usage.cached_tokens, self.answer.tokens_sent())
        self._flow.ended(self._claim, self._request, usage)
        del self._claim  # it holds this exchange: a circle that only the garbage collector would find
        plane.meters.ended(model, self._tenant.name, outcome)
        plane.meters.used(model, self._tenant.name, usage)
        if self._span is not None:
            self._span.ended(outcome, usage)
        meters = plane.meters.model(model)
        meters.duration_s.observe(plane.now_s() - self._began_s)
        meters.body_bytes += len(self._incoming.body)
        if upstream is not None:
            meters.response_bytes += upstream.received
        self.upstream = None
