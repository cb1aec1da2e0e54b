"""Sends a workload to an OpenAI server and notes when each first token came: little CPU a request, no HTTP library."""

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools
import msgspec
import uvloop

from tests.benchmarks.routing.workload import Conversation, Workload
from tests.benchmarks.token_streams import BrokenStreamError

_DATA = b"data: "
_HTTP_OK = 200
_TICK_S = 0.01


@dataclass(slots=True)
class WorkloadSeen:
    """What came back.

    Attributes:
        ttft_s: time to the first token, one a request, in the order in which answers ended.
        prompt_tokens: of all prompts, as the engines counted.
        cached_tokens: of those, what the engines had in their prefix caches.
        lags_s: by how much this client's own timer, due every 10 ms, was late: what the machine adds to each time.
    """

    ttft_s: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    lags_s: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, tuple[float, str]]:
        """Return what a run is compared by: value and unit by name."""
        return {
            "ttft_mean": (statistics.fmean(self.ttft_s), "s"),
            "ttft_p90": (upper_decile(self.ttft_s), "s"),
            "cached_share": (self.cached_tokens / self.prompt_tokens, "of prompt tokens"),
        }


def upper_decile(values: Sequence[float]) -> float:
    """Return the 90th percentile of two values or more."""
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _Details | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


_EVENT = msgspec.json.Decoder(_Event)


def run_workload(port: int, model: str, workload: Workload) -> WorkloadSeen:
    """Send a workload to the server at a loopback port and return what came back.

    Raises:
        BrokenStreamError: an answer was refused, cut or not as long as asked for; there is no figure then.
    """
    return uvloop.run(_Run(port, model).carry_out(workload))


class _Run:
    def __init__(self, port: int, model: str) -> None:
        self._port = port
        self._model = model
        self._idle: deque[_Connection] = deque()
        self._seen = WorkloadSeen()

    async def carry_out(self, workload: Workload) -> WorkloadSeen:
        ticks = asyncio.create_task(self._watch_the_clock())
        began_s = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                if workload.at_a_time:
                    waiting = iter(workload.conversations)
                    for _ in range(workload.at_a_time):
                        group.create_task(self._in_turn(waiting))
                else:
                    for conversation in workload.conversations:
                        group.create_task(self._at_its_time(conversation, began_s))
        except* BrokenStreamError as errors:
            raise errors.exceptions[0] from None
        finally:
            ticks.cancel()
            for connection in self._idle:
                connection.close()
        return self._seen

    async def _watch_the_clock(self) -> None:
        while True:
            due_s = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._seen.lags_s.append(time.perf_counter() - due_s)

    async def _in_turn(self, waiting: Iterator[Conversation]) -> None:
        for conversation in waiting:
            await self._converse(conversation)

    async def _at_its_time(self, conversation: Conversation, began_s: float) -> None:
        await asyncio.sleep(began_s + conversation.starts_s - time.perf_counter())
        await self._converse(conversation)

    async def _converse(self, conversation: Conversation) -> None:
        messages: list[dict[str, object]] = []
        if conversation.system:
            messages.append({"role": "system", "content": conversation.system})
        seen: list[object] = []
        if conversation.picture:
            seen.append({"type": "image_url", "image_url": {"url": conversation.picture}})
        for turn in conversation.turns:
            if turn.pause_s:
                await asyncio.sleep(turn.pause_s)
            content = [*seen, {"type": "text", "text": turn.text}] if seen else turn.text
            messages.append({"role": "user", "content": content})
            seen = []
            body = msgspec.json.encode(
                {
                    "model": self._model,
                    "messages": messages,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "ignore_eos": True,
                    "max_tokens": turn.tokens,
                }
            )
            messages.append({"role": "assistant", "content": await self._answer(body, turn.tokens)})

    async def _answer(self, body: bytes, tokens: int) -> str:
        """Send one request, note what it took, and return the answer's text."""
        connection = self._idle.pop() if self._idle else await self._connect()
        sent_s = time.perf_counter()
        first_s, answer = await connection.post(body)
        if connection.is_open:
            self._idle.append(connection)
        lines = [line.removeprefix(_DATA) for line in answer.split(b"\n") if line.startswith(_DATA + b"{")]
        events = [_EVENT.decode(line) for line in lines]
        usage = next((event.usage for event in reversed(events) if event.usage is not None), None)
        if usage is None or usage.completion_tokens != tokens:
            raise BrokenStreamError(f"{tokens} tokens were asked for; the answer ended with {answer[-300:]!r}")
        if usage.prompt_tokens_details is None or usage.prompt_tokens_details.cached_tokens is None:
            raise BrokenStreamError("the engine does not say what it had cached")
        self._seen.ttft_s.append(first_s - sent_s)
        self._seen.prompt_tokens += usage.prompt_tokens
        self._seen.cached_tokens += usage.prompt_tokens_details.cached_tokens
        return "".join(choice.delta.content or "" for event in events for choice in event.choices)

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self._port), "127.0.0.1", self._port)
        return connection


class _Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self, port: int) -> None:
        self._head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        )
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._first_s = 0.0
        self._done: asyncio.Future[tuple[float, bytes]] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop registers no ABC

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._done is not None and not self._done.done():
            self._done.set_exception(BrokenStreamError(f"the connection was closed within an answer: {exc}"))

    async def post(self, body: bytes) -> tuple[float, bytes]:
        """Send a body; return when the first byte of the answer's body came (perf_counter seconds), and that body."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._first_s = 0.0
        self._parts.clear()
        self._transport.write(f"{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)
        return await self._done

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self._first_s:
            self._first_s = time.perf_counter()
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._done is None or self._done.done():
            return
        answer = b"".join(self._parts)
        status = self._parser.get_status_code()
        if status == _HTTP_OK:
            self._done.set_result((self._first_s, answer))
        else:
            self._done.set_exception(BrokenStreamError(f"{status}: {answer[:500].decode(errors='replace')}"))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()
