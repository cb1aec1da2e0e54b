"""A server that streams answers as a test plants them: when each token comes, what usage says, how it breaks."""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class PlantedAnswer:
    """What the server does with each request.

    Attributes:
        first_s: seconds until the first token.
        gap_s: seconds between two tokens.
        tokens_per_event: tokens that each event holds.
        tells_usage: the last event has the usage.
        status: HTTP status; any but 200 is a refusal.
        cut_after: events after which the connection is closed; None: it is not.
        keeps_open: the connection serves further requests.
    """

    first_s: float = 0.0
    gap_s: float = 0.0
    tokens_per_event: int = 1
    tells_usage: bool = True
    status: int = 200
    cut_after: int | None = None
    keeps_open: bool = True


@dataclass
class StreamingServer:
    """A server on a port of its own.

    Attributes:
        answer: what it does; may be changed at any time.
        tls: with what it speaks TLS; None: it does not.
        port: its port.
        bodies: the requests' bodies, in the order in which they came.
        heads: their heads.
        connections: connections that it accepted.
        most_open: most requests that were open at once.
        extra_pages: bodies of further pages, by path.
        sent_tokens: tokens that it sent in whole answers.
    """

    answer: PlantedAnswer = field(default_factory=PlantedAnswer)
    tls: ssl.SSLContext | None = None
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    connections: int = 0
    most_open: int = 0
    extra_pages: dict[str, str] = field(default_factory=dict)
    sent_tokens: int = 0
    _open: int = 0
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                if head.startswith("GET"):
                    self._page(writer, head.split()[1])
                    continue
                self.heads.append(head)
                self.bodies.append(json.loads(body))
                self._open += 1
                self.most_open = max(self.most_open, self._open)
                try:
                    await self._stream(writer, self.bodies[-1])
                finally:
                    self._open -= 1
                if not self.answer.keeps_open:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client left, or the server stops; a task that ends as cancelled would be logged as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    def _page(self, writer: asyncio.StreamWriter, path: str) -> None:
        models = json.dumps({"object": "list", "data": [{"id": "planted", "object": "model"}]})
        page = models if path == "/v1/models" else self.extra_pages.get(path)
        status, text = ("200 OK", page) if page is not None else ("404 Not Found", "{}")
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())

    async def _stream(self, writer: asyncio.StreamWriter, asked: Mapping[str, Any]) -> None:
        answer = self.answer
        if answer.status != 200:
            text = '{"error":{"message":"planted"}}'
            writer.write(f"HTTP/1.1 {answer.status} No\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
            return
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n")
        _event(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        await asyncio.sleep(answer.first_s)
        tokens = int(asked["max_tokens"])
        for number, place in enumerate(range(0, tokens, answer.tokens_per_event)):
            if number:
                await asyncio.sleep(answer.gap_s)
            held = min(answer.tokens_per_event, tokens - place)
            said = {"delta": {"content": "word " * held}} if "messages" in asked else {"text": "word " * held}
            _event(writer, {"choices": [{**said, "finish_reason": None}]})
            await writer.drain()
            if answer.cut_after == number + 1:
                writer.transport.abort()
                raise ConnectionResetError
        self.sent_tokens += tokens
        if answer.tells_usage:
            texts = [message["content"] for message in asked.get("messages", ())] or [asked["prompt"]]
            prompt = sum(len(text.split()) for text in texts) + 7
            usage = {"prompt_tokens": prompt, "completion_tokens": tokens}
            _event(writer, {"choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": prompt // 2}}})
        _chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _event(writer: asyncio.StreamWriter, event: Mapping[str, Any]) -> None:
    _chunk(writer, b"data: " + json.dumps(event).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
