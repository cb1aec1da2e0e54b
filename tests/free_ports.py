"""Ports for servers that a test is about to start.

They are taken from below the range that the kernel gives to outgoing connections (32768 to 60999 unless changed;
`ip_local_port_range` in ip(7)). A port from within that range is free when it is chosen and may belong to anybody's
connection by the time its server binds it.
"""

import random
import socket

FIRST = 20_000
"""Above the ports of Ray's workers (10002 to 19999)."""

LAST = 32_767

_chosen: set[int] = set()
_random = random.SystemRandom()  # another worker of the same test run must not draw the same numbers


def free_port() -> int:
    """Return a TCP port that nothing listens on and that this process was not given before."""
    while True:
        port = _random.randint(FIRST, LAST)
        if port not in _chosen and _is_free(port):
            _chosen.add(port)
            return port


def free_ports(count: int) -> list[int]:
    """Return `count` such ports."""
    return [free_port() for _ in range(count)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))  # every address: a server on any one of them is in the way of one on all
        except OSError:
            return False
    return True
