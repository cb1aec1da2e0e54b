"""The TCP port at which a simulated engine hands its kept prompts to others.

A message is one line of JSON, and each has an answer, `{"ok": true}` or `{"ok": false, "error": …}`:

    {"ask": "hold", "engine_id": …, "request_id": …}    the asking engine waits for room: renew the lease
    {"ask": "read", …}                                  it begins to read the blocks, which takes it a while
    {"ask": "free", …}                                  it has read them, or does not want them any more

The blocks have no contents, so none are sent: the reading engine lets as much time pass as they would take.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from deployments.engines.remote_prompt import RemotePrompt

ANSWER_S: Final = 5.0
"""Seconds after which an engine that does not answer counts as gone: what vLLM's NIXL connector allows a handshake."""

Result = TypeVar("Result")
Ask = Literal["hold", "read", "free"]


class SideChannelError(Exception):
    """The engine that keeps a prompt is gone, or does not keep it any more."""


class SideChannelServer:
    """Answers other engines.

    Args:
        host: the address to listen at.
        answer: called with what is asked, the engine asked for and the request; returns why not, "": done.
    """

    def __init__(self, host: str, answer: Callable[[str, str, str], str]) -> None:
        self._host = host
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """The port; 0: it is not open."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server is not None else 0

    async def open(self) -> None:
        """Open a free port."""
        self._server = await asyncio.start_server(self._serve, self._host, 0)

    def close(self) -> None:
        """Close the port and all connections at once. Safe to call twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in self._connections:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while line := await reader.readline():
                message = json.loads(line)
                error = self._answer(message["ask"], message["engine_id"], message["request_id"])
                writer.write(json.dumps({"ok": not error, "error": error}).encode() + b"\n")
        except (OSError, ValueError, KeyError, TypeError):
            pass  # it left, or speaks something else: nothing to answer
        finally:
            self._connections.discard(writer)
            writer.close()


@dataclass(slots=True)
class SideChannel:
    """A connection to the engine that keeps a prompt.

    Attributes:
        prompt: the prompt.
        reader: the connection's incoming side.
        writer: its outgoing side.
    """

    prompt: RemotePrompt
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, prompt: RemotePrompt) -> "SideChannel":
        """Connect.

        Raises:
            SideChannelError: nobody listens there.
        """
        reader, writer = await _within_limit(asyncio.open_connection(prompt.host, prompt.port))
        return cls(prompt, reader, writer)

    async def ask(self, what: Ask) -> None:
        """Ask for something and wait for the answer.

        Raises:
            SideChannelError: the other engine is gone, or says no.
        """
        message = {"ask": what, "engine_id": self.prompt.engine_id, "request_id": self.prompt.request_id}
        self.writer.write(json.dumps(message).encode() + b"\n")
        line = await _within_limit(self.reader.readline())
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise SideChannelError("the engine that keeps the prompt has left") from error
        if not answer["ok"]:
            raise SideChannelError(answer["error"])

    def close(self) -> None:
        """Close the connection."""
        self.writer.close()


async def _within_limit(call: Awaitable[Result]) -> Result:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await call
    except (OSError, TimeoutError) as error:
        raise SideChannelError(f"the engine that keeps the prompt does not answer: {error}") from error
