"""Sends a request to its replica and, if that fails, to another one, which begins anew or continues the stream."""

import asyncio
from abc import ABC, abstractmethod

import structlog

from router.dispatch.dispatcher import ALL_FAILED
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.flow_control.verdict import Reject
from router.http.client import Client
from router.http.data_plane import DataPlane
from router.http.model_flow import ModelFlow
from router.http.relayed_answer import RelayedAnswer
from router.http.replica_route import ReplicaRoute
from router.http.tracing import RequestSpan
from router.http.wire.incoming import IncomingRequest
from router.http.wire.response_head import ResponseHead
from router.http.wire.upstream import Sink, UpstreamConnection
from router.outcome import Outcome

_log = structlog.get_logger("rackserve.gateway")


class Failover(ABC):
    """The part of an exchange that sends the request to its replica, and acts when the replica fails.

    `dispatched` takes or opens a connection and sends the request; `upstream_head` of the exchange follows. A request
    that fails before the first byte of its answer goes to another replica. A stream that breaks is continued by another
    replica from the text already sent, if it can be (see `router/http/api/resume.py`).

    Attributes:
        answer: the client's answer.
        head_request: the method is HEAD, so no body follows the head.
        upstream: the connection to the replica; None while there is none.
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
        """Begin the client's answer with the replica's head; return the function that takes the rest of the body."""

    @abstractmethod
    def upstream_done(self) -> None:
        """Complete the client's answer, as the replica's answer is complete."""

    @abstractmethod
    def _end(self, outcome: Outcome, usage: Usage = ...) -> None:
        """Give back the request's reservations and count its outcome; called exactly once."""

    @abstractmethod
    def _refuse(self, refusal: Reject) -> None:
        """Answer that the request will not be served."""

    def dispatched(self) -> None:
        """Send the request to the replica that the dispatcher picked, or answer the dispatcher's refusal."""
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
        head = self._incoming.upstream_head(
            route.path_prefix, route.head_end, route.forwarded, self._request_id, len(self._body)
        )
        self.upstream = upstream
        upstream.send(self, head, self._body)

    # --- failures

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """Try another replica, as this one broke off; if that is not possible, break the client's answer.

        Args:
            reason: what the replica did, for the log and the client: "closed the connection".
            between_chunks: what was sent of the answer ends with a whole chunk.
        """
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
        """Give up on the replica, as it sent nothing for `timeout_s` seconds."""
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
        """Give the request to another replica, as this one is stopping and has not begun it."""
        attempt, upstream = self._ticket.attempt, self.upstream
        if attempt is not None and not attempt.replica.leaving:
            _log.info("replica is leaving", replica=attempt.replica.replica_id)
        self.upstream = None
        if upstream is not None:
            upstream.abandon()
        self._flow.fail(self._ticket, Fault.LEAVING, self)

    def _failed_before_answering(self, fault: Fault, reason: str) -> None:
        """Give the request to another replica: no byte of its answer has come, so another can begin anew."""
        self.upstream = None
        if self._ticket.attempt is None:
            return
        self._plane.meters.model(self._ticket.request.model).retries += 1
        if fault is Fault.FAILED:
            self._log_failure(reason)
        self._flow.fail(self._ticket, fault, self)

    def _blame(self, reason: str) -> None:
        """Leave the replica out for a while: it failed, and no other replica takes the request over."""
        self._log_failure(reason)
        self._flow.dispatcher.blame(self._ticket, self._plane.now_s())

    def _log_failure(self, reason: str) -> None:
        attempt = self._ticket.attempt
        if attempt is not None and attempt.replica.accepting:  # log once, not for each request on the replica
            _log.warning("replica failed a request", replica=attempt.replica.replica_id, reason=reason)

    # --- streams that another replica continues

    def _engine_gave_up(self) -> bool:
        """Let another replica continue the stream, as this engine gave up on it; return whether one can be asked."""
        upstream = self.upstream
        gone_on = not self._ended and self._resume(Fault.GAVE_UP, "gave up")
        if gone_on and upstream is not None:
            upstream.abandon()
        return gone_on

    def _resume(self, fault: Fault, reason: str) -> bool:
        """Let another replica continue the stream from the text that the client has; return whether one can be asked.

        If all of the text was sent and only the stream's end is missing, the stream is ended here and the result is
        True.
        """
        if self._ticket.attempt is None or not self._plane.spec.resume_streams:
            return False
        body = self.answer.resume()
        if body is None:
            return False
        if fault is Fault.FAILED:
            self._log_failure(reason)
        if not body:  # all of the text has been sent
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
        """Return where the body of the continuing replica goes: its events are passed on, its head is not."""
        sink = self.answer.go_on(head, body, self._engine_gave_up)
        if sink is not None:
            return sink
        if self.upstream is not None:
            self.upstream.abandon()
        self._break(f"the stream could not be resumed: another replica answered {head.status}", whole=True)
        return self._client.transport.write

    def _break(self, message: str, *, whole: bool) -> None:
        """End an answer that cannot be completed.

        Args:
            message: what happened, for the client.
            whole: what was sent ends with a whole chunk, so an error event may follow.
        """
        self._end(Outcome.REPLICA_FAILED)
        self.answer.break_off(Outcome.REPLICA_FAILED, message, whole=whole)
        self._client.exchange_broken()

    def failed_inside(self) -> None:
        """Refuse the request, as the gateway itself failed with it."""
        if not self._ended:
            if self.upstream is not None:
                self.upstream.abandon()
            self._refuse(Reject(Outcome.INTERNAL, 1.0, "the gateway failed; it has logged why"))
