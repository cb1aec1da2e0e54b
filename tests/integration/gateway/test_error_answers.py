"""Replicas that answer with errors: their requests go elsewhere once, and they are left out or left alone."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate

import pytest

from cluster.spec.model_spec import ModelSpec
from router.dispatch.health import ERRORS_IN_A_ROW
from router.http.gateway import Gateway
from router.http.wire.chunked import LAST_CHUNK, chunk
from router.http.wire.upstream.unread_answer import MOST_BYTES
from router.outcome import Outcome
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, Script, ScriptedReplica, plain

ERROR_BODY = b'{"error":{"message":"CUDA error","code":500}}'
GONE = (500, 502, 504)
BUSY = (429, 503, 529)
PLAIN_POLICIES = ("expected_ttft", "prefix_affinity", "consistent_hash", "least_load", "power_of_two", "round_robin")


def answer(status: int, body: bytes = ERROR_BODY, *headers: bytes) -> bytes:
    """Return a whole answer; `headers` are whole lines."""
    head = b"HTTP/1.1 %d Whatever\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
    return head % (status, b"".join(headers), len(body)) + body


def saying(whole: bytes, after_s: float = 0.0) -> Script:
    """Return a script that answers each request with these bytes."""

    async def say(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after_s)
        writer.write(whole)

    return say


def model(policy: str = "round_robin", **more: object) -> Sequence[ModelSpec]:
    """Return the model `m` with a policy."""
    return [ModelSpec.model_validate({"name": "m", "engine": "sim", "policy": policy, **more})]


def chat(number: int) -> bytes:
    """Return a request with a body of its own kind."""
    return request(json.dumps({"model": "m", "messages": [{"role": "user", "content": f"{number} " * 60}]}).encode())


async def ask_all(port: int, count: int, clients: int = 4) -> list[int]:
    """Send requests from several clients, each one after the other; return the statuses."""
    statuses = []

    async def client(first: int) -> None:
        for number in range(first, count, clients):
            statuses.append((await ask(port, chat(number)))[0])  # noqa: PERF401 - as they come

    await asyncio.gather(*(client(first) for first in range(clients)))
    return statuses


def row(gateway: Gateway, number: int) -> dict[str, object]:
    """Return a replica as `/state` shows it."""
    found: dict[str, object] = gateway.state()["models"]["m"]["replicas"][number]
    return found


def resends(gateway: Gateway) -> dict[str, int]:
    """Return the number of resends by reason, without those that have none."""
    retries = gateway._plane.meters.model("m").retries
    return {str(reason): count for reason, count in retries.items() if count}


@pytest.mark.parametrize("policy", PLAIN_POLICIES)
@pytest.mark.parametrize("status", [*GONE, *BUSY])
async def test_no_client_sees_the_errors_of_one_replica(policy: str, status: int) -> None:
    """However quick they are: another replica answers, and the quick one draws no traffic."""
    async with (
        ScriptedReplica(saying(answer(status))) as bad,
        ScriptedReplica(saying(plain(b'"fine"'), after_s=0.01)) as good,
        running_gateway([bad.port, good.port], models=model(policy)) as gateway,
    ):
        assert set(await ask_all(gateway.port, 40)) == {200}
        # Those of one moment come together, and a pause of half a second may end within the test.
        assert len(bad.received) <= 4 * (ERRORS_IN_A_ROW + 2)
        assert sum(resends(gateway).values()) == len(bad.received)
        assert set(resends(gateway)) <= {"busy" if status in BUSY else "error"}
        assert all(row(gateway, number)["in_flight"] == 0 for number in range(2))


@pytest.mark.parametrize("status", [*GONE, *BUSY])
async def test_the_only_replicas_error_reaches_the_client_unchanged(status: int) -> None:
    """Its status, body and `retry-after`; it is asked once, and stays in use."""
    bad = ScriptedReplica(saying(answer(status, ERROR_BODY, b"retry-after: 7\r\n")))
    async with bad, running_gateway([bad.port]) as gateway:
        seen, headers, body = await ask(gateway.port, chat(0))
        assert (seen, headers["retry-after"], body) == (status, "7", ERROR_BODY)
        assert len(bad.received) == 1
        assert row(gateway, 0)["accepting"]
        assert [entry["outcome"] for entry in gateway.state()["outcomes"]] == [Outcome.UPSTREAM_STATUS]


@pytest.mark.parametrize("status", GONE)
async def test_the_second_answer_is_the_clients(status: int) -> None:
    """Where the other replica fails as well, the client gets that answer, and no third replica is asked."""
    second = answer(status, b'"second"')
    replicas = [ScriptedReplica(saying(second)) for _ in range(3)]
    async with (
        replicas[0], replicas[1], replicas[2],
        running_gateway([replica.port for replica in replicas]) as gateway,
    ):  # fmt: skip
        assert (await ask(gateway.port, chat(0)))[::2] == (status, b'"second"')
        assert sum(len(replica.received) for replica in replicas) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 422, 499, 501])
async def test_an_answer_about_the_request_is_the_clients(status: int) -> None:
    """It is never sent again, and never counts against the replica."""
    replicas = [ScriptedReplica(saying(answer(status))) for _ in range(2)]
    async with replicas[0], replicas[1], running_gateway([replica.port for replica in replicas]) as gateway:
        assert set(await ask_all(gateway.port, 12)) == {status}
        assert sum(len(replica.received) for replica in replicas) == 12
        assert all(row(gateway, number)["errors_in_a_row"] == 0 for number in range(2))


async def test_two_of_three_failing_replicas_are_answered_for() -> None:
    """One of the two is left out; the other stays in use, and the third replica answers for it."""
    bad = [ScriptedReplica(saying(answer(500))) for _ in range(2)]
    async with (
        bad[0], bad[1], ScriptedReplica(saying(plain(b'"fine"'))) as good,
        running_gateway([bad[0].port, bad[1].port, good.port], models=model("least_load")) as gateway,
    ):  # fmt: skip
        statuses = await ask_all(gateway.port, 60)
        assert statuses.count(200) >= 57
        assert sum(not row(gateway, number)["accepting"] for number in range(3)) <= 1


async def test_a_slow_error_goes_elsewhere_too() -> None:
    """How long the replica took does not matter, as nothing was sent to the client."""
    async with (
        ScriptedReplica(saying(answer(504), after_s=0.3)) as bad,
        ScriptedReplica(saying(plain(b'"fine"'))) as good,
        running_gateway([bad.port, good.port]) as gateway,
    ):
        assert set(await ask_all(gateway.port, 8)) == {200}
        assert bad.received


async def test_a_replica_that_recovers_is_used_again() -> None:
    """One request finds out, and then it gets its share."""
    is_well = False

    async def recovering(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b'"well"') if is_well else answer(500))

    async with (
        ScriptedReplica(recovering) as bad,
        ScriptedReplica(saying(plain(b'"fine"'))) as good,
        running_gateway([bad.port, good.port]) as gateway,
    ):
        await ask_all(gateway.port, 12)
        assert (row(gateway, 0)["standing"], row(gateway, 0)["errors_in_a_row"]) == ("out", ERRORS_IN_A_ROW)
        is_well = True
        before = len(bad.received)
        async with asyncio.timeout(10):
            while len(bad.received) < before + 3:
                assert (await ask(gateway.port, chat(0)))[0] == 200
                await asyncio.sleep(0.02)
        assert (row(gateway, 0)["standing"], row(gateway, 0)["errors_in_a_row"]) == ("up", 0)


@pytest.mark.parametrize("status", BUSY)
@pytest.mark.parametrize("is_date", [False, True])
async def test_a_busy_replica_gets_nothing_for_the_time_it_asks_for(status: int, is_date: bool) -> None:  # noqa: FBT001 - drawn
    """In seconds or as a date; others answer meanwhile, and it is not blamed."""
    told = formatdate(time.time() + 20.0, usegmt=True) if is_date else "20"
    busy = ScriptedReplica(saying(answer(status, ERROR_BODY, f"retry-after: {told}\r\n".encode())))
    async with (
        busy, ScriptedReplica(saying(plain(b'"fine"'))) as good,
        running_gateway([busy.port, good.port]) as gateway,
    ):  # fmt: skip
        assert set(await ask_all(gateway.port, 20, clients=1)) == {200}
        assert len(busy.received) == 1
        shown = row(gateway, 0)
        assert shown["accepting"]
        assert 15.0 < float(str(shown["busy_s"])) <= 20.0


async def test_requests_wait_for_the_only_replica_while_it_is_busy() -> None:
    """The second request goes out when the time is over, and not before."""
    times: list[float] = []

    async def busy_once(_: Received, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        writer.write(answer(503, ERROR_BODY, b"retry-after: 1\r\n") if len(times) == 1 else plain(b'"fine"'))

    async with ScriptedReplica(busy_once) as replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, chat(0)))[0] == 503
        assert (await ask(gateway.port, chat(1)))[0] == 200
        assert times[1] - times[0] >= 0.95


async def test_no_replica_learns_from_an_error() -> None:
    """A prompt that only got errors counts as cached nowhere."""
    async with (
        ScriptedReplica(saying(answer(500))) as bad,
        running_gateway([bad.port], models=model("expected_ttft")) as gateway,
    ):
        raw = request(chat(7).split(b"\r\n\r\n", 1)[1], headers=b"x-rackserve-explain: 1\r\n")
        for _ in range(3):
            assert (await ask(gateway.port, raw))[1]["x-rackserve-matched-chars"] == "0"


async def test_a_stored_response_is_made_on_one_replica_only() -> None:
    """`/v1/responses` keeps what it makes, so an answer that leaves open whether it was made is the client's."""
    replicas = [ScriptedReplica(saying(answer(504))) for _ in range(2)]
    async with replicas[0], replicas[1], running_gateway([replica.port for replica in replicas]) as gateway:
        for body, sent in ((b'{"model":"m"}', 1), (b'{"model":"m","store":false}', 2)):
            before = sum(len(replica.received) for replica in replicas)
            assert (await ask(gateway.port, request(body, path="/v1/responses")))[0] == 504
            assert sum(len(replica.received) for replica in replicas) - before == sent


async def test_a_stored_response_is_not_made_anew_where_the_replica_broke_off() -> None:
    """It may have been made, so the client decides (RFC 9110, 9.2.2); what is not stored goes elsewhere."""

    async def breaks_off(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.15)
        writer.close()

    replicas = [ScriptedReplica(breaks_off) for _ in range(2)]
    async with replicas[0], replicas[1], running_gateway([replica.port for replica in replicas]) as gateway:
        for body, sent in ((b'{"model":"m"}', 1), (b'{"model":"m","store":false}', 2)):
            before = sum(len(replica.received) for replica in replicas)
            assert (await ask(gateway.port, request(body, path="/v1/responses")))[0] == 502
            assert sum(len(replica.received) for replica in replicas) - before == sent


# --- the connection of an answer that is not passed on


@pytest.mark.parametrize(
    "whole",
    [
        answer(500),
        b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"a") + chunk(b"b" * 5000) + LAST_CHUNK,
        b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("is_split", [False, True])
async def test_the_rest_of_an_error_is_dropped_and_its_connection_used_again(whole: bytes, is_split: bool) -> None:  # noqa: FBT001 - drawn
    """The body comes with the head or later; the next request gets its own answer on the same connection."""

    async def bad_once(_: Received, writer: asyncio.StreamWriter) -> None:
        if len(bad.received) > 1:
            writer.write(plain(b'"mine"'))
            return
        head, body = whole.split(b"\r\n\r\n", 1)
        writer.write(head + b"\r\n\r\n")
        if is_split:
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write(body)

    bad = ScriptedReplica(bad_once)
    async with (
        bad,
        ScriptedReplica(saying(plain(b'"fine"'))) as good,
        running_gateway([bad.port, good.port]) as gateway,
    ):
        while not bad.received:
            assert (await ask(gateway.port, chat(0)))[0] == 200
        await asyncio.sleep(0.1)
        bodies = [(await ask(gateway.port, chat(0)))[2] for _ in range(4)]
        assert set(bodies) == {b'"mine"', b'"fine"'}
        assert bad.connections == 1


async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
    """Answer with an error that has no end."""
    writer.write(b"HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(chunk(b"x" * MOST_BYTES))
        await writer.drain()


async def silent_after_the_head(_: Received, writer: asyncio.StreamWriter) -> None:
    """Answer with an error whose body never comes."""
    writer.write(b"HTTP/1.1 500 Oops\r\ncontent-length: 10\r\n\r\n")
    await asyncio.sleep(30)


@pytest.mark.parametrize("script", [endless, silent_after_the_head])
async def test_an_error_without_an_end_costs_its_connection(script: Callable[..., Awaitable[None]]) -> None:
    """It is closed after a bounded number of bytes, or a bounded time; the client has long been answered."""
    async with (
        ScriptedReplica(script) as bad,
        ScriptedReplica(saying(plain(b'"fine"'))) as good,
        running_gateway([bad.port, good.port]) as gateway,
    ):
        for _ in range(2):
            assert (await ask(gateway.port, chat(0)))[0] == 200
        pool = next(
            route.pool for route in gateway._plane._routes.values() if route.pool.endpoint.http_port == bad.port
        )
        async with asyncio.timeout(5):
            while pool.open:  # noqa: ASYNC110 - the gateway has no event for it
                await asyncio.sleep(0.02)


# --- within streams


async def test_a_stream_that_is_continued_by_a_failing_replica_is_continued_by_the_next() -> None:
    """The replica that takes a cut stream over answers with an error; a third one goes on."""

    def said(text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        return chunk(b"data: " + json.dumps({"id": "x", "created": 1, "choices": [choice]}).encode() + b"\n\n")

    async def speak(received: Received, writer: asyncio.StreamWriter) -> None:
        took.append(received)
        if len(took) == 1:
            writer.write(SSE_HEAD + said("one "))
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
        elif len(took) == 2:
            writer.write(answer(500))
        else:
            writer.write(SSE_HEAD + said("two", "stop") + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    took: list[Received] = []
    replicas = [ScriptedReplica(speak) for _ in range(3)]
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}],"max_tokens":12}'
    async with (
        replicas[0], replicas[1], replicas[2],
        running_gateway([replica.port for replica in replicas]) as gateway,
    ):  # fmt: skip
        status, _, events = await ask(gateway.port, request(body))
        assert (status, len(took)) == (200, 3)
        assert b'"one "' in events
        assert b'"two"' in events
        assert events.rstrip().endswith(b"[DONE]")


@pytest.mark.parametrize("policy", ["least_load", "expected_ttft"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_errors_as_a_streams_first_event_reach_no_client(policy: str, path: str) -> None:
    """Engines answer a stream with 200 before they know; another replica answers, and the failing one is left out."""
    failed = chunk(b'data: {"error":{"message":"CUDA error","type":"InternalServerError","code":500}}\n\n')
    body = {"id": "x", "created": 1, "choices": [{"index": 0, "delta": {"content": "fine"}, "text": "fine"}]}
    well = chunk(b"data: " + json.dumps(body).encode() + b"\n\n") + chunk(b"data: [DONE]\n\n") + LAST_CHUNK
    async with (
        ScriptedReplica(saying(SSE_HEAD + failed + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)) as bad,
        ScriptedReplica(saying(SSE_HEAD + well, after_s=0.01)) as good,
        running_gateway([bad.port, good.port], models=model(policy)) as gateway,
    ):
        for number in range(20):
            asked = {"model": "m", "stream": True, "prompt": f"{number}", "messages": [{"content": f"{number}"}]}
            status, _, events = await ask(gateway.port, request(json.dumps(asked).encode(), path=path))
            assert (status, b"CUDA" in events, b"fine" in events) == (200, False, True)
        assert len(bad.received) <= ERRORS_IN_A_ROW + 2


async def test_the_only_replicas_error_within_a_stream_is_counted_as_one() -> None:
    """The client gets the event as it came; the request did not end well."""
    failed = b'data: {"error":{"message":"CUDA error","type":"InternalServerError","code":500}}\n\n'
    only = ScriptedReplica(saying(SSE_HEAD + chunk(failed) + LAST_CHUNK))
    async with only, running_gateway([only.port]) as gateway:
        raw = request(b'{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}]}')
        assert (await ask(gateway.port, raw))[2] == failed
        assert [entry["outcome"] for entry in gateway.state()["outcomes"]] == [Outcome.REPLICA_FAILED]
        assert row(gateway, 0)["errors_in_a_row"] == 1
