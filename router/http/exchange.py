"""One request on its way: to a replica, to another if that one fails, and its answer back to the client."""

import asyncio
from http import HTTPStatus
from typing import Protocol

from router.http.attempt import Attempt
from router.http.auth import Tenant
from router.http.chunked import LAST_CHUNK, chunk, payload
from router.http.data_plane import MAX_ATTEMPTS, DataPlane, ReplicaRoute
from router.http.incoming import IncomingRequest
from router.http.response_head import CHUNKED, UNTIL_CLOSE, ResponseHead
from router.http.responses import error_body, error_event, response
from router.http.resume import RESUMABLE_PATHS, ResumedStream, continuation_body
from router.http.sent_text import SentText
from router.http.upstream import Sink, UpstreamConnection
from router.http.usage import read_answer
from router.outcome import HTTP_STATUS, Outcome
from router.outlook import Usage
from router.request import RoutingRequest

MAX_KEPT_ANSWER = 64 * 1024
"""Longer answers that are not streamed are not kept to read their usage from."""


class Client(Protocol):
    """The client's side of an exchange."""

    transport: asyncio.Transport

    def exchange_ended(self, *, keep_alive: bool) -> None:
        """The answer has been written; the next request may be served unless the connection must close."""
        ...

    def exchange_broken(self) -> None:
        """The answer cannot be completed: the connection must break, so that the client sees it."""
        ...


class Exchange:
    """One request and its answer.

    Its life is `start` → an upstream connection → `upstream_head` → bytes to its sink … → `upstream_done`. A replica
    that fails before its head sends it back to `start`, and so does one that dies within a stream that another can
    go on with. The client leaving ends it at any point.

    Attributes:
        head_request: the method was HEAD: no body follows the head.
        upstream: the connection that carries it now, None while there is none.
    """

    __slots__ = (
        "_attempt",
        "_attempts",
        "_began_s",
        "_body",
        "_client",
        "_collected",
        "_ended",
        "_head",
        "_incoming",
        "_keep_alive",
        "_kept",
        "_plane",
        "_request",
        "_request_id",
        "_resumed",
        "_sent",
        "_tenant",
        "_tried",
        "head_request",
        "upstream",
    )

    def __init__(
        self, plane: DataPlane, client: Client, incoming: IncomingRequest, request: RoutingRequest, tenant: Tenant
    ) -> None:
        self._plane = plane
        self._client = client
        self._incoming = incoming
        self._request = request
        self._request_id = request.request_id.encode()
        self._tenant = tenant
        self._tried: set[str] = set()
        self._attempts = 0
        self._attempt: Attempt | None = None
        self._head: ResponseHead | None = None
        self._body = incoming.body
        self._collected: list[bytes] | None = None
        self._kept: list[bytes] = []
        self._sent: SentText | None = None
        self._resumed: ResumedStream | None = None
        self._ended = False
        self._keep_alive = incoming.keep_alive
        self._began_s = plane.now_s()
        self.head_request = incoming.method == b"HEAD"
        self.upstream: UpstreamConnection | None = None

    def start(self) -> None:
        """Pick a replica and send the request there."""
        plane = self._plane
        self._attempts += 1
        attempt = Attempt.begin(plane, self._request, self._tried) if self._attempts <= MAX_ATTEMPTS else None
        self._attempt = attempt
        if attempt is None:
            if self._tried:
                self._refuse(Outcome.REPLICA_FAILED, "every replica that was tried failed before answering")
            else:
                self._refuse(
                    Outcome.NO_REPLICA, f"no replica of model {self._request.model!r} is ready; try again soon"
                )
            return
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

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Start the answer to the client with the replica's own head."""
        attempt = self._attempt
        write = self._client.transport.write
        if attempt is None:
            return write
        if head.retry_elsewhere:
            self._going_away()
            return write
        plane = self._plane
        plane.fleet.succeeded(attempt.decision.replica)
        if self._resumed is not None:
            return self._resumed_head(head, body, self._resumed)
        self._head = head
        if self._incoming.http_1_0 and head.length == CHUNKED:
            self._collected = [body]
            return self._collected.append
        if head.length == UNTIL_CLOSE or plane.draining:
            self._keep_alive = False
        connection = b"\r\n" if self._keep_alive else b"connection: close\r\n\r\n"
        write(b"".join((head.lines, self._own_headers(), connection, body)))
        sink = self._sink_for(head, body)
        if body or head.length == 0:
            self._first_bytes()
            return sink

        def first(data: bytes) -> None:
            self._first_bytes()
            if self.upstream is not None:
                self.upstream.sink = sink
            sink(data)

        return first

    def _sink_for(self, head: ResponseHead, body: bytes) -> Sink:
        """Return where the body goes: to the client, and beside it to whom it is kept for."""
        write = self._client.transport.write
        request = self._request
        if request.stream and head.length == CHUNKED and request.path in RESUMABLE_PATHS and _is_events(head):
            self._sent = SentText()
            keep = self._sent.keep
        elif self._attempt is not None and self._attempt.is_watched and head.length <= MAX_KEPT_ANSWER:
            keep = self._kept.append
        else:
            return write
        keep(body)

        def write_and_keep(data: bytes) -> None:
            write(data)
            keep(data)

        return write_and_keep

    def _first_bytes(self) -> None:
        """The body begins: with a stream's first token, or the whole of another answer."""
        plane = self._plane
        plane.meters.model(self._request.model).ttfb_s.observe(plane.now_s() - self._began_s)
        if self._attempt is not None:
            self._attempt.first_bytes()

    def _own_headers(self) -> bytes:
        lines = b"x-request-id: " + self._request_id + b"\r\n"
        if self._attempt is not None and b"x-rackserve-explain" in self._incoming.headers:
            lines += self._attempt.explanation()
        return lines

    def upstream_done(self) -> None:
        """The answer is complete."""
        head = self._head
        if self._ended or head is None:
            return
        if self._resumed is not None:
            self._client.transport.write(LAST_CHUNK)
        elif self._collected is not None:
            body = payload(b"".join(self._collected))
            lines = head.lines.lower().replace(b"transfer-encoding: chunked\r\n", b"")
            self._keep_alive = False
            self._client.transport.write(
                b"%s%scontent-length: %d\r\nconnection: close\r\n\r\n%s" % (lines, self._own_headers(), len(body), body)
            )
        if head.status < HTTPStatus.BAD_REQUEST:
            self._learn()
            self._end(Outcome.OK)
        else:
            self._end(Outcome.UPSTREAM_STATUS)
        self._client.exchange_ended(keep_alive=self._keep_alive)

    def _learn(self) -> None:
        """Tell how it went to whoever learns from it."""
        attempt = self._attempt
        if attempt is None:
            return
        usage, reply = Usage(), b""
        if attempt.is_watched and self._resumed is None:
            usage, reply = read_answer(self._request.path, self._sent, self._kept)
        attempt.answered(usage, reply, streamed=self._request.stream)

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """The replica broke off: try another, or tell the client that its answer ends here."""
        if self._ended:
            return
        if self._head is None:
            self._attempt_failed(reason)
            return
        if self._attempt is not None:
            self._plane.replica_failed(self._attempt.decision.replica, reason)
        whole = between_chunks or self._resumed is not None
        if not (whole and self._resume()):
            self._break(f"the replica {reason} before the answer was complete", whole=whole)

    def _resume(self) -> bool:
        """Let another replica go on with the stream from the text the client has; tell whether that can be asked."""
        sent = self._sent
        attempt = self._attempt
        if sent is None or attempt is None:
            return False
        sent.fold()
        if sent.finished:
            # All the text is there; only the stream's own end is missing.
            self._client.transport.write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
            self._end(Outcome.OK)
            self._client.exchange_ended(keep_alive=self._keep_alive)
            return True
        body = continuation_body(self._request.path, self._incoming.body, sent)
        if body is None:
            return False
        self._body = body
        self._resumed = ResumedStream(sent)
        self.upstream = None
        self._tried.add(attempt.replica_id)
        attempt.given_up(Outcome.REPLICA_FAILED)
        self._plane.meters.model(self._request.model).resumed += 1
        self.start()
        return True

    def _resumed_head(self, head: ResponseHead, body: bytes, resumed: ResumedStream) -> Sink:
        """The replica that goes on answers: its events follow, its head does not."""
        write = self._client.transport.write
        if head.status != HTTPStatus.OK or head.length != CHUNKED:
            if self.upstream is not None:
                self.upstream.abandon()
            self._break(f"the stream could not be resumed: another replica answered {head.status}", whole=True)
            return write

        def write_rest(data: bytes) -> None:
            rest = resumed.feed(data)
            if rest:
                write(rest)

        write_rest(body)
        return write_rest

    def _break(self, message: str, *, whole: bool) -> None:
        """End an answer that cannot be completed; `whole`: what was sent ends with a whole chunk."""
        head = self._head
        self._end(Outcome.REPLICA_FAILED)
        if whole and self._collected is None and head is not None and _is_events(head):
            self._client.transport.write(chunk(error_event(Outcome.REPLICA_FAILED, message)) + LAST_CHUNK)
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
        self.start()

    def _going_away(self) -> None:
        """The replica is stopping and has not begun: another takes the request."""
        attempt = self._attempt
        upstream = self.upstream
        self.upstream = None
        if upstream is not None:
            upstream.abandon()
        if attempt is not None:
            attempt.given_up(Outcome.REPLICA_FAILED)
            self._tried.add(attempt.replica_id)
            self._attempts -= 1
            self.start()

    def fold(self) -> None:
        """Keep what was sent for a possible resumption as text instead of events; called now and then."""
        if self._sent is not None:
            self._sent.fold_if_long()

    def timed_out(self, timeout_s: float) -> None:
        """The replica sent nothing for too long."""
        upstream = self.upstream
        attempt = self._attempt
        if upstream is None or attempt is None or self._ended:
            return
        reason = f"sent nothing for {timeout_s:g} s"
        between_chunks = upstream.between_chunks
        upstream.abandon()
        if self._head is not None:
            self.upstream_failed(reason, between_chunks=between_chunks)
            return
        self._plane.replica_failed(attempt.decision.replica, reason)
        self._refuse(Outcome.REPLICA_TIMEOUT, f"the replica {reason}")

    def model_timeout_s(self) -> float:
        """Return how long the replica may send nothing."""
        return self._plane.request_timeouts_s.get(self._request.model, float("inf"))

    def client_left(self) -> None:
        """Nobody waits for the answer any more: closing the connection makes the engine abort."""
        if self._ended:
            return
        upstream = self.upstream
        self._end(Outcome.CLIENT_LEFT)
        if upstream is not None:
            upstream.abandon()

    def _refuse(self, outcome: Outcome, message: str) -> None:
        if self._head is not None:
            self._break(message, whole=True)
            return
        self._end(outcome)
        headers = self._own_headers()
        if HTTP_STATUS[outcome] == HTTP_STATUS[Outcome.NO_REPLICA]:
            headers += b"retry-after: 1\r\n"
        keep_alive = self._keep_alive and not self._plane.draining
        self._client.transport.write(
            response(
                HTTP_STATUS[outcome],
                error_body(outcome, message),
                headers=headers,
                close=not keep_alive,
                head_only=self.head_request,
            )
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
        plane.meters.ended(model, self._tenant.name, outcome)
        meters = plane.meters.model(model)
        meters.duration_s.observe(plane.now_s() - self._began_s)
        meters.body_bytes += len(self._incoming.body)
        if upstream is not None:
            meters.response_bytes += upstream.received
        self.upstream = None


def _is_events(head: ResponseHead) -> bool:
    return b"text/event-stream" in head.lines.lower()
