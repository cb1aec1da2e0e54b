"""The least that a gateway can be: a proxy in uvloop that reads no prompt and takes the servers in turn.

What it costs is what sockets cost in Python; all beyond that is a gateway's own. It reads lengths and nothing else:
where a request ends, so that it goes on whole, and where an answer ends, so that its connection serves the next one.
"""

import argparse
import asyncio
import itertools
import re
import signal
from collections.abc import Sequence
from typing import cast

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM_END = b"\r\n0\r\n\r\n"
_HEALTHY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class ToServer(asyncio.Protocol):
    """One connection to a server, for one request at a time."""

    transport: asyncio.Transport

    def __init__(self, idle: list["ToServer"]) -> None:
        self.client: FromClient | None = None
        self._idle = idle
        self._left = -1
        """Bytes that are to come of an answer of known length; -1: none has begun, or it is chunked."""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop registers no ABC

    def connection_lost(self, exc: Exception | None) -> None:
        """End the client's answer where the server did."""
        del exc
        if self in self._idle:
            self._idle.remove(self)
        if self.client is not None:
            self.client.transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass on; know the end."""
        client = self.client
        if client is None:
            return
        client.transport.write(data)
        if self._left >= 0:
            self._left -= len(data)
        elif not self._tail:
            head_end = data.find(b"\r\n\r\n")
            length = _LENGTH.search(data, 0, head_end + 2)
            if length:
                self._left = int(length[1]) + head_end + 4 - len(data)
        self._tail = data[-7:] if len(data) >= len(_STREAM_END) else (self._tail + data)[-7:]
        if self._left == 0 or (self._left < 0 and self._tail == _STREAM_END):
            self._left, self._tail, self.client = -1, b"", None
            self._idle.append(self)
            client.answered()


class FromClient(asyncio.Protocol):
    """One connection of a client, which waits for each answer before its next request."""

    transport: asyncio.Transport

    def __init__(self, proxy: "BareProxy") -> None:
        self._proxy = proxy
        self._buffer = b""
        self._server: ToServer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop registers no ABC

    def connection_lost(self, exc: Exception | None) -> None:
        """End the server's work on a request whose client has left."""
        del exc
        if self._server is not None:
            self._server.client = None
            self._server.transport.close()

    def answered(self) -> None:
        """Take the next request."""
        self._server = None

    def data_received(self, data: bytes) -> None:
        """Send a request on when it is whole."""
        buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(b"\r\n\r\n")
        if head_end >= 0:
            length = _LENGTH.search(buffer, 0, head_end)
            if len(buffer) >= head_end + 4 + (int(length[1]) if length else 0):
                self._buffer = b""
                self._send(buffer)
                return
        self._buffer = buffer

    def _send(self, request: bytes) -> None:
        if request.startswith(b"GET /health "):
            self.transport.write(_HEALTHY)
            return
        idle = self._proxy.next_server()
        if idle:
            self._server = server = idle.pop()
            server.client = self
            server.transport.write(request)
        else:
            self._proxy.connect(self, request)

    def has_server(self, server: ToServer, request: bytes) -> None:
        """Send a request on the connection that was made for it."""
        self._server = server
        server.client = self
        server.transport.write(request)


class BareProxy:
    """The servers in turn, with the idle connections to each.

    Args:
        ports: the servers', on loopback.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self._idle: dict[int, list[ToServer]] = {port: [] for port in ports}
        self._turn = itertools.cycle(ports)
        self._port = ports[0]
        self._tasks: set[asyncio.Task[None]] = set()

    def next_server(self) -> list[ToServer]:
        """Go on to the next server; return its idle connections."""
        self._port = next(self._turn)
        return self._idle[self._port]

    def connect(self, client: FromClient, request: bytes) -> None:
        """Open one more connection to the server whose turn it is, and send the request there."""
        task = asyncio.get_running_loop().create_task(self._connect(self._port, client, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Close the idle connections to servers."""
        for idle in self._idle.values():
            for server in idle:
                server.transport.close()

    async def _connect(self, port: int, client: FromClient, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, server = await loop.create_connection(lambda: ToServer(self._idle[port]), "127.0.0.1", port)
        client.has_server(server, request)


async def _serve(port: int, servers: Sequence[int]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    proxy = BareProxy(servers)
    server = await loop.create_server(lambda: FromClient(proxy), "127.0.0.1", port, backlog=1024)
    await stopped.wait()
    server.close()
    proxy.close()


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, action="append", required=True, help="a server's port; may be repeated")
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.server))


if __name__ == "__main__":
    main()
