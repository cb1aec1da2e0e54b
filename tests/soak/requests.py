"""What clients do to a gateway: each kind of request, and how the gateway is to count it."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

MODEL: Final = "sim"
KEYS: Final = {"ann": "key-of-ann", "bob": "key-of-bob"}
_CUT_AT: Final = 1 << 20


@dataclass(slots=True)
class Connection:
    """One client's connection to the gateway; it is opened anew after each that the client or the gateway closed."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return its two ends."""
        if self.reader is None or self.writer is None or self.writer.is_closing() or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_CUT_AT)
        return self.reader, self.writer

    def close(self) -> None:
        """Leave at once."""
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None


Act = Callable[[Connection, Random], Awaitable[str]]
"""Does one thing; returns the outcome that the gateway must count, or "" for what is no whole request."""


def _head(body: bytes, *, path: str = "/v1/completions", key: str = "key-of-ann", more: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n{more}"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode()


def _body(rng: Random, **more: object) -> bytes:
    prompt = " ".join(f"word{rng.randrange(500)}" for _ in range(rng.randrange(3, 60)))
    body = {"model": MODEL, "prompt": prompt, "max_tokens": rng.randrange(1, 6), "ignore_eos": True, **more}
    return json.dumps(body).encode()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one whole answer; return its status.

    Raises:
        asyncio.IncompleteReadError: the gateway closed the connection within it.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lines = head.lower().split(b"\r\n")
    if b"transfer-encoding: chunked" in lines:
        while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(length)
    return status


async def _ask(connection: Connection, request: bytes) -> int:
    reader, writer = await connection.opened()
    writer.write(request)
    return await _answer(reader)


async def whole(connection: Connection, rng: Random) -> str:
    """Ask for a whole answer."""
    body = _body(rng)
    status = await _ask(connection, _head(body, key=rng.choice(list(KEYS.values()))) + body)
    return "ok" if status == 200 else f"status {status}"


async def stream(connection: Connection, rng: Random) -> str:
    """Ask for a stream and read it to its end."""
    body = _body(rng, stream=True, stream_options={"include_usage": True})
    status = await _ask(connection, _head(body, key=rng.choice(list(KEYS.values()))) + body)
    return "ok" if status == 200 else f"status {status}"


async def leave(connection: Connection, rng: Random) -> str:
    """Leave within a long stream, after its first bytes."""
    body = _body(rng, stream=True)[:-1] + b', "max_tokens": 4000}'
    reader, writer = await connection.opened()
    writer.write(_head(body) + body)
    status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
    await reader.read(64)
    connection.close()
    return "client_left" if status == 200 else f"status {status}"


async def leave_within_the_body(connection: Connection, rng: Random) -> str:
    """Leave before the body is whole: no request."""
    body = _body(rng)
    _, writer = await connection.opened()
    writer.write(_head(body) + body[: len(body) // 2])
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    connection.close()
    return ""


async def broken_json(connection: Connection, rng: Random) -> str:
    """Send what is no JSON."""
    body = _body(rng)[:-2]
    return "invalid_json" if await _ask(connection, _head(body) + body) == 400 else "no 400"


async def no_model(connection: Connection, rng: Random) -> str:
    """Ask for a model that there isn't; the names never repeat. While a server is silent, it might have it."""
    body = _body(rng, model=f"model-{rng.random()}")
    status = await _ask(connection, _head(body) + body)
    return {404: "model_not_found", 503: "no_replica"}.get(status, f"status {status}")


async def no_key(connection: Connection, rng: Random) -> str:
    """Send a wrong key, another one each time; the gateway closes the connection."""
    body = _body(rng)
    status = await _ask(connection, _head(body, key=str(rng.random())) + body)
    connection.close()
    return "unauthorized" if status == 401 else "no 401"


async def too_long(connection: Connection, rng: Random) -> str:
    """Announce a body that is too long; the gateway closes the connection."""
    del rng
    status = await _ask(connection, _head(b"").replace(b"content-length: 0", b"content-length: 99999999999"))
    connection.close()
    return "body_too_large" if status == 413 else "no 413"


async def models(connection: Connection, rng: Random) -> str:
    """Ask for the list of models, as SDKs do at their start."""
    del rng
    request = b"GET /v1/models HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer key-of-bob\r\n\r\n"
    return "" if await _ask(connection, request) == 200 else "no 200"


KINDS: Final[dict[Act, float]] = {
    whole: 0.55,
    stream: 0.25,
    leave: 0.04,
    leave_within_the_body: 0.03,
    broken_json: 0.03,
    no_model: 0.03,
    no_key: 0.02,
    too_long: 0.02,
    models: 0.03,
}
"""What clients do, and how often."""
