"""Replicas that fail: before the first byte nobody notices, after it nobody is left guessing."""

import asyncio
import json

import pytest

from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.free_ports import free_ports
from tests.integration.gateway.running_gateway import NOT_HELD, ask, read_response, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain


async def _ok(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(plain(b'"fine"'))


async def _hang_up(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _nonsense(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp.example.org ESMTP\r\n\r\n")


async def _going_away(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nx-rackserve-retry: 1\r\ncontent-length: 0\r\n\r\n")


def _code(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


@pytest.mark.parametrize("script", [_hang_up, _nonsense, _going_away])
async def test_a_replica_that_fails_before_answering_costs_nothing(script: object) -> None:
    """Each request is answered by the other replica; the client sees no error."""
    async with (
        ScriptedReplica(script) as bad,  # type: ignore[arg-type]
        ScriptedReplica(_ok) as good,
        running_gateway([bad.port, good.port]) as gateway,
    ):
        for _ in range(4):
            status, _, body = await ask(gateway.port, request())
            assert (status, body) == (200, b'"fine"')
        assert bad.received, "round robin never tried the bad one, so the test proved nothing"
        assert all(row["in_flight"] == 0 for row in gateway.state()["models"]["m"]["replicas"])


async def test_a_dead_port_is_passed_over_and_left_out() -> None:
    """A replica that refuses connections is tried once, then left out until its pause is over."""
    async with ScriptedReplica(_ok) as gone:
        dead_port = gone.port
    async with ScriptedReplica(_ok) as good, running_gateway([dead_port, good.port]) as gateway:
        for _ in range(4):
            assert (await ask(gateway.port, request()))[0] == 200
        rows = gateway.state()["models"]["m"]["replicas"]
        assert [row["accepting"] for row in rows] == [False, True]
        assert rows[0]["sent"] == 1


async def test_a_request_that_kills_replicas_does_not_kill_them_all() -> None:
    """After three replicas the gateway gives up with 502 and a stable code."""
    replicas = [ScriptedReplica(_hang_up) for _ in range(5)]
    async with (
        replicas[0], replicas[1], replicas[2], replicas[3], replicas[4],
        running_gateway([replica.port for replica in replicas]) as gateway,
    ):  # fmt: skip
        status, _, body = await ask(gateway.port, request())
        assert (status, _code(body)) == (502, "replica_failed")
        assert sum(len(replica.received) for replica in replicas) == 3


async def test_no_replica_is_503_with_retry_after() -> None:
    """Where nobody starts another, a model without replicas is said to be so, and the connection stays usable."""
    async with running_gateway([], models=[NOT_HELD]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in range(2):
            writer.write(request())
            status, headers, body = await read_response(reader)
            assert (status, _code(body), headers["retry-after"]) == (503, "no_replica", "1")
        writer.close()


async def test_a_request_finds_the_one_replica_that_is_left() -> None:
    """Seven of eight went at once, and nobody has said so yet: the first request is answered, and so are all others."""
    gone = free_ports(7)
    async with ScriptedReplica(_ok) as last, running_gateway([*gone, last.port]) as gateway:
        for _ in range(8):
            assert (await ask(gateway.port, request()))[::2] == (200, b'"fine"')
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["ok"]


async def test_a_stale_connection_is_no_failure() -> None:
    """A replica that closed an idle connection just as it was used again is asked once more, and not blamed."""

    async def close_on_reuse(request: Received, writer: asyncio.StreamWriter) -> None:
        seen = sum(1 for other in replica.received if other.connection == request.connection)
        if seen == 1:
            writer.write(plain(b"1"))
        else:
            writer.close()

    replica = ScriptedReplica(close_on_reuse)
    async with replica, running_gateway([replica.port]) as gateway:
        for _ in range(4):
            assert (await ask(gateway.port, request()))[0] == 200
        assert gateway.state()["models"]["m"]["replicas"][0]["accepting"]


async def test_a_stream_that_breaks_ends_with_an_error_event() -> None:
    """The client gets what came, then an OpenAI-shaped error as an event, in sound framing."""

    async def die_midway(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async with ScriptedReplica(die_midway) as replica, running_gateway([replica.port]) as gateway:
        status, _, body = await ask(gateway.port, request())
        events = body.split(b"\n\n")
        assert (status, events[0]) == (200, b"data: 1")
        assert _code(events[1].removeprefix(b"data: ")) == "replica_failed"
        outcomes = [row["outcome"] for row in gateway.state()["outcomes"]]
        assert outcomes == ["replica_failed"]


async def test_an_answer_that_breaks_off_comes_whole_from_another_replica() -> None:
    """The client has no byte of it yet, as it is no stream and short; it gets one answer, and no failure is counted."""

    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async def in_parts(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\nwh")
        for part in (b"o", b"le", b" ha"):
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(part)

    async with (
        ScriptedReplica(half) as one,
        ScriptedReplica(in_parts) as two,
        running_gateway([one.port, two.port]) as gateway,
    ):
        for _ in range(2):  # both begin with the first replica, or the second request finds it left out
            status, headers, body = await ask(gateway.port, request())
            assert (status, headers["content-length"], body) == (200, "8", b"whole ha")
        assert len(one.received) >= 1
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["ok"]


async def test_a_long_answer_that_breaks_is_seen_to_be_broken() -> None:
    """It is passed on as it comes, and half a body is never made to look whole: the connection ends within it."""

    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with ScriptedReplica(half) as replica, running_gateway([replica.port]) as gateway:
        with pytest.raises(asyncio.IncompleteReadError):
            await ask(gateway.port, request())


async def test_bytes_nobody_asked_for_reach_nobody() -> None:
    """What a replica sends behind its answer is dropped with its connection, not given to the next request."""

    async def two_answers(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b"1") + plain(b"forged"))

    async with ScriptedReplica(two_answers) as replica, running_gateway([replica.port]) as gateway:
        for _ in range(3):
            assert (await ask(gateway.port, request()))[2] == b"1"
        assert replica.connections == 3


async def test_a_silent_replica_times_out() -> None:
    """A replica that accepts and then says nothing fails the request after the model's time, with 504."""
    from cluster.spec.model_spec import ModelSpec  # noqa: PLC0415 - only here

    async def silent(_: Received, writer: asyncio.StreamWriter) -> None:
        del writer
        await asyncio.sleep(30)

    model = ModelSpec(name="m", engine="sim", policy="round_robin", request_timeout_s=0.5)
    async with ScriptedReplica(silent) as replica, running_gateway([replica.port], models=[model]) as gateway:
        status, _, body = await ask(gateway.port, request())
        assert (status, _code(body)) == (504, "replica_timeout")


async def test_a_trailing_stream_is_complete_before_the_next_request() -> None:
    """Two streams on one connection do not mix."""

    async def stream(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + chunk(request.body) + LAST_CHUNK)

    async with ScriptedReplica(stream) as replica, running_gateway([replica.port]) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for number in range(10):
            body = b'{"model":"m","n":%d}' % number
            writer.write(request(body))
            assert (await read_response(reader))[2] == body
        writer.close()
