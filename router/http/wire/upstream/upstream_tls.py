"""TLS to servers: whose certificates are trusted, and sessions that spare a known server's full handshake."""

import asyncio
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Final

MAX_SESSIONS: Final = 1024
"""Servers whose session one context keeps; beyond them it begins anew, which costs one full handshake each."""


class ClientContext(ssl.SSLContext):
    """A client's context that offers each server the last session it had with it.

    A resumed session saves the exchange and the check of certificates: about a millisecond of this process, and more
    of the server's.
    """

    _sessions: dict[str, ssl.SSLSession]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature of `SSLContext.wrap_bio`
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin a connection, with the session kept for `server_hostname` if there is one."""
        if session is None and isinstance(server_hostname, str):
            session = self._sessions.get(server_hostname)
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def keep_session(self, server_name: str, session: ssl.SSLSession) -> None:
        """Offer `session` to `server_name` from now on."""
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.clear()
        self._sessions[server_name] = session


def keep_session(server_name: str, transport: asyncio.Transport) -> None:
    """Keep the session of a connection whose first answer has come: in TLS 1.3 it follows the handshake."""
    connection = transport.get_extra_info("ssl_object")
    if connection is not None and connection.session is not None and isinstance(connection.context, ClientContext):
        connection.context.keep_session(server_name, connection.session)


def client_context(ca_file: str = "") -> ClientContext:
    """Return the context for servers whose certificates the authorities in `ca_file` sign.

    The same context is returned until the file changes.

    Args:
        ca_file: a PEM file; "": the system's authorities.

    Raises:
        OSError: the file cannot be read or holds no certificate.
    """
    return _context(ca_file, Path(ca_file).stat().st_mtime_ns if ca_file else 0)


@lru_cache(maxsize=64)
def _context(ca_file: str, _changed_ns: int) -> ClientContext:
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context._sessions = {}  # noqa: SLF001 - `SSLContext` is made by `__new__`, which takes the protocol alone
    context.set_alpn_protocols(["http/1.1"])
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError as error:
            raise OSError(f"{ca_file} holds no certificate in PEM form: {error.reason or error}") from error
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context
