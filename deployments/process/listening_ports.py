"""Ports for a server that listens some time after they are chosen, such as an engine that loads its model first."""

import random
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

FIRST: Final = 20_000
"""Above the ports of Ray's workers (10002 to 19999)."""
LAST: Final = 65_535
CONNECTIONS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""The kernel's file with the first and the last port that outgoing connections get; `ip_local_port_range` in ip(7)."""
_TRIES: Final = 200
_random = random.SystemRandom()  # another process that starts at the same time must not draw the same numbers


def free_ports(host: str, count: int) -> int | None:
    """Return the first of `count` ports in a row that are free on `host`; None: none were found.

    They are no ports of outgoing connections: such a one is free when it is chosen, and may belong to anybody's
    connection by the time its server binds it.
    """
    first, last = _of_connections()
    ranges = [(begin, end) for begin, end in ((FIRST, first - 1), (last + 1, LAST)) if end - begin >= count]
    if not ranges:
        ranges = [(FIRST, LAST)]  # connections may get any port here: then one of theirs is as good as another
    begin, end = ranges[0]
    for _ in range(_TRIES):
        port = _random.randint(begin, end - count + 1)
        if _are_free(host, port, count):
            return port
    return None


def _of_connections() -> tuple[int, int]:
    try:
        first, last = map(int, CONNECTIONS.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return 32_768, 60_999
    return first, last


def _are_free(host: str, port: int, count: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as opened:
        try:
            for each in range(port, port + count):
                opened.enter_context(socket.socket(family)).bind((host, each))
        except OSError:
            return False
    return True
