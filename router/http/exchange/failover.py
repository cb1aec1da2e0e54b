"""Sends a request to its replica and, if that fails, to another one, which begins anew or continues the stream."""

import asyncio
import time
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import Final

import structlog

from router.dispatch.resends import ALL_FAILED
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.flow_control.verdict import Reject, reject
from router.http.api.answers.usage import UNKNOWN
from router.http.api.error_status import FAULTS
from router.http.api.repeatable import is_repeatable
from router.http.connection.client import Client
from router.http.data_plane.data_plane import DataPlane
from router.http.data_plane.replica_route import ReplicaRoute
from router.http.data_plane.tracing import RequestSpan
from router.http.exchange.first_leg import FirstLeg
from router.http.exchange.relayed_answer import RelayedAnswer
from router.http.models.model_flow import ModelFlow
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.response_head import ResponseHead
from router.http.wire.upstream.receiver import Sink
from router.http.wire.upstream.retry_after import retry_after_s
from router.http.wire.upstream.unread_answer import UnreadAnswer
from router.http.wire.upstream.upstream import UpstreamConnection
from router.outcome import Outcome

STALE_S: Final = 0.1
"""Seconds after a request was written on a reused connection in which a close without a word was already on its way: a
round trip between any two places of a continent. A replica that closes later has had the request."""
STOPPED: Final = "the gateway stopped before the answer was complete"

_log: Final = structlog.get_logger("rackserve.gateway")


class Failover(ABC):
    """The part of an exchange that sends the request to its replica, and acts when the replica fails.

    `dispatched` takes or opens a connection and sends the request, after another replica has computed its prompt where
    the dispatcher says so (`FirstLeg`); `upstream_head` of the exchange follows. A request that fails before the first
    byte of its answer goes to another replica; so does one that is answered with an error, once. A stream that breaks
    is continued from the text already sent, if it can be (see `router/http/api/answers/resume.py`).

    Attributes:
        answer: the client's answer.
        head_request: the method is HEAD, so no body follows the head.
        upgrades: the replica is asked to change the protocol.
        upstream: the connection to the replica; None while there is none.
    """

    __slots__ = (
        "_body",
        "_client",
        "_ended",
        "_first_leg",
        "_flow",
        "_has_erred",
        "_incoming",
        "_needs_fresh",
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
    _first_leg: FirstLeg | None
    _flow: ModelFlow
    _has_erred: bool
    _incoming: IncomingRequest
    _needs_fresh: bool
    _plane: DataPlane
    _request_id: bytes
    _span: RequestSpan | None
    _ticket: Ticket
    answer: RelayedAnswer
    head_request: bool
    upgrades = False
    upstream: UpstreamConnection | None

    @abstractmethod
    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Begin the client's answer with the replica's head; return the function that takes the rest of the body."""

    @abstractmethod
    def upstream_done(self) -> None:
        """Complete the client's answer, as the replica's answer is complete."""

    @abstractmethod
    def upstream_is_slow(self) -> None:
        """Act on a replica that does not keep up with what is sent to it."""

    @abstractmethod
    def upstream_caught_up(self) -> None:
        """Act on a replica that has taken in most of what was sent to it."""

    @abstractmethod
    def _end(self, outcome: Outcome, usage: Usage = UNKNOWN) -> None:
        """Give back the request's reservations and count its outcome; called exactly once."""

    @abstractmethod
    def _refuse(self, refusal: Reject) -> None:
        """Answer that the request will not be served."""

    def dispatched(self) -> None:
        """Send the request to the replica that the dispatcher picked, or answer the dispatcher's refusal."""
        attempt = self._ticket.attempt
        if attempt is None:
            refusal = self._ticket.refusal or ALL_FAILED
            if refusal is ALL_FAILED:
                failures = self._ticket.failures_told(self._plane.now_s())
                _log.warning("every replica failed a request", request_id=self._ticket.request.request_id, why=failures)
            self._refuse(refusal)
            return
        if self.answer.needs_continuing and not attempt.replica.endpoint.continues_messages:
            self._break("the stream could not be resumed: no replica left is known to continue a message", whole=True)
            return
        leg = self._ticket.prefill
        if leg is not None and leg.done_s is None:
            self._first_leg = self._first_leg or FirstLeg(self._plane, self._flow, self._ticket, self._incoming)
            self._first_leg.start(self._body, self)
            return
        if self._span is not None:
            self._span.dispatched(attempt)
        route = self._plane.route_to(attempt.replica)
        upstream = None if self._needs_fresh else route.pool.take()
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
                fault = Fault.FAILED if isinstance(error, TimeoutError) else Fault.UNREACHED
                self._failed_before_answering(fault, f"does not accept connections: {error or 'timed out'}")
            return
        if self._ended:
            route.pool.put(upstream)
        else:
            self._send(upstream, route)

    def _send(self, upstream: UpstreamConnection, route: ReplicaRoute) -> None:
        body, attempt = self._body, self._ticket.attempt
        if attempt is not None and self._ticket.request.stream and self._plane.spec.resume_streams:
            body = self.answer.body_for(attempt.replica.endpoint, body)
        if self._first_leg is not None:
            body = self._first_leg.body_of_answer(body)
        head = self._incoming.upstream_head(
            route.path_prefix, route.head_end, route.forwarded, self._request_id, len(body)
        )
        self.upstream = upstream
        upstream.send(self, head, body)
        if not self._client.writable:  # it still reads what came before this replica's answer
            upstream.pause()

    # --- failures

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """Try another replica, as this one broke off; if that is not possible, break the client's answer.

        Args:
            reason: what the replica did, for the log and the client: "closed the connection".
            between_chunks: what was sent of the answer ends with a whole chunk.
        """
        if self._ended:
            return
        if self.answer.head is not None:
            self._failed_within_answer(Outcome.REPLICA_FAILED, reason, whole=between_chunks)
        elif self._was_stale():
            self._failed_before_answering(Fault.STALE_CONNECTION, reason)
        elif self._may_be_repeated(HTTPStatus.BAD_GATEWAY):
            self._failed_before_answering(Fault.FAILED, reason)
        else:
            self._blame(reason)
            self._refuse(Reject(Outcome.REPLICA_FAILED, 1.0, f"the replica {reason}; it may have made the response"))

    def _may_be_repeated(self, status: int) -> bool:
        """Tell whether another replica may be asked after one has answered with this status, or not at all."""
        return is_repeatable(self._incoming.method, self._ticket.request.path, self._body, status)

    def _failed_within_answer(self, outcome: Outcome, reason: str, *, whole: bool) -> None:
        if not self._resume(Fault.FAILED, reason):
            self._blame(reason)
            self._break(f"the replica {reason} before the answer was complete", whole=whole, outcome=outcome)

    def _was_stale(self) -> bool:
        """Tell whether the replica was closing an idle connection just as the request was written on it.

        It then has not read the request, so it may be asked again (RFC 9112, section 9.3.1, and RFC 9110, 9.2.2). A
        second time the connection is a new one, which cannot be stale: so a request is repeated once for this reason.
        """
        upstream = self.upstream
        return upstream is not None and not upstream.received and self._closed_at_once(upstream)

    def _was_idle_till_now(self, head: ResponseHead) -> bool:
        """Tell whether a 408 is about the time the connection was idle (RFC 9110, section 15.5.9), so it was stale."""
        return self.upstream is not None and not head.keep_alive and self._closed_at_once(self.upstream)

    def _closed_at_once(self, upstream: UpstreamConnection) -> bool:
        if upstream.used < 2:  # noqa: PLR2004 - its second request, or a later one
            return False
        self._needs_fresh = self._plane.now_s() - self._ticket.request.now_s < STALE_S
        return self._needs_fresh

    def _going_away(self) -> None:
        """Give the request to another replica, as this one is stopping and has not begun it."""
        attempt, upstream = self._ticket.attempt, self.upstream
        if attempt is not None and not attempt.replica.leaving:
            _log.info("replica is leaving", replica=attempt.replica.replica_id)
        self.upstream = None
        if upstream is not None:
            upstream.abandon()
        self._go_elsewhere(Fault.LEAVING)

    def _answered_well(self) -> None:
        """Note that the replica begins to answer."""
        attempt = self._ticket.attempt
        if self._flow.dispatcher.answers(self._ticket, self._plane.now_s()) and attempt is not None:
            _log.info("replica answers again", replica=attempt.replica.replica_id)

    def _answered_error(self, head: ResponseHead) -> Sink | None:
        """Judge a replica that answers with an error, and give the request to another one if that may help.

        Returns:
            The function that drops the rest of the answer; None: this answer is the client's.
        """
        attempt, upstream, ticket = self._ticket.attempt, self.upstream, self._ticket
        fault = FAULTS.get(head.status)
        judge, now_s = self._flow.dispatcher.judge, self._plane.now_s()
        if fault is None or attempt is None or upstream is None:
            if head.status == HTTPStatus.REQUEST_TIMEOUT and self._was_idle_till_now(head):
                return self._unread(Fault.STALE_CONNECTION)
            judge.refuses(ticket, now_s)
            return None
        health = attempt.replica.health
        was_failing = health.is_failing
        goes_on = judge.answers_error(
            ticket,
            fault,
            now_s,
            retry_after_s=retry_after_s(head.lines, time.time()) if fault is Fault.BUSY else None,
            is_repeatable=self._may_be_repeated(head.status),
        )
        if health.is_failing and not was_failing:  # log once, not for each request on the replica
            _log.warning("replica answers with errors", replica=attempt.replica.replica_id, status=head.status)
        return self._unread(fault) if goes_on else None

    def _unread(self, fault: Fault) -> Sink | None:
        """Give the request to another replica; return the function that drops the rest of this one's answer."""
        upstream = self.upstream
        if upstream is None:
            return None
        unread = UnreadAnswer(upstream)
        upstream.hand_over(unread)
        self.upstream = None
        self._go_elsewhere(fault)
        return unread.drop

    def _failed_before_answering(self, fault: Fault, reason: str) -> None:
        """Give the request to another replica: no byte of its answer has come, so another can begin anew."""
        self.upstream = None
        if self._ticket.attempt is not None:
            if fault in {Fault.FAILED, Fault.UNREACHED}:
                self._log_failure(reason)
            self._go_elsewhere(fault)

    def _go_elsewhere(self, fault: Fault) -> None:
        """Have the dispatcher pick again, and count it if the request is sent again."""
        self._flow.fail(self._ticket, fault, self)
        if self._ticket.refusal is None:
            self._plane.meters.model(self._ticket.request.model).retries[fault] += 1

    def _blame(self, reason: str) -> None:
        """Leave the replica out for a while: it failed, and no other replica takes the request over."""
        self._log_failure(reason)
        self._flow.dispatcher.blame(self._ticket, self._plane.now_s())

    def _log_failure(self, reason: str) -> None:
        if (
            attempt := self._ticket.attempt
        ) is not None and attempt.replica.accepting:  # log once, not for each request on the replica
            _log.warning("replica failed a request", replica=attempt.replica.replica_id, reason=reason)

    # --- streams that another replica continues

    def _engine_gave_up(self) -> bool:
        """Let another replica continue the stream, as this engine gave up on it; return whether one can be asked."""
        upstream = self.upstream
        has_other = not self._ended and self._flow.dispatcher.judge.has_other(self._ticket)
        gone_on = has_other and self._resume(Fault.GAVE_UP, "gave up")
        if gone_on and upstream is not None:
            upstream.abandon()
        elif not self._ended:
            self._has_erred = True
            self._flow.dispatcher.judge.gives_up(self._ticket, self._plane.now_s())
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
        if not body:  # all of the text has been sent
            if fault is Fault.FAILED:
                self._blame(reason)
            self._end(Outcome.OK, self.answer.usage(with_reply=False)[0])
            self._client.exchange_ended(keep_alive=self.answer.keep_alive)
            return True
        if self.answer.needs_continuing and not self._flow.dispatcher.judge.leaves_continuing(self._ticket):
            return False
        if fault is Fault.FAILED:
            self._log_failure(reason)
        self._body = body
        self.upstream = None
        self._ticket.is_resumed = True
        if fault is Fault.DIFFERED:
            self._go_elsewhere(fault)
            return True
        self._plane.meters.model(self._ticket.request.model).resumed += 1
        self._flow.fail(self._ticket, fault, self)
        return True

    def _resumed_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Return where the body of the continuing replica goes: its events are passed on, its head is not."""
        sink = self.answer.go_on(head, body, self._engine_gave_up, self._strayed)
        if sink is not None:
            return sink
        if self.upstream is not None:
            self.upstream.abandon()
        self._break(f"the stream could not be resumed: another replica answered {head.status}", whole=True)
        return self._client.transport.write

    def _strayed(self) -> None:
        """Ask anew, or end the stream, as the replica that was to continue its text says something else."""
        if self.upstream is not None:
            self.upstream.abandon()
        if not (self._ended or (self.answer.differs and self._resume(Fault.DIFFERED, "repeats in other words"))):
            self._break("the stream could not be resumed: another replica did not continue its text", whole=True)

    def _break(self, message: str, *, whole: bool, outcome: Outcome = Outcome.REPLICA_FAILED) -> None:
        """End an answer that cannot be completed.

        Args:
            message: what happened, for the client.
            whole: what came ends with a whole chunk, so an error event may follow.
            outcome: how the request ended.
        """
        self._end(outcome)
        self.answer.break_off(outcome, message, whole=whole)
        self._client.exchange_broken()

    def gateway_ends(self) -> None:
        """End the answer, as the gateway stops before it is complete."""
        if self._ended:
            return
        upstream = self.upstream
        whole = upstream is not None and upstream.between_chunks
        if upstream is not None:
            upstream.abandon()
        if self.answer.head is None:
            self._refuse(reject(Outcome.SHUTTING_DOWN, 1.0, STOPPED))
        else:
            self._break(STOPPED, whole=whole, outcome=Outcome.SHUTTING_DOWN)

    def failed_inside(self) -> None:
        """Refuse the request, as the gateway itself failed with it."""
        if not self._ended:
            if self.upstream is not None:
                self.upstream.abandon()
            self._refuse(Reject(Outcome.INTERNAL, 1.0, "the gateway failed; it has logged why"))
