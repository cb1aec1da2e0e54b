"""Replicas that break off: they pass everything on to a real engine, and cut the first streams after some events."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from router.replicas.endpoint import Endpoint

_EVENT = b"data: {"


@dataclass
class Cuts:
    """The cuts that are to come, for several proxies together.

    Attributes:
        left: streams that are still to be cut.
        events: events of a stream after which it is cut.
    """

    left: int
    events: int


class CuttingProxy:
    """Listens, and passes bytes on both ways.

    Args:
        url: the engine's.
        name: its id.
        cuts: the cuts that are to come.
    """

    def __init__(self, url: str, name: str, cuts: Cuts) -> None:
        self._to = urlsplit(url)
        self._name = name
        self._cuts = cuts

    async def __aenter__(self) -> Self:
        """Listen."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the port and every connection."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def endpoint(self, model: str) -> Endpoint:
        """Return its row of the directory."""
        port = self._server.sockets[0].getsockname()[1]
        return Endpoint(self._name, model, "127.0.0.1", port, continues_messages=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_engine, to_engine = await asyncio.open_connection(self._to.hostname, self._to.port)
        both = [
            asyncio.ensure_future(_pass_on(reader, to_engine)),
            asyncio.ensure_future(self._answer(from_engine, writer)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            to_engine.transport.abort()
            writer.transport.abort()

    async def _answer(self, from_engine: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = 0
        with suppress(ConnectionError):
            while data := await from_engine.read(65536):
                seen += data.count(_EVENT)
                writer.write(data)
                await writer.drain()
                if self._cuts.left and seen >= self._cuts.events and not data.endswith(b"0\r\n\r\n"):
                    self._cuts.left -= 1
                    writer.close()
                    await writer.wait_closed()
                    break


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
