"""Tells a client that only sends nothing more from one that has left: both end their side of the connection.

`nc`, scripts and some old clients end their side after the request, and read on. A client that leaves closes the whole
connection, but TCP says no more of it, until something is written: then its machine answers with a reset. So the
client is written something that means nothing: `100 Continue` before an answer, which every client of HTTP/1.1 must be
able to skip (RFC 9110, section 15.2), or a comment in a stream that has not come to its first token. Later on, tokens
do it.
"""

import asyncio
import socket
from typing import Final

from router.http.connection.client import Answering

FIRST_PROBE_TICKS: Final = 2
"""Ticks of the gateway's timer after which the client is written something first; many answers come before."""
PROBE_TICKS: Final = 20
"""Ticks after which it is written something again."""


class HalfClosed:
    """One client that sends nothing more.

    Args:
        transport: its connection, without TLS.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._socket = transport.get_extra_info("socket")
        self._ticks = 0

    def has_left(self, answering: Answering) -> bool:
        """Return whether the client is known to have left, and write it something from time to time to find out.

        Args:
            answering: what it waits for; called at each tick of the gateway's timer.
        """
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return True
        self._ticks += 1
        if self._ticks % PROBE_TICKS == FIRST_PROBE_TICKS:
            answering.probe_client()
        return False


def may_be_half_closed(transport: asyncio.Transport) -> bool:
    """Return whether a connection may end one way alone: with TLS it ends both ways at once."""
    return transport.get_extra_info("sslcontext") is None
