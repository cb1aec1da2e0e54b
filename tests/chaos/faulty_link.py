"""A link between gateway and replica that can be cut, slowed, made one-way, and made to answer in a replica's place."""

import asyncio
from contextlib import suppress
from enum import StrEnum
from typing import Final

from tests.free_ports import free_port

PIECE: Final = 65_536
SLOW_S: Final = 0.15
"""Seconds that a slow link holds each piece back, one after another, as a thin one does."""
GARBAGE: Final = b"\x00\xffzz not a chunk \r\n\r\n\x01" * 3


class Link(StrEnum):
    """What a link does.

    Attributes:
        PASS: passes bytes on both ways.
        CUT: passes nothing and says nothing; connections stay.
        NO_ANSWERS: requests arrive, answers do not.
        NO_REQUESTS: answers arrive, requests do not.
        SLOW: holds each piece back for a while.
        HALF: the next piece of each answer is passed on in part, then the connection ends.
        GARBAGE: the next piece of each answer is garbage, then the connection ends.
        NEVER: connections are accepted and never answered; those under way go on.
        REFUSE: connections are ended at once; those under way are reset when it begins.
    """

    PASS = "pass"  # noqa: S105 - no password
    CUT = "cut"
    NO_ANSWERS = "no answers"
    NO_REQUESTS = "no requests"
    SLOW = "slow"
    HALF = "half a chunk"
    GARBAGE = "garbage"
    NEVER = "never"
    REFUSE = "reset"


_HOLDS_REQUESTS: Final = {Link.CUT, Link.NO_REQUESTS}
_HOLDS_ANSWERS: Final = {Link.CUT, Link.NO_ANSWERS}


class FaultyLink:
    """Listens, and passes bytes on to one engine.

    Args:
        to_port: the engine's, on loopback.

    Attributes:
        port: where it listens.
        refusals: answers of the engine that tell the gateway it asked wrongly, for people.
    """

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self._to_port = to_port
        self._state = Link.PASS
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._server: asyncio.Server | None = None
        self._last_request = b""
        self.refusals: list[str] = []

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        assert self._server is not None
        self._server.close()
        self._end_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def become(self, state: Link) -> None:
        """Do this from now on."""
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if state is Link.REFUSE:
            self._end_all()

    def _note(self, data: bytes, *, of_answer: bool) -> None:
        if of_answer and data.startswith(b"HTTP/1.1 4"):
            self.refusals.append(f"{data[-300:]!r} after {self._last_request[-1500:]!r}")
        elif not of_answer:
            self._last_request = data

    def _end_all(self) -> None:
        for pair in list(self._ends):
            _abort(*pair)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._state is Link.REFUSE:
            writer.transport.abort()
            return
        while self._state in {Link.NEVER, Link.CUT}:
            await self._changed.wait()
        try:
            from_engine, to_engine = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:  # the engine is away
            writer.transport.abort()
            return

        pair = (writer, to_engine)
        self._ends.append(pair)
        both = [
            asyncio.ensure_future(self._pass_on(reader, to_engine, _HOLDS_REQUESTS)),
            asyncio.ensure_future(self._pass_on(from_engine, writer, _HOLDS_ANSWERS)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            _abort(*pair)
            self._ends.remove(pair)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, holds: set[Link]) -> None:
        with suppress(OSError):
            while data := await reader.read(PIECE):
                while self._state in holds:
                    await self._changed.wait()
                self._note(data, of_answer=holds is _HOLDS_ANSWERS)
                if holds is _HOLDS_ANSWERS and self._state in {Link.HALF, Link.GARBAGE}:
                    writer.write(data[: len(data) // 2] if self._state is Link.HALF else GARBAGE)
                    await writer.drain()
                    writer.close()  # what was written still goes out
                    await writer.wait_closed()
                    return
                if self._state is Link.SLOW:
                    await asyncio.sleep(SLOW_S)
                writer.write(data)
                await writer.drain()


def _abort(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.transport.abort()
