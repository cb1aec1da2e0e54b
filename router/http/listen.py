"""Listening sockets of a gateway process."""

import errno
import socket

ADMIN_PORTS_TRIED = 256
"""As many gateway processes as one node may have; each takes its own admin port."""


def shared_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port that further gateway processes of this node may share (SO_REUSEPORT).

    Raises:
        OSError: the port is taken by something that does not share it; the message names host and port.
    """
    return _bound_socket(host, port, shared=True)


def first_free_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to the first free port from `port` on; port 0: to any free port.

    Raises:
        OSError: none of the ports tried is free.
    """
    for candidate in range(port, min(port + ADMIN_PORTS_TRIED, 65536)) if port else (0,):
        try:
            return _bound_socket(host, candidate, shared=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no free port on {host} from {port} on")


def _bound_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    sock.settimeout(0)
    return sock
