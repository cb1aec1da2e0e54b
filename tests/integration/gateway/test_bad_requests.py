"""Every malformed request gets the right 4xx, and the gateway lives."""

import asyncio
import json

import pytest

from cluster.spec.model_spec import ModelSpec
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain

TWO = [ModelSpec(name=name, engine="sim", policy="round_robin") for name in ("m", "other")]


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'"fine"'))


def _raw(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("latin-1")


TABLE = {
    "not json": (request(b"{"), 400, "invalid_json"),
    "json list": (request(b"[1]"), 400, "invalid_json"),
    "invalid utf-8": (request(b'{"model":"\xff"}'), 400, "invalid_json"),
    "model is a number": (request(b'{"model":1}'), 400, "invalid_json"),
    "no model": (request(b"{}"), 400, "model_missing"),
    "no body": (request(b""), 400, "model_missing"),
    "unknown model": (request(b'{"model":"gpt-9"}'), 404, "model_not_found"),
    "form without boundary": (
        _raw(
            "POST /v1/audio/translations HTTP/1.1\nhost: t\ncontent-type: multipart/form-data\ncontent-length: 2\n\n{}"
        ),
        400,
        "invalid_json",
    ),
    "unknown path": (_raw("GET /admin HTTP/1.1\nhost: t\n\n"), 404, "not_found"),
    "operators' page on the apps' port": (_raw("GET /state HTTP/1.1\nhost: t\n\n"), 404, "not_found"),
    "wrong method": (_raw("DELETE /health HTTP/1.1\nhost: t\n\n"), 405, "method_not_allowed"),
    "dots in the path": (_raw("GET /v1/../metrics HTTP/1.1\nhost: t\n\n"), 400, "bad_request"),
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
    "http/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    "no host": (_raw("GET /health HTTP/1.1\n\n"), 400, "bad_request"),
    "two hosts": (_raw("GET /health HTTP/1.1\nhost: a\nhost: b\n\n"), 400, "bad_request"),
    "target with spaces": (_raw("GET /a b HTTP/1.1\nhost: t\n\n"), 400, "bad_request"),
    "target beyond ascii": (_raw("GET /v1/\xe9 HTTP/1.1\nhost: t\n\n"), 400, "bad_request"),
    "bad content-length": (_raw("POST /v1/a HTTP/1.1\nhost: t\ncontent-length: x\n\n"), 400, "bad_request"),
    "negative content-length": (_raw("POST /v1/a HTTP/1.1\nhost: t\ncontent-length: -1\n\n"), 400, "bad_request"),
    "two lengths": (
        _raw("POST /v1/a HTTP/1.1\nhost: t\ncontent-length: 2\ncontent-length: 3\n\n{}"),
        400,
        "bad_request",
    ),
    "length and chunked": (
        _raw("POST /v1/a HTTP/1.1\nhost: t\ncontent-length: 3\ntransfer-encoding: chunked\n\n0\n\n"),
        400,
        "bad_request",
    ),
    "unknown transfer-encoding": (
        _raw("POST /v1/a HTTP/1.1\nhost: t\ntransfer-encoding: gzip\n\n0\n\n"),
        400,
        "bad_request",
    ),
    "bad chunk size": (
        _raw("POST /v1/a HTTP/1.1\nhost: t\ntransfer-encoding: chunked\n\nzz\n\n"),
        400,
        "bad_request",
    ),
    "folded header": (_raw("GET /health HTTP/1.1\nhost: t\nx-a: 1\n b\n\n"), 400, "bad_request"),
    "space before colon": (_raw("GET /health HTTP/1.1\nhost : t\n\n"), 400, "bad_request"),
    "nul in a header": (_raw("GET /health HTTP/1.1\nhost: t\nx-a: \x00\n\n"), 400, "bad_request"),
    "connect": (_raw("CONNECT t:443 HTTP/1.1\nhost: t\n\n"), 400, "bad_request"),
    "connect to what reads as a path": (_raw("CONNECT //t:443 HTTP/1.1\nhost: t\n\n"), 400, "bad_request"),
    "unknown expectation": (request(headers=b"expect: wonders\r\n"), 417, "expectation_failed"),
    "long body announced": (
        _raw("POST /v1/a HTTP/1.1\nhost: t\ncontent-length: 5000\n\n"),
        413,
        "body_too_large",
    ),
    "long body announced, continue asked": (
        _raw("POST /v1/a HTTP/1.1\nhost: t\nexpect: 100-continue\ncontent-length: 5000\n\n"),
        413,
        "body_too_large",
    ),
    "long chunked body": (
        _raw("POST /v1/a HTTP/1.1\nhost: t\ntransfer-encoding: chunked\n\n") + chunk(b"x" * 5000) + LAST_CHUNK,
        413,
        "body_too_large",
    ),
    "long header": (_raw(f"GET /health HTTP/1.1\nhost: t\nx-request-id: {'x' * 5000}\n\n"), 431, "header_too_large"),
    "long header without end": (_raw(f"GET /health HTTP/1.1\nhost: t\nx-a: {'x' * 5000}"), 431, "header_too_large"),
    "long target": (_raw(f"GET /v1/{'x' * 5000} HTTP/1.1\nhost: t\n\n"), 431, "header_too_large"),
}


@pytest.mark.parametrize("case", TABLE)
async def test_every_malformed_request_gets_the_right_answer(case: str) -> None:
    """The status and the stable code fit the mistake, no replica sees it, and the next request is served."""
    raw, status, code = TABLE[case]
    async with (
        ScriptedReplica(_ok) as replica,
        running_gateway([replica.port], models=TWO, max_body_bytes=4096, max_header_bytes=2048) as gateway,
    ):
        got, headers, body = await ask(gateway.port, raw)
        error = json.loads(body)["error"]
        assert (got, error["code"]) == (status, code)
        assert headers["content-type"] == "application/json"
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]
        assert not replica.received
        assert (await ask(gateway.port, request()))[2] == b'"fine"'


async def test_nothing_can_be_smuggled_behind_a_request() -> None:
    """A second request hidden in a body stays a body."""
    inner = b"POST /v1/steal HTTP/1.1\r\nhost: t\r\ncontent-length: 0\r\n\r\n"
    async with ScriptedReplica(_ok) as replica, running_gateway([replica.port]) as gateway:
        body = b'{"model":"m","x":%s}' % json.dumps(inner.decode()).encode()
        await ask(gateway.port, request(body))
        assert [seen.body for seen in replica.received] == [body]


async def test_a_request_that_never_ends_is_given_up() -> None:
    """A head that does not end within its time gets 408, a body too."""
    async with running_gateway([], header_timeout_s=0.5) as gateway:
        for raw in (b"GET /health HT", b'POST /v1/completions HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n{"'):
            status, _, body = await ask(gateway.port, raw)
            assert (status, json.loads(body)["error"]["code"]) == (408, "header_timeout")


async def test_an_idle_connection_is_closed() -> None:
    """A client that says nothing is not kept for ever."""
    async with running_gateway([], idle_timeout_s=0.5) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        async with asyncio.timeout(3):
            assert await reader.read() == b""
        writer.close()


async def test_a_refused_upload_can_read_its_answer() -> None:
    """A client that is still sending megabytes when it is refused reads the 413, not a reset."""
    async with running_gateway([], max_body_bytes=4096) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"POST /v1/a HTTP/1.1\r\nhost: t\r\ncontent-length: 20000000\r\n\r\n")
        for _ in range(200):
            writer.write(b"x" * 100_000)
            await writer.drain()
        assert (await read_response(reader))[0] == 413
        writer.close()
