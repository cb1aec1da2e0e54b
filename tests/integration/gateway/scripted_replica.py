"""A replica whose every byte the test decides: for what no well-behaved engine does."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class Received:
    """One request as it reached the replica.

    Attributes:
        head: from the request line to the empty line, as sent.
        body: the body.
        connection: which connection it came on, counted from 0.
    """

    head: bytes
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        """Return the value of a header, or None; fails if it was sent twice."""
        values = [
            line.split(b":", 1)[1].strip().decode()
            for line in self.head.split(b"\r\n")[1:]
            if line.split(b":", 1)[0].lower() == name.encode()
        ]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def plain(body: bytes, *, extra: bytes = b"") -> bytes:
    """Return a whole 200 answer."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s" % (
        extra,
        len(body),
        body,
    )


@dataclass
class ScriptedReplica:
    """A TCP server that answers each request by `script`.

    Attributes:
        received: every request so far.
        connections: connections accepted so far.
        one_closed: set when a connection has ended.
        tls: what it speaks TLS with; None: plain TCP.
        host: the address it listens at.
        port: its port; 0: a free one, from when it listens.
    """

    script: Script
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    one_closed: asyncio.Event = field(default_factory=asyncio.Event)
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the server and every connection."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = self.connections
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = Received(head[:-4], b"", number)
                request.body = await reader.readexactly(int(request.header("content-length") or 0))
                self.received.append(request)
                await self.script(request, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.one_closed.set()
            self._tasks.discard(task)
            writer.close()
