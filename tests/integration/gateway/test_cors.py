"""Pages of allowed origins may use the gateway from a browser; others, and all by default, may not."""

import asyncio
from hashlib import sha256

import pytest
from pydantic import ValidationError

from cluster.spec.gateway_spec import CorsSpec
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import NOT_HELD, ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

HERE = "https://app.example"
ORIGIN = b"origin: https://app.example\r\n"
KEY = b"authorization: Bearer k\r\n"
TENANTS = [{"name": "t", "key_sha256": sha256(b"k").hexdigest()}]


def preflight(origin: str = HERE, more: str = "") -> bytes:
    """Return what a browser asks before a page's POST with a key."""
    return (
        f"OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: t\r\norigin: {origin}\r\n"
        "access-control-request-method: POST\r\n"
        f"access-control-request-headers: authorization,content-type,x-stainless-os\r\n{more}\r\n"
    ).encode()


async def _script(received: Received, writer: asyncio.StreamWriter) -> None:
    if b"stream" in received.body:
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n") + LAST_CHUNK)
    else:
        writer.write(plain(b'"fine"', extra=b"access-control-allow-origin: *\r\nx-ours: 1\r\n"))


async def _head(port: int, raw: bytes) -> list[str]:
    """Return the lines of an answer's head, in lower case."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(raw)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head.decode().lower().split("\r\n")


async def test_a_preflight_is_answered_by_the_gateway() -> None:
    """Without a key, without a replica, with what the page asks leave for."""
    async with (
        ScriptedReplica(_script) as replica,
        running_gateway([replica.port], cors={"origins": [HERE]}, tenants=TENANTS) as gateway,
    ):
        lines = await _head(gateway.port, preflight(more="access-control-request-private-network: true\r\n"))
        assert lines[0] == "http/1.1 204 no content"
        assert {
            "vary: origin",
            f"access-control-allow-origin: {HERE}",
            "access-control-allow-headers: authorization,content-type,x-stainless-os",
            "access-control-allow-private-network: true",
            "access-control-max-age: 600",
        } <= set(lines)
        (methods,) = (line for line in lines if line.startswith("access-control-allow-methods: "))
        assert {"post", "get", "delete"} <= set(methods.removeprefix("access-control-allow-methods: ").split(", "))
        assert not replica.received


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(headers=ORIGIN + KEY), "200"),
        (request(b'{"model":"m","stream":true}', headers=ORIGIN + KEY), "200"),
        (request(headers=ORIGIN), "401"),
        (request(b"{", headers=ORIGIN + KEY), "400"),
        (request(b'{"model":"none"}', headers=ORIGIN + KEY), "404"),
        (b"GET /v1/models HTTP/1.1\r\nhost: t\r\n%s\r\n" % (ORIGIN + KEY), "200"),
        (b"GET /health HTTP/1.1\r\nhost: t\r\n%s\r\n" % ORIGIN, "200"),
        (b"GET /health HTTP/1.1\r\nhost: t\r\nhost: u\r\n%s\r\n" % ORIGIN, "400"),
        (request(headers=ORIGIN + KEY + b"content-encoding: br\r\n"), "415"),
        (request(b"x" * 5000, headers=ORIGIN + KEY), "413"),
    ],
)
async def test_every_answer_names_the_origin(raw: bytes, status: str) -> None:
    """Answers, streams, lists, pages and errors, once each; scripts may read what helps them."""
    async with (
        ScriptedReplica(_script) as replica,
        running_gateway([replica.port], cors={"origins": [HERE]}, tenants=TENANTS, max_body_bytes=4096) as gateway,
    ):
        lines = await _head(gateway.port, raw)
        assert lines[0].split(" ")[1] == status
        assert [line for line in lines if line.startswith("access-control-allow")] == [
            f"access-control-allow-origin: {HERE}"
        ]
        (exposed,) = (line for line in lines if line.startswith("access-control-expose-headers: "))
        named = set(exposed.removeprefix("access-control-expose-headers: ").split(", "))
        assert {"x-request-id", "retry-after", "x-ratelimit-remaining-tokens", "x-rackserve-replica"} <= named
        assert "vary: origin" in lines


async def test_an_answer_that_no_replica_gives_names_the_origin() -> None:
    """503 is read by the page as well."""
    async with running_gateway([], models=[NOT_HELD], cors={"origins": [HERE]}) as gateway:
        lines = await _head(gateway.port, request(headers=ORIGIN))
        assert lines[0].split(" ")[1] == "503"
        assert f"access-control-allow-origin: {HERE}" in lines


async def test_other_origins_get_no_leave() -> None:
    """Their preflight is refused in words; their plain requests are answered, and no script may read them."""
    async with (
        ScriptedReplica(_script) as replica,
        running_gateway([replica.port], cors={"origins": [HERE]}) as gateway,
    ):
        for origin in ("https://other.example", "https://app.example.evil", "http://app.example", "null"):
            status, headers, body = await ask(gateway.port, preflight(origin))
            assert (status, headers["vary"]) == (403, "origin")
            assert b"forbidden_origin" in body
            status, more, _ = await ask(gateway.port, request(headers=f"origin: {origin}\r\n".encode()))
            assert status == 200
            assert not any(name.startswith("access-control") for name in headers | more)


async def test_every_origin_may_be_allowed() -> None:
    """`*` names no origin, so caches need not tell them apart."""
    async with ScriptedReplica(_script) as replica, running_gateway([replica.port], cors={"origins": ["*"]}) as gateway:
        for raw in (preflight("https://any.example"), request(headers=b"origin: https://any.example\r\n"), request()):
            lines = await _head(gateway.port, raw)
            assert "access-control-allow-origin: *" in lines
            assert "vary: origin" not in lines


async def test_by_default_no_page_may() -> None:
    """Nothing of CORS is said, not even what a replica says of itself; nor ever on the operators' port."""
    async with ScriptedReplica(_script) as replica, running_gateway([replica.port]) as gateway:
        for raw in (preflight(), request(headers=ORIGIN)):
            assert not any("access-control" in line for line in await _head(gateway.port, raw))
    async with running_gateway([], cors={"origins": [HERE]}) as gateway:
        lines = await _head(gateway.admin_port, b"GET /state HTTP/1.1\r\nhost: t\r\n%s\r\n" % ORIGIN)
        assert lines[0].split(" ")[1] == "200"
        assert not any("access-control" in line for line in lines)


@pytest.mark.parametrize("origin", ["https://a.example/", "a.example", "https://*.a.example", "https://a b", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """A path or a slash at the end would never match what browsers send."""
    with pytest.raises(ValidationError):
        CorsSpec(origins=(origin,))


@pytest.mark.parametrize(
    "origin", ["*", "null", "http://localhost:3000", "chrome-extension://abc", "tauri://localhost"]
)
def test_what_browsers_send_is_an_origin(origin: str) -> None:
    """Of pages, files, extensions and apps."""
    assert CorsSpec(origins=(origin,)).origins == (origin,)
