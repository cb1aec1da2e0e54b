"""Connections to the endpoint under load: kept open, one request at a time on each, every read with its time.

A client of its own, not the gateway's way to replicas (`router/http/wire/upstream`): what is measured must not be
measured by itself. No HTTP library either: what one does for each event would be a part of the times measured here.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import httptools

from cluster.errors import ClusterError

IDLE_S: Final = 4.0
"""Seconds after which an idle connection is not used again: before the 5 s of many servers."""
CONNECT_S: Final = 10.0
"""Seconds that opening one may take."""


class AnswerReader(Protocol):
    """Takes an answer as it comes."""

    def status_received(self, status: int) -> None:
        """Take its status."""
        ...

    def body_received(self, body: bytes, at_s: float) -> None:
        """Take a piece of its body, and when it was read (`time.perf_counter`)."""
        ...


class BrokenAnswerError(Exception):
    """No whole answer came.

    Attributes:
        is_stale: nothing of it came, on a connection that had served before: the server closed it as idle.
    """

    def __init__(self, reason: str, *, is_stale: bool = False) -> None:
        self.is_stale = is_stale
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the endpoint is.

    Attributes:
        host: its host.
        port: its port.
        tls: whether it is reached over TLS.
        prefix: path before `/v1`; "": none.
        key: API key that it gets; "": none.
    """

    host: str
    port: int
    tls: bool = False
    prefix: str = ""
    key: str = ""

    @classmethod
    def of(cls, url: str, key: str = "") -> "Address":
        """Return the address of a URL; the scheme and `/v1` at the end may be left out.

        Raises:
            ClusterError: it is no URL of HTTP.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise ClusterError(f"{url} is no URL: {error}") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ClusterError(f"{url} is no URL of HTTP; say http://HOST:PORT")
        is_tls = parts.scheme == "https"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, port or (443 if is_tls else 80), is_tls, prefix, key)

    def head(self, path: str, length: int) -> bytes:
        """Return the head of a POST of JSON."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [
            f"POST {self.prefix}{path} HTTP/1.1", f"host: {host}:{self.port}", "content-type: application/json",
            "accept: text/event-stream", "user-agent: rackserve-bench", f"content-length: {length}",
        ]  # fmt: skip
        if self.key:
            lines.append(f"authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode()


class ConnectionPool:
    """The connections to one address.

    Args:
        address: where they go.

    Attributes:
        opened: connections opened so far.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._tls = ssl.create_default_context() if address.tls else None
        self._idle: list[_Connection] = []
        self.opened = 0

    async def post(self, path: str, body: bytes, reader: AnswerReader) -> None:
        """Send a request and return when its answer is whole.

        Raises:
            BrokenAnswerError: no whole answer came.
        """
        while True:
            connection = self._take() or await self._open()
            try:
                await connection.exchange(self._address.head(path, len(body)) + body, reader)
            except BrokenAnswerError as error:
                if not error.is_stale:
                    raise
                continue
            finally:
                connection.given_back_s = time.perf_counter()
                if connection.is_free:
                    self._idle.append(connection)
                else:
                    connection.close()
            return

    def close(self) -> None:
        """Close the idle ones."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_free and time.perf_counter() - connection.given_back_s < IDLE_S:
                return connection
            connection.close()
        return None

    async def _open(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        address = self._address
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(_Connection, address.host, address.port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise BrokenAnswerError(f"cannot connect: {error or 'no answer'}") from error
        self.opened += 1
        return connection


class _Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.given_back_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._whole: asyncio.Future[None] | None = None
        self._answers = 0
        self._has_bytes = False
        self._is_lost = False
        self._read_s = 0.0
        self._parser = httptools.HttpResponseParser(self)

    @property
    def is_free(self) -> bool:
        """Whether another request can be sent on it."""
        return not self._is_lost and self._reader is None

    async def exchange(self, request: bytes, reader: AnswerReader) -> None:
        """Send a request; return when its answer is whole."""
        assert self._transport is not None  # noqa: S101 - it is connected
        self._reader = reader
        self._has_bytes = False
        self._whole = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._whole

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop registers no ABC

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        is_stale = not self._has_bytes and self._answers > 0
        self._fail(f"the connection was closed within the answer{f': {exc}' if exc else ''}", is_stale=is_stale)

    def data_received(self, data: bytes) -> None:
        self._read_s = time.perf_counter()
        self._has_bytes = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")
            self.close()

    def on_headers_complete(self) -> None:
        if self._reader is not None:
            self._reader.status_received(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        if self._reader is not None:
            self._reader.body_received(body, self._read_s)

    def on_message_complete(self) -> None:
        self._answers += 1
        whole, self._whole, self._reader = self._whole, None, None
        if not self._parser.should_keep_alive():
            self._is_lost = True
        if whole is not None and not whole.done():
            whole.set_result(None)

    def _fail(self, reason: str, *, is_stale: bool = False) -> None:
        whole, self._whole = self._whole, None
        if whole is not None and not whole.done():
            whole.set_exception(BrokenAnswerError(reason, is_stale=is_stale))

    def close(self) -> None:
        """Close it, whatever runs on it."""
        self._is_lost = True
        if self._transport is not None:
            self._transport.abort()
