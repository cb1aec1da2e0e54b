"""Divided requests on the wire: one replica computes the prompt, another fetches it and answers the client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from cluster.spec.model_spec import ModelSpec
from cluster.spec.role import Role
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from router.replicas.kv_transfer import KvTransfer
from router.replicas.load_report import LoadReport
from tests.integration.gateway.running_gateway import ask, read_response, request, running_gateway, until
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

PROMPT = "word " * 8_000
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": PROMPT}], "min_tokens": 2}).encode()
STREAM = CHAT[:-1] + b', "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9}'
KEPT = {"do_remote_prefill": True, "do_remote_decode": False, "remote_block_ids": [[1, 2]], "remote_engine_id": "e"}
COMPUTED = json.dumps(
    {"choices": [], "usage": {"prompt_tokens": 8000, "completion_tokens": 1}, "kv_transfer_params": KEPT}
).encode()
ANSWER = json.dumps(
    {
        "choices": [],
        "usage": {"prompt_tokens": 8000, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 8000}},
    }
).encode()


async def computes(_: Received, writer: asyncio.StreamWriter) -> None:
    """Compute the prompt and keep its blocks."""
    writer.write(plain(COMPUTED))


async def answers(asked: Received, writer: asyncio.StreamWriter) -> None:
    """Answer, as a stream if that was asked for."""
    if b'"stream": true' in asked.body:
        writer.write(SSE_HEAD + b'12\r\ndata: {"choices":[\r\n4\r\n]}\n\n\r\n' + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
    else:
        writer.write(plain(ANSWER))


async def waits(_: Received, writer: asyncio.StreamWriter) -> None:
    """Answer nothing until the gateway has closed the connection."""
    while True:
        await asyncio.sleep(0.01)
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()


def _row(name: str, replica: ScriptedReplica) -> Endpoint:
    role = Role.PREFILL if name.startswith("p") else Role.DECODE
    card = KvTransfer("nixl", sends=role is Role.PREFILL, receives=role is Role.DECODE, block_tokens=32)
    return Endpoint(name, "m", "127.0.0.1", replica.port, role=role, transfer=card, continues_messages=True)


@asynccontextmanager
async def _pools(**replicas: ScriptedReplica) -> AsyncIterator[Gateway]:
    """Run a gateway before prefill replicas (p…) and decode replicas (d…), on each of which 40 streams run."""
    async with AsyncExitStack() as stack:
        for replica in replicas.values():
            await stack.enter_async_context(replica)
        rows = [_row(name, replica) for name, replica in replicas.items()]
        model = ModelSpec(name="m", engine="sim", policy="expected_ttft")
        gateway = await stack.enter_async_context(running_gateway([], models=[model], endpoints=rows))
        for name in replicas:
            if name.startswith("d"):
                gateway.apply_report(name, LoadReport(1, 40, 0, 0, 0.1, 1_000_000, 8_000.0, 1_000.0))
        yield gateway


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["whole", "stream"])
async def test_the_prompt_is_computed_by_one_replica_and_answered_by_another(body: bytes) -> None:
    """The first leg asks for one token and no stream; the second is the client's body as it came, and the blocks."""
    prefill, decode = ScriptedReplica(computes), ScriptedReplica(answers)
    async with _pools(p=prefill, d=decode) as gateway:
        status, headers, answer = await ask(gateway.port, request(body, headers=b"x-request-id: abc\r\n"))
    assert status == 200
    assert answer == ANSWER if body is CHAT else answer.endswith(b"data: [DONE]\n\n")
    (first,), (second,) = prefill.received, decode.received
    asked = json.loads(first.body)
    assert (asked["max_tokens"], asked["max_completion_tokens"], asked["stream"]) == (1, 1, False)
    assert "stream_options" not in asked
    assert "min_tokens" not in asked
    assert asked["messages"] == json.loads(body)["messages"]
    assert asked["kv_transfer_params"]["do_remote_decode"] is True
    assert json.loads(second.body)["kv_transfer_params"] == KEPT
    own = body[:-1] if body is CHAT else body[: body.index(b'"stream_options"')]
    assert second.body.startswith(own)
    assert first.header("x-request-id") == second.header("x-request-id") == headers["x-request-id"] == "abc"


async def test_a_request_that_cannot_be_divided_goes_to_one_replica() -> None:
    """Several answers to one prompt, or an echo: the body goes to one replica as it is."""
    prefill, decode = ScriptedReplica(computes), ScriptedReplica(answers)
    bodies = [CHAT[:-1] + more for more in (b', "n": 2}', b', "n": [1]}', b', "echo": true}')]
    async with _pools(p=prefill, d=decode) as gateway:
        for body in bodies:
            status, _, answer = await ask(gateway.port, request(body))
            assert (status, answer) == (200, ANSWER)
    assert not prefill.received
    assert [each.body for each in decode.received] == bodies


@pytest.mark.parametrize("how", ["closes", "500", "503", "400", "nothing kept"])
async def test_a_prefill_replica_that_fails_costs_no_request(how: str) -> None:
    """Whatever the prefill replica does, the client gets the whole answer of the decode replica, which computes."""

    async def fails(_: Received, writer: asyncio.StreamWriter) -> None:
        if how == "closes":
            writer.close()
        elif how == "nothing kept":
            writer.write(plain(ANSWER))
        else:
            writer.write(b"HTTP/1.1 %s X\r\ncontent-length: 2\r\n\r\n{}" % how.encode())

    prefill, decode = ScriptedReplica(fails), ScriptedReplica(answers)
    async with _pools(p=prefill, d=decode) as gateway:
        status, _, answer = await ask(gateway.port, request(CHAT))
        assert (status, answer) == (200, ANSWER)
        (state,) = gateway.state()["models"].values()
    assert prefill.received
    assert [each.body for each in decode.received] == [CHAT]
    assert all(row["in_flight"] == 0 for row in state["replicas"])


async def test_another_prefill_replica_takes_over() -> None:
    """Where the first prefill replica breaks off, the second one computes the prompt."""

    async def fails(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    broken, prefill, decode = ScriptedReplica(fails), ScriptedReplica(computes), ScriptedReplica(answers)
    async with _pools(p0=broken, p1=prefill, d=decode) as gateway:
        for _ in range(4):
            status, _, answer = await ask(gateway.port, request(CHAT.replace(b"word", b"%04d" % len(prefill.received))))
            assert (status, answer) == (200, ANSWER)
    assert len(prefill.received) == 4
    assert all(b"remote_engine_id" in each.body for each in decode.received)


async def test_another_decode_replica_fetches_the_same_blocks() -> None:
    """A decode replica that breaks off before its first byte: the next one gets the same blocks."""

    async def breaks(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    prefill = ScriptedReplica(computes)
    decoders = [ScriptedReplica(breaks), ScriptedReplica(answers)]
    async with _pools(p=prefill, d0=decoders[0], d1=decoders[1]) as gateway:
        for number in range(6):
            status, _, answer = await ask(gateway.port, request(CHAT.replace(b"word", b"%04d" % number)))
            assert (status, answer) == (200, ANSWER)
    assert decoders[0].received
    asked = [json.loads(each.body) for each in decoders[1].received]
    assert len(asked) == 6
    assert all(each["kv_transfer_params"] == KEPT for each in asked)
    assert len(prefill.received) == 6


async def test_a_client_cannot_say_where_an_engine_fetches_memory() -> None:
    """What an engine fetched from an address of the client's would be cached for others: 400, and nothing is sent."""
    prefill, decode = ScriptedReplica(computes), ScriptedReplica(answers)
    theirs = {"do_remote_prefill": True, "remote_host": "10.0.0.1", "remote_port": 80}
    body = CHAT[:-1] + b', "kv_transfer_params": ' + json.dumps(theirs).encode() + b"}"
    async with _pools(p=prefill, d=decode) as gateway:
        status, _, answer = await ask(gateway.port, request(body))
        assert status == 400
        assert json.loads(answer)["error"]["param"] == "kv_transfer_params"
        status, _, _ = await ask(gateway.port, request(CHAT[:-1] + b', "kv_transfer_params": null}'))
        assert status == 200
    assert len(prefill.received) == len(decode.received) == 1


async def test_a_client_that_leaves_ends_the_first_leg() -> None:
    """The prefill replica's connection is closed at once, and nothing stays counted there or on the decode replica."""
    prefill, decode = ScriptedReplica(waits), ScriptedReplica(answers)
    async with _pools(p=prefill, d=decode) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(CHAT))
        await until(lambda: bool(prefill.received))
        writer.close()
        await asyncio.wait_for(prefill.one_closed.wait(), 2.0)
        (state,) = gateway.state()["models"].values()
        assert all(row["in_flight"] == 0 for row in state["replicas"])
    assert not decode.received


async def test_a_slow_prefill_replica_is_given_up_on() -> None:
    """A replica that takes four times as long as expected, and two seconds more: the decode replica computes."""
    prefill, decode = ScriptedReplica(waits), ScriptedReplica(answers)
    async with _pools(p=prefill, d=decode) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(CHAT))
        async with asyncio.timeout(15):
            status, _, answer = await read_response(reader)
        writer.close()
    assert (status, answer) == (200, ANSWER)
    assert [each.body for each in decode.received] == [CHAT]
