"""A replica's signs of life over its HTTP port: one byte at a time, for a twentieth of what a gRPC message costs.

The replica answers `GET PULSE_PATH` with a body that never ends: a byte every `PULSE_S` from the event loop that serves
its requests. If that loop hangs, or the way to it is cut, the bytes stop. Both sides are here.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from deployments.engines.interface import Receive, Send

PULSE_PATH: Final = "/rackserve/pulse"
"""The replica's guard answers it to this cluster's gateways; it never reaches the engine."""
PULSE_S: Final = 0.4
"""Seconds between two bytes. Gateways count a replica as silent after twice this time."""
_OK: Final = b"HTTP/1.1 200 "


async def answer_pulse(receive: Receive, send: Send) -> None:
    """Send a byte every `PULSE_S` until the gateway hangs up."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    gone = asyncio.ensure_future(_hang_up(receive))
    try:
        while not gone.done():
            await send({"type": "http.response.body", "body": b".", "more_body": True})
            await asyncio.wait({gone}, timeout=PULSE_S)
    finally:
        gone.cancel()


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class PulseListener(asyncio.Protocol):
    """The gateway's side of one connection.

    Args:
        host: the replica's address, for the request's head.
        credential: the cluster's internal credential.
        on_pulse: called at each sign of life.
        on_lost: called when the connection ends by itself.

    Attributes:
        is_answered: done once the replica has answered, or the connection has ended.
        is_heard: the replica answered as one of this cluster, and the connection stands.
    """

    def __init__(self, host: str, credential: str, on_pulse: Callable[[], None], on_lost: Callable[[], None]) -> None:
        self.is_answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_heard = False
        self._head = f"GET {PULSE_PATH} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {credential}\r\n\r\n".encode()
        self._on_pulse = on_pulse
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Take what comes as a sign of life, if the answer began well."""
        if not self.is_answered.done():
            self.is_heard = data.startswith(_OK)
            self.is_answered.set_result(None)
        if self.is_heard:
            self._on_pulse()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell of the end."""
        if not self.is_answered.done():
            self.is_answered.set_result(None)
        was_heard, self.is_heard = self.is_heard, False
        if was_heard:
            self._on_lost()

    def close(self) -> None:
        """Hang up; neither function is called any more."""
        self.is_heard = False
        if self._transport is not None:
            self._transport.abort()
