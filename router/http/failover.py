"""A request on its way over replicas: sent to one and, where that fails, to another that begins anew or goes on."""

import asyncio
from abc import ABC, abstractmethod

import structlog

from router.dispatch.dispatcher import ALL_FAILED
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.flow_control.verdict import Reject
from router.http.client import Client
from router.http.data_plane import DataPlane, ReplicaRoute
from router.http.model_flow import ModelFlow
from router.http.relayed_answer import RelayedAnswer
from router.http.tracing import RequestSpan
from router.http.wire.incoming import IncomingRequest
from router.http.wire.response_head import ResponseHead
from router.http.wire.upstream import Sink, UpstreamConnection
from router.outcome import Outcome

_log = structlog.get_logger("rackserve.gateway")


class Failover(ABC):
    """What an exchange does between its pick of a replica and that replica's answer, and when the replica fails.

    `dispatched` → a connection → `upstream_head` of the exchange. Before the first byte a request that failed goes
    elsewhere; a stream that breaks goes on elsewhere from the text already sent, where another replica can do that.

    Attributes:
        answer: what the client gets.
        head_request: the method was HEAD: no body follows the head.
        upstream: the connection that carries it now, None while there is none.
    """

    __slots__ = (
        "_body",
        "_client",
        "_ended",
        "_flow",
        "_incoming",
        "_plane",
        "_request_id",
        "_span",
        "_ticket",
        "answer",
        "head_request",
        "upstream",
    )

    _body: bytes
    _client: Client
    _ended: bool
    _flow: ModelFlow
    _incoming: IncomingRequest
    _plane: DataPlane
    _request_id: bytes
    _span: RequestSpan | None
    _ticket: Ticket
    answer: RelayedAnswer
    head_request: bool
    upstream: UpstreamConnection | None

    @abstractmethod
    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Start the answer to the client with the replica's own head."""

    @abstractmethod
    def upstream_done(self) -> None:
        """The answer is complete."""

    @abstractmethod
    def _end(self, outcome: Outcome, usage: Usage = ...) -> None:
        """Give back what was reserved and count how it ended; exactly once."""

    @abstractmethod
    def _refuse(self, refusal: Reject) -> None:
        """Answer that it will not be served."""

    def dispatched(self) -> None:
        """Send the request to the replica it was given to, or answer that there is none."""
        attempt = self._ticket.attempt
        if attempt is None:
            self._refuse(self._ticket.refusal or ALL_FAILED)
            return
        if self._span is not None:
            self._span.dispatched(attempt)
        route = self._plane.route_to(attempt.replica)
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
                self._failed_before_answering(Fault.FAILED, f"does not accept connections: {error or 'timed out'}")
            return
        if self._ended:
            route.pool.put(upstream)
        else:
            self._send(upstream, route)

    def _send(self, upstream: UpstreamConnection, route: ReplicaRoute) -> None:
        head = self._incoming.upstream_head(route.head_end, self._request_id, len(self._body))
        self.upstream = upstream
        upstream.send(self, head, self._body)

    # --- failures

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """The replica broke off: try another, or tell the client that its answer ends here."""
        if self._ended:
            return
        if self.answer.head is None:
            upstream = self.upstream
            is_stale = upstream is not None and upstream.used > 1 and upstream.received == 0
            self._failed_before_answering(Fault.STALE_CONNECTION if is_stale else Fault.FAILED, reason)
            return
        whole = between_chunks or self.answer.is_resumed
        if not (whole and self._resume(Fault.FAILED, reason)):
            self._blame(reason)
            self._break(f"the replica {reason} before the answer was complete", whole=whole)

    def timed_out(self, timeout_s: float) -> None:
        """The replica sent nothing for too long."""
        upstream = self.upstream
        if upstream is None or self._ticket.attempt is None or self._ended:
            return
        reason = f"sent nothing for {timeout_s:g} s"
        between_chunks = upstream.between_chunks
        upstream.abandon()
        if self.answer.head is not None:
            self.upstream_failed(reason, between_chunks=between_chunks)
            return
        self._blame(reason)
        self._refuse(Reject(Outcome.REPLICA_TIMEOUT, 1.0, f"the replica {reason}"))

    def _going_away(self) -> None:
        """The replica is stopping and has not begun: another takes the request."""
        attempt, upstream = self._ticket.attempt, self.upstream
        if attempt is not None and not attempt.replica.leaving:
            _log.info("replica is leaving", replica=attempt.replica.replica_id)
        self.upstream = None
        if upstream is not None:
            upstream.abandon()
        self._flow.fail(self._ticket, Fault.LEAVING, self)

    def _failed_before_answering(self, fault: Fault, reason: str) -> None:
        """No byte of the answer has come: the request can go elsewhere."""
        self.upstream = None
        if self._ticket.attempt is None:
            return
        self._plane.meters.model(self._ticket.request.model).retries += 1
        if fault is Fault.FAILED:
            self._log_failure(reason)
        self._flow.fail(self._ticket, fault, self)

    def _blame(self, reason: str) -> None:
        """The replica failed and nobody else goes on: leave it out for a while."""
        self._log_failure(reason)
        self._flow.dispatcher.blame(self._ticket, self._plane.now_s())

    def _log_failure(self, reason: str) -> None:
        attempt = self._ticket.attempt
        if attempt is not None and attempt.replica.accepting:  # once, not for each of its requests
            _log.warning("replica failed a request", replica=attempt.replica.replica_id, reason=reason)

    # --- streams that another replica goes on with

    def _engine_gave_up(self) -> bool:
        """The engine says in its stream that it cannot go on; tell whether another replica will, instead."""
        upstream = self.upstream
        gone_on = not self._ended and self._resume(Fault.GAVE_UP, "gave up")
        if gone_on and upstream is not None:
            upstream.abandon()
        return gone_on

    def _resume(self, fault: Fault, reason: str) -> bool:
        """Let another replica go on with the stream from the text the client has; tell whether that can be asked."""
        if self._ticket.attempt is None:
            return False
        body = self.answer.resume()
        if body is None:
            return False
        if fault is Fault.FAILED:
            self._log_failure(reason)
        if not body:  # all of the text was there
            if fault is Fault.FAILED:
                self._flow.dispatcher.blame(self._ticket, self._plane.now_s())
            self._end(Outcome.OK)
            self._client.exchange_ended(keep_alive=self.answer.keep_alive)
            return True
        self._body = body
        self.upstream = None
        self._ticket.is_resumed = True
        self._plane.meters.model(self._ticket.request.model).resumed += 1
        self._flow.fail(self._ticket, fault, self)
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

    def failed_inside(self) -> None:
        """The gateway itself failed with it."""
        if not self._ended:
            if self.upstream is not None:
                self.upstream.abandon()
            self._refuse(Reject(Outcome.INTERNAL, 1.0, "the gateway failed; it has logged why"))
