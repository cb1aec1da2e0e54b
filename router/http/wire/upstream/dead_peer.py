"""Has the kernel break a connection whose other machine is gone without a word, or behind a link that is cut.

Without these settings a connection that only receives, such as a stream's, would stand for hours. A process that is
stopped, on a machine that is well, is not noticed so: see `router/http/data_plane/life_signs.py`.
"""

import asyncio
import socket
from typing import Final

PROBE_S: Final = 5
"""Seconds without a byte from the other machine after which its kernel is probed, and seconds between two probes."""
GONE_S: Final = 15
"""Seconds without an answer of that kernel, to a probe or to bytes sent, after which the connection is broken.

Answers that can go elsewhere have done so by then. The rest may outlast a switch that starts anew.
"""


def notice_dead_peer(transport: asyncio.Transport) -> None:
    """Set this for a TCP connection that has just been opened."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * GONE_S)
