"""Ends a connection so that the other side sees that something is missing."""

import asyncio
import socket
import struct

_NO_LINGER = struct.pack("ii", 1, 0)
"""On, for 0 seconds: what is not sent is dropped, and the other side gets a reset (socket(7), SO_LINGER)."""


def reset(transport: asyncio.Transport) -> None:
    """Reset a connection on which the end of an answer is said by the connection's end alone.

    Plainly closed, half an answer would look like a whole one.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
