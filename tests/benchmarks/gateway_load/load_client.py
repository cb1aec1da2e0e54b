"""A load client as a process: reads plans as JSON lines on stdin, writes what it saw as JSON lines on stdout.

Every answer is compared with the bytes the engine sends. Prompts are made before the clock starts.
"""

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, cast

import httptools
import msgspec
import uvloop

from tests.benchmarks.gateway_load.engine_answers import (
    STREAM_END,
    StreamAnswer,
    is_plain_body,
    without_hidden_usage,
)
from tests.benchmarks.gateway_load.engine_usage import contents_of, tokens_of
from tests.benchmarks.gateway_load.prompts import messages_of
from tests.benchmarks.load_plan import LoadPlan, LoadSeen

_HTTP_OK = 200
_ERROR_SAMPLES = 5
_QUANTILES = 200
_CHUNKED = b"ncoding: chunked\r\n"
"""A head that has it, written either way, begins a chunked body."""

# The headers the openai SDK sends with each request: what a gateway has to read in production.
_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
    b"User-Agent: AsyncOpenAI/Python 3.54.0\r\nX-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\n"
    b"X-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
    b"X-Stainless-Runtime-Version: 3.11.7\r\nX-Stainless-Async: async:asyncio\r\nx-stainless-retry-count: 0\r\n"
    b"x-stainless-read-timeout: 600\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
)


class LoadRequest(NamedTuple):
    """A request as bytes, the tag that its answer has to carry, and the prompt tokens that its answer has to tell."""

    written: bytes
    tag: bytes
    prompt_tokens: int


def _requests(plan: LoadPlan) -> deque[LoadRequest]:
    """Return every request of a plan."""
    made: deque[LoadRequest] = deque()
    stream = b"true" if plan.chunks else b"false"
    for i, messages in enumerate(messages_of(plan)):
        tag = b"%08d-%09d" % (plan.seed, i)
        body = b'{"model":"%b","messages":%b,"max_tokens":%d,"temperature":0.0,"stream":%b,"user":"%b"}' % (
            plan.model.encode(),
            messages,
            plan.chunks or 8,
            stream,
            tag,
        )
        written = _HEAD % (plan.port, plan.api_key.encode(), len(body), body)
        made.append(LoadRequest(written, tag, tokens_of(contents_of(messages)[0])))
    return made


class LoadRun:
    """One plan being carried out."""

    def __init__(self, plan: LoadPlan, loop: asyncio.AbstractEventLoop) -> None:
        self.plan = plan
        self.seen = LoadSeen()
        self.latencies_us: list[float] = []
        self.requests = _requests(plan)
        self.stream_answer = StreamAnswer(plan.chunks) if plan.chunks else None
        self.idle: list[LoadConnection] = []
        self.connections: list[LoadConnection] = []
        self.waiting: deque[float] = deque()
        self.finished = loop.create_future()
        self.closing = False
        self._loop = loop
        self._left = plan.requests

    async def carry_out(self) -> LoadSeen:
        """Connect, send everything, and return what was seen."""
        for _ in range(self.plan.connections):
            await self.connect()
        started = time.perf_counter()
        if self.plan.rate_per_s:
            arrivals = self._arrivals()
            self._loop.call_soon(self._arrive, self._loop.time(), next(arrivals), arrivals)
        else:
            for connection in self.idle[: self.plan.requests]:
                connection.send(time.perf_counter())
            self.idle.clear()
        await self.finished
        self.seen.wall_s = time.perf_counter() - started
        self.closing = True
        for connection in self.connections:
            connection.close()
        self.latencies_us.sort()
        last = len(self.latencies_us) - 1
        if last >= 0:
            self.seen.latency_us = [self.latencies_us[round(last * q / _QUANTILES)] for q in range(_QUANTILES + 1)]
        return self.seen

    async def connect(self) -> None:
        """Open one more connection; it becomes idle."""
        _, connection = await self._loop.create_connection(lambda: LoadConnection(self), "127.0.0.1", self.plan.port)
        self.connections.append(connection)
        self.idle.append(connection)

    def _arrivals(self) -> Iterator[float]:
        """Yield the offset of each arrival in seconds."""
        rng = random.Random(self.plan.seed)
        at = 0.0
        for _ in range(self.plan.requests):
            yield at
            at += rng.expovariate(self.plan.rate_per_s)

    def _arrive(self, start: float, due: float, arrivals: Iterator[float]) -> None:
        """Send all that are due; the loop's timers tick in milliseconds, so several may be."""
        now = self._loop.time() - start
        while due <= now:
            if self.idle:
                self.idle.pop().send(time.perf_counter())
            else:
                self.seen.stalled += 1
                self.waiting.append(time.perf_counter())
            following = next(arrivals, None)
            if following is None:
                return
            due = following
        self._loop.call_at(start + due, self._arrive, start, due, arrivals)

    def ended(self, connection: "LoadConnection") -> None:
        """Take back a connection whose answer is complete and give it more to do."""
        self._left -= 1
        if not self._left:
            self.finished.set_result(None)
        elif self.plan.rate_per_s:
            if self.waiting:
                connection.send(self.waiting.popleft())
            else:
                self.idle.append(connection)
        elif self.requests:
            connection.send(time.perf_counter())

    def fail(self, what: str) -> None:
        """Count an error."""
        self.seen.errors += 1
        if len(self.seen.error_samples) < _ERROR_SAMPLES:
            self.seen.error_samples.append(what)

    def lost(self, connection: "LoadConnection", *, busy: bool) -> None:
        """Replace a connection the server closed; the request on it has failed."""
        if self.closing:
            return
        if connection in self.idle:
            self.idle.remove(connection)
        if busy:
            self.fail("the connection was closed before the answer was complete")
            self._left -= 1
            if not self._left:
                self.finished.set_result(None)
                return
        self._loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        try:
            await self.connect()
        except OSError as exc:
            if not self.finished.done():
                self.finished.set_exception(exc)
            return
        if self.requests and (self.waiting or not self.plan.rate_per_s):
            self.idle.pop().send(self.waiting.popleft() if self.waiting else time.perf_counter())


class LoadConnection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self, run: LoadRun) -> None:
        self._run = run
        self._parts: list[bytes] = []
        self._held: list[bytes] = []
        self._request: LoadRequest | None = None
        self._sent_at = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop registers no ABC

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the run."""
        del exc
        self._run.lost(self, busy=self._request is not None)

    def send(self, arrived_at: float) -> None:
        """Send the next request; its latency counts from `arrived_at` (perf_counter seconds)."""
        request = self._request = self._run.requests.popleft()
        self._sent_at = arrived_at
        assert self._transport is not None
        self._transport.write(request.written)

    def data_received(self, data: bytes) -> None:
        """Parse; a stream once, when it has ended, as this client must cost less than what it measures."""
        self._run.seen.reads += 1
        if self._held:
            self._held.append(data)
            if data.endswith(STREAM_END) or len(data) < len(STREAM_END):
                whole = b"".join(self._held)
                self._held.clear()
                self._parser.feed_data(whole)
        elif self._run.plan.chunks and _CHUNKED in data and not data.endswith(STREAM_END):
            self._held.append(data)
        else:
            self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Compare the answer with what the engine sends."""
        run = self._run
        now = time.perf_counter()
        body = b"".join(self._parts)
        self._parts.clear()
        request, self._request = self._request, None
        if request is None:
            run.fail(f"an answer nobody asked for: {body[:200]!r}")
            return
        status = self._parser.get_status_code()
        if status != _HTTP_OK or not self._is_answer(body, request):
            run.fail(f"{request.tag.decode()}: status {status}, {len(body)} bytes: {body[:200]!r} … {body[-200:]!r}")
        else:
            run.seen.answered += 1
            run.seen.chunks += run.plan.chunks
            run.latencies_us.append((now - self._sent_at) * 1e6)
        run.seen.body_bytes += len(body)
        run.ended(self)

    def _is_answer(self, body: bytes, request: LoadRequest) -> bool:
        """Tell whether a body is what the engine sends for this request, to the byte."""
        streamed = self._run.stream_answer
        if streamed is None:
            return is_plain_body(body, request.tag, request.prompt_tokens)
        expected = streamed.body(request.tag)
        return body == expected or without_hidden_usage(body) == expected

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def _serve_plans() -> None:
    loop = asyncio.get_running_loop()
    decoder = msgspec.json.Decoder(LoadPlan)
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        run = LoadRun(decoder.decode(line), loop)
        seen = await run.carry_out()
        sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_serve_plans())
