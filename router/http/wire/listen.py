"""The listening sockets of a gateway process."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable

BACKLOG = 4096
"""Connections that the kernel may hold until we accept them; it caps this at `net.core.somaxconn`."""
ADMIN_PORTS_TRIED = 256
"""Ports tried in a row. Each gateway process of a node takes its own admin port, so this bounds their number."""


class Listener:
    """Accepts connections on a socket; `close` loses no connection that the kernel has accepted.

    Args:
        sock: a bound socket that does not listen yet.
        new_connection: makes the protocol of each connection.
        tls: the context for TLS; None: plain TCP.
        handshake_timeout_s: seconds after which a client that has not finished its TLS handshake is turned away.

    Attributes:
        port: the socket's port.
    """

    def __init__(
        self,
        sock: socket.socket,
        new_connection: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None = None,
        handshake_timeout_s: float = 30.0,
    ) -> None:
        self.port = int(sock.getsockname()[1])
        self._sock = sock
        self._new_connection = new_connection
        self._tls = tls
        self._handshake_timeout_s = handshake_timeout_s if tls is not None else None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Start to accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._new_connection,
            sock=self._sock,
            backlog=BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=self._handshake_timeout_s,
        )

    async def close(self) -> None:
        """Take the connections that the kernel has already accepted for us, then stop listening.

        Closing alone would reset them, although other processes may listen on the same port. A connection still in its
        TCP handshake at this moment is lost, unless Linux hands it over to those (`sysctl net.ipv4.tcp_migrate_req=1`).
        """
        if self._server is None:
            return
        accepted: list[socket.socket] = []
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:  # there is none left
                break
            accepted.append(connection)
        self._server.close()
        for connection in accepted:
            connection.setblocking(False)  # noqa: FBT003 - the method's own
        # All at once, because a client may be slow in its TLS handshake; one whose handshake fails needs no answer.
        await asyncio.gather(*map(self._take, accepted), return_exceptions=True)

    async def _take(self, connection: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(
            self._new_connection, connection, ssl=self._tls, ssl_handshake_timeout=self._handshake_timeout_s
        )


def shared_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to a port that other gateway processes of this node can share (SO_REUSEPORT).

    Raises:
        OSError: the socket cannot be bound, such as to a port that another program does not share; the message names
            host and port.
    """
    return _bound_socket(host, port, shared=True)


def first_free_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to the first free port from `port` on, or to any free port where `port` is 0.

    Raises:
        OSError: none of the ports tried is free, or the host cannot be bound.
    """
    for candidate in range(port, min(port + ADMIN_PORTS_TRIED, 65536)) if port else (0,):
        try:
            return _bound_socket(host, candidate, shared=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"no free port on {host} from {port} on")


def freed_socket(host: str, port: int, before: int) -> socket.socket | None:
    """Return a socket bound to the first free port from `port` to the one before `before`; None: none is free."""
    for candidate in range(port, before):
        try:
            return _bound_socket(host, candidate, shared=False)
        except OSError:
            continue
    return None


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
