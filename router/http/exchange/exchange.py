"""One request and its answer: offers it to its model's dispatcher, sends it to a replica and answers the client."""

from http import HTTPStatus
from math import inf
from typing import Final

from router.dispatch.attempt import Attempt
from router.estimator.expectation import Usage
from router.flow_control.priority import Priority
from router.flow_control.verdict import Reject
from router.http.access_control.auth import Tenant
from router.http.api.errors import error_body
from router.http.api.rate_limit_headers import rate_limit_headers
from router.http.api.response_id import CREATE_RESPONSE
from router.http.connection.client import Client
from router.http.data_plane.access_log import AccessEntry, peer_of
from router.http.data_plane.data_plane import DataPlane
from router.http.data_plane.response_owners import ResponseOwner
from router.http.exchange.client_probe import probe_client
from router.http.exchange.early_answer import STREAMED_PATHS
from router.http.exchange.explain_headers import explain_headers
from router.http.exchange.relayed_answer import RelayedAnswer
from router.http.exchange.silence import SilenceFailover
from router.http.exchange.whole_answer import is_incomplete, until_whole
from router.http.models.model_flow import ModelFlow
from router.http.usage.used import Subject
from router.http.wire.request.incoming import IncomingRequest
from router.http.wire.response_head import UNTIL_CLOSE, ResponseHead
from router.http.wire.responses import response
from router.http.wire.upstream.receiver import Sink
from router.outcome import HTTP_STATUS, Outcome
from router.prompt.chunk_chain import ChunkChain
from router.request import RoutingRequest

_OK: Final = Outcome.OK  # looking up an enum's member takes ten times as long as looking up a global
_COST_NOTHING: Final = Usage(0, 0, 0)
"""Usage of a request that is refused, by the gateway or by its replica."""
_UNKNOWN: Final = Usage()
"""Usage of a request whose answer does not say its tokens."""


class Exchange(SilenceFailover):
    """One request and its answer.

    Its life is `start` → (a wait) → `dispatched` → an upstream connection → `upstream_head` → bytes to the client … →
    `upstream_done`. If the replica fails before its head, answers with an error, or fails within a stream that another
    replica can continue, the request goes back to the dispatcher (see `Failover`; `SilenceFailover` for replicas that
    hang). It ends at any point if the client leaves.

    Args:
        plane: the gateway's shared state.
        flow: the model's dispatcher on the event loop.
        client: the client's connection.
        incoming: the request as it came.
        request: the same request, as routing sees it.
        tenant: the tenant it belongs to.
        priority: its class.
        wait_s: seconds it may wait for room; infinite: the model's own bounds apply.
    """

    __slots__ = ("_beat_s", "_began_s", "_priority", "_request", "_tenant", "_wait_s")

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
        self._priority = priority
        self._wait_s = wait_s
        self._body = incoming.body
        self._first_leg = None
        self._has_erred = False
        self._needs_fresh = False
        self._ended = True  # nothing is to be given back until the dispatcher has the request
        self._began_s = self._beat_s = plane.now_s()
        self._span = plane.tracer.begin(incoming, request, tenant.name) if plane.tracer is not None else None
        self.answer = RelayedAnswer(client.transport, incoming, request)
        self.head_request = incoming.method == b"HEAD"
        self.upstream = None

    def start(self) -> None:
        """Offer the request to the dispatcher; `dispatched` follows, at once or later."""
        self._ticket = self._flow.dispatcher.offer(
            self._request,
            self._tenant.name,
            self._began_s,
            priority=self._priority,
            size_bytes=len(self._body),
            deadline_s=self._began_s + self._wait_s,
        )
        self._ended = False
        self._flow.offered(self._ticket, self)

    # --- the answer

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Begin the client's answer, or go on with a resumed one, now that the replica's head is here.

        Args:
            head: the replica's head.
            body: the first bytes of the body, if any came with the head.

        Returns:
            The function that takes the rest of the body.
        """
        answer = self.answer
        if self.upstream is not None:
            self.upstream.pool.signs_of_life += 1
        if self._ticket.attempt is None:
            return self._client.transport.write
        if head.retry_elsewhere:
            self._going_away()
            return self._client.transport.write
        if not head.is_error:
            self._answered_well()
        elif (unread := self._answered_error(head)) is not None:
            return unread
        return self._resumed_head(head, body) if answer.is_resumed else self._begin(head, body, self._ticket.attempt)

    def _begin(self, head: ResponseHead, body: bytes, attempt: Attempt) -> Sink:
        if is_incomplete(head, body) and not self.head_request:
            return until_whole(head, body, lambda whole: self._begin(head, whole, attempt))
        answer = self.answer
        if self._plane.draining and not answer.is_early:
            answer.keep_alive = False
        upstream = self.upstream
        sink = answer.begin(head, body, self._own_headers(attempt), self._engine_gave_up)
        if self.upstream is not upstream:
            return sink  # the engine gave up with its first bytes
        if self._request.path == CREATE_RESPONSE and not head.is_error:
            sink = self._noting_response(attempt.replica.replica_id, sink, body)
        is_error = head.is_error
        if body or head.length == 0 or is_error:
            self._first_bytes(is_error=is_error)
            return sink

        def first(data: bytes) -> None:
            self._first_bytes()
            if self.upstream is not None:
                self.upstream.sink = sink
            sink(data)

        return first

    def _noting_response(self, replica_id: str, sink: Sink, body: bytes) -> Sink:
        """Return a sink that remembers which replica made the response that is being answered; `sink` once it does."""
        owners = self._plane.response_owners
        owner = ResponseOwner(self._request.model, replica_id, self._tenant.name)
        beginning = body
        if owners.note_answer(beginning, owner):
            return sink

        def look(data: bytes) -> None:
            nonlocal beginning
            sink(data)
            beginning += data
            if owners.note_answer(beginning, owner) and self.upstream is not None:
                self.upstream.sink = sink

        return look

    def _first_bytes(self, *, is_error: bool = False) -> None:
        """Note the time of the answer's first bytes; those of the body, but of an error's head.

        They are a stream's first token, or an answer that is not streamed. An error says nothing of either: a quick
        one must not make its replica look fast.
        """
        now_s = self._plane.now_s()
        self._plane.meters.model(self._request.model).ttfb_s.observe(now_s - self._began_s)
        if not is_error:
            self._flow.dispatcher.first_token(self._ticket, now_s)
        if self._span is not None:
            self._span.first_bytes()

    def _own_headers(self, attempt: Attempt | None) -> bytes:
        lines = b"x-request-id: %s\r\n%s" % (self._request_id, self._incoming.answer_headers)
        plane = self._plane
        if plane.models.rates.applies:
            lines += rate_limit_headers(plane.models.rates, self._tenant.name, self._request.path, plane.now_s())
        if attempt is not None and b"x-rackserve-explain" in self._incoming.headers:
            waited_s = self._request.now_s - self._began_s
            lines += explain_headers(attempt) + b"x-rackserve-waited-ms: %d\r\n" % round(1000 * waited_s)
        return lines

    def upstream_done(self) -> None:
        """Complete the client's answer and learn from it, as the replica's answer is complete."""
        head = self.answer.head
        if self._ended or head is None:
            return
        if head.length == UNTIL_CLOSE and self.answer.lacks_its_end:
            self.upstream_failed("closed the connection", between_chunks=False)
            return
        self.answer.complete()
        if self._has_erred:
            self._end(Outcome.REPLICA_FAILED, self.answer.usage(with_reply=False)[0])
        elif not head.is_error:
            is_learned_from = self._flow.dispatcher.estimator.reads_prompts and self._ticket.attempt is not None
            usage, reply = self.answer.usage(with_reply=is_learned_from)
            if self._ticket.prefill is not None:  # where the prompt was fetched, the other replica knows what it cost
                cached = self._ticket.prefill.usage.cached_tokens
                usage = Usage(usage.prompt_tokens, cached, usage.completion_tokens, usage.reasoning_tokens)
            chain = self._request.chain
            added = self._plane.hasher.extension(chain, reply) if reply and len(chain) else None
            self._end(_OK, usage, is_whole=True, added=added)
        else:
            self._end(Outcome.UPSTREAM_STATUS, _COST_NOTHING)
        self._client.exchange_ended(keep_alive=self.answer.keep_alive)

    # --- from outside

    def upstream_is_slow(self) -> None:
        """Do nothing: the whole request is in memory anyway."""

    def upstream_caught_up(self) -> None:
        """Do nothing: see `upstream_is_slow`."""

    def client_is_slow(self) -> None:
        """Stop reading from the replica."""
        if self.upstream is not None:
            self.upstream.pause()

    def client_caught_up(self) -> None:
        """Read from the replica again."""
        if self.upstream is not None:
            self.upstream.resume()

    def probe_client(self) -> None:
        """Write something that means nothing, unless the answer's bytes flow."""
        attempt = None if self._ended else self._ticket.attempt
        if attempt is None or attempt.record.ttft_s is None:
            probe_client(self._client.transport, self._incoming, self.answer)

    def client_sent(self, data: bytes) -> bool:
        """Leave the bytes to the connection: they are the client's next request."""
        del data
        return False

    def tick(self) -> None:
        """Give up on a replica that sends nothing, and bound what is kept of the answer."""
        if self._plane.spec.heartbeat_s:
            self._beat()
        upstream = self.upstream
        if upstream is None:
            return
        self.answer.fold()
        if not upstream.quiet_ticks and upstream.received:
            upstream.pool.signs_of_life += 1
        upstream.tick()
        self.act_on_silence(upstream)

    def _beat(self) -> None:
        """Tell a client that waits for a stream's first bytes that it still does, once in each `heartbeat_s`."""
        request, answer, attempt = self._request, self.answer, self._ticket.attempt
        if self._ended or not request.stream or request.path not in STREAMED_PATHS:
            return
        if answer.is_resumed or (attempt is not None and attempt.record.ttft_s is not None):
            return  # the stream flows, or did
        plane = self._plane
        now_s = plane.now_s()
        if now_s - self._beat_s >= plane.spec.heartbeat_s:
            self._beat_s = now_s
            if plane.draining and answer.head is None and not answer.is_early:
                answer.keep_alive = False
            answer.beat(self._own_headers(attempt))

    def client_left(self) -> None:
        """End the request, as its client is gone; closing the replica's connection makes the engine abort."""
        if self._ended:
            return
        upstream = self.upstream
        self._end(Outcome.CLIENT_LEFT)
        if upstream is not None:
            upstream.abandon()

    def _refuse(self, refusal: Reject) -> None:
        if self.answer.head is not None:
            self._break(refusal.message, whole=True, outcome=refusal.outcome)
            return
        outcome = refusal.outcome
        if self.answer.is_early:
            self._end(outcome, _COST_NOTHING)
            self.answer.refuse_early(outcome, refusal.message)
            self._client.exchange_ended(keep_alive=self.answer.keep_alive)
            return
        headers = self._own_headers(self._ticket.attempt)
        self._end(outcome, _COST_NOTHING)
        status = HTTP_STATUS[outcome]
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            headers += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (refusal.retry_after, refusal.retry_after_ms)
        keep_alive = self.answer.keep_alive and not self._plane.draining
        body = error_body(outcome, refusal.message, path=self._incoming.path, request_id=self._request_id)
        self._client.transport.write(
            response(
                status,
                body,
                headers=headers,
                close=not keep_alive,
                http_1_0=self._incoming.http_1_0,
                head_only=self.head_request,
            )
        )
        self._client.exchange_ended(keep_alive=keep_alive)

    def _end(
        self, outcome: Outcome, usage: Usage = _UNKNOWN, *, is_whole: bool = False, added: ChunkChain | None = None
    ) -> None:
        """Give back the request's reservations and count its outcome; called exactly once.

        `usage` is what the answer reported. With `is_whole` the replica's answer is complete, so it is learned from;
        `added` are the chunks that it adds to the prompt's chain (None: none, or it was not read).
        """
        self._ended = True
        if self._first_leg is not None:
            self._first_leg.cancel()
        plane, upstream = self._plane, self.upstream
        model, tenant = self._request.model, self._tenant.name
        now_s = plane.now_s()
        attempt = self._ticket.attempt
        if usage.completion_tokens is None:
            so_far = self.answer.usage_about(is_told=not is_whole)
            if so_far.prompt_tokens is not None:
                usage = so_far
            sent_tokens = so_far.completion_tokens
        else:
            sent_tokens = None
        self._flow.dispatcher.finish(
            self._ticket,
            outcome,
            usage,
            now_s,
            is_whole=is_whole,
            streamed=self._request.stream,
            answer=added,
            sent_tokens=sent_tokens,
        )
        self._flow.ended(self._ticket)
        if sent_tokens is not None and usage.completion_tokens is None:
            usage = Usage(usage.prompt_tokens, usage.cached_tokens, sent_tokens, usage.reasoning_tokens)
        plane.meters.ended(model, tenant, outcome)
        plane.meters.used(model, tenant, usage)
        if self._span is not None:
            self._span.ended(outcome, usage)
        if plane.usage is not None and attempt is not None:
            subject = Subject(tenant, self._tenant.key, model, self._request.adapter)
            held_s, is_whole = now_s - self._request.now_s, outcome is _OK
            is_handed_over = self._ticket.prefill is not None
            plane.usage.add(subject, usage, held_s, is_whole=is_whole, is_handed_over=is_handed_over)
        if plane.access_log is not None:
            plane.access_log.write(self._access_entry(outcome, usage, attempt, now_s))
        if plane.capture is not None:
            plane.capture.note(self._began_s, self._request, tenant, usage)
        meters = plane.meters.model(model)
        meters.duration_s.observe(now_s - self._began_s)
        meters.body_bytes += len(self._incoming.body)
        if upstream is not None:
            meters.response_bytes += upstream.received
        self.upstream = None

    def _access_entry(self, outcome: Outcome, usage: Usage, attempt: Attempt | None, now_s: float) -> AccessEntry:
        request, head, upstream = self._request, self.answer.head, self.upstream
        waited_s = request.now_s - self._began_s if attempt is not None else None
        ttft_s = attempt.record.ttft_s if attempt is not None else None
        return AccessEntry(
            request_id=request.request_id,
            client=peer_of(self._client.transport),
            method=self._incoming.method.decode("ascii"),
            path=request.path,
            outcome=outcome,
            status=head.status if head is not None else HTTP_STATUS.get(outcome, 0),
            tenant=self._tenant.name,
            model=request.model,
            replica=attempt.replica.replica_id if attempt is not None else "",
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
            waited_ms=_ms(waited_s),
            ttft_ms=_ms(waited_s + ttft_s) if waited_s is not None and ttft_s is not None else None,
            duration_ms=_ms(now_s - self._began_s),
            request_bytes=len(self._incoming.body),
            response_bytes=upstream.received if upstream is not None else 0,
        )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
