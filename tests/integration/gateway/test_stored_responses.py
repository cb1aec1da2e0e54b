"""Requests about a stored response reach the replica that stored it, through any gateway, for its own tenant alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from itertools import count

import pytest

from router.http.gateway import Gateway
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica, plain

PATH = "/v1/responses"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Store:
    """What a replica does that stores responses: as vLLM, it calls one by the body's `request_id` if it has one."""

    _numbers = count()

    def __init__(self) -> None:
        self.responses: dict[str, bytes] = {}

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        """Answer a request for or about a response."""
        method, target, _ = received.head.split(b" ", 2)
        parts = target.decode().split("?")[0].split("/")
        if method == b"POST" and len(parts) == 3:
            writer.write(self._create(json.loads(received.body)))
        elif parts[3] not in self.responses:
            writer.write(NOT_FOUND)
        else:
            writer.write(plain(self.responses[parts[3]]))

    def _create(self, body: dict[str, str]) -> bytes:
        before = body.get("previous_response_id")
        if before is not None and before not in self.responses:
            return NOT_FOUND
        name = body.get("request_id", f"resp_{next(self._numbers)}")
        made = {"id": name, "object": "response", "output": [], "usage": {"input_tokens": 1000, "output_tokens": 9}}
        self.responses[name] = json.dumps(made).encode()
        if not body.get("stream"):
            return plain(self.responses[name])
        event = b'data: {"type":"response.created","response":%s}\n\n' % self.responses[name]
        return SSE_HEAD + chunk(event[:50]) + chunk(event[50:]) + LAST_CHUNK


@asynccontextmanager
async def _replicas(number: int) -> AsyncIterator[list[ScriptedReplica]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(ScriptedReplica(Store())) for _ in range(number)]


async def _create(gateway: Gateway, headers: bytes = b"", **more: object) -> str:
    body = json.dumps({"model": "m", "input": "hi", **more}).encode()
    status, _, answer = await ask(gateway.port, request(body, path=PATH, headers=headers))
    assert status == 200
    return str(json.loads(answer.partition(b'"response":')[2].rstrip()[:-1] or answer)["id"])


async def _statuses(gateway: Gateway, name: str, headers: bytes = b"") -> list[int]:
    """Return the statuses of all that can be asked about a response."""
    head = b"%s " + PATH.encode() + b"/%s HTTP/1.1\r\nhost: t\r\n%scontent-length: 0\r\n\r\n"
    asked = [(b"GET", b""), (b"POST", b"/cancel"), (b"GET", b"/input_items"), (b"DELETE", b"")]
    raw = [head % (method, name.encode() + end, headers) for method, end in asked]
    body = json.dumps({"model": "m", "input": "and?", "previous_response_id": name}).encode()
    raw.append(request(body, path=PATH, headers=headers))
    return [(await ask(gateway.port, each))[0] for each in raw]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_asked_about_a_response_reaches_its_replica(stream: bool) -> None:  # noqa: FBT001 - a case
    """By its id or as the turn before, streamed or not; none is sent to two replicas, and none asks around."""
    async with _replicas(3) as replicas, running_gateway([replica.port for replica in replicas]) as gateway:
        made = [await _create(gateway, stream=stream) for _ in range(6)]
        assert all(len(replica.script.responses) == 2 for replica in replicas)  # type: ignore[attr-defined]
        for name in reversed(made):
            assert await _statuses(gateway, name) == [200] * 5
        assert sum(len(replica.received) for replica in replicas) == 6 + 6 * 5


async def test_another_gateway_finds_the_replica() -> None:
    """Gateways share nothing: one that did not pass a response on asks the replicas, once."""
    async with _replicas(3) as replicas:
        ports = [replica.port for replica in replicas]
        async with running_gateway(ports, credential="inner") as one, running_gateway(ports) as two:
            made = [await _create(one) for _ in range(6)]
            for name in made:
                assert await _statuses(two, name) == [200] * 5
            looked_up = [
                seen for replica in replicas for seen in replica.received if seen.header("x-rackserve-gateway") is None
            ]
            assert len(looked_up) == 3 * len(made)
            assert await _statuses(two, "resp_none") == [404] * 5


async def test_an_answer_about_a_response_costs_its_tenant_nothing() -> None:
    """The tokens that a stored response tells of were counted when it was made."""
    async with _replicas(2) as replicas, running_gateway([replica.port for replica in replicas]) as gateway:
        name = await _create(gateway)
        await ask(gateway.port, b"GET /v1/responses/%s HTTP/1.1\r\nhost: t\r\n\r\n" % name.encode())
        text = (await ask(gateway.admin_port, b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n"))[2].decode()
        [line] = [
            line for line in text.splitlines() if line.startswith("rackserve_tokens_total{") and '"prompt"' in line
        ]
        assert float(line.rsplit(" ", 1)[1]) == 1000


TENANTS = [{"name": name, "key_sha256": sha256(name.encode()).hexdigest()} for name in ("acme", "rival")]
ACME, RIVAL = b"authorization: Bearer acme\r\n", b"authorization: Bearer rival\r\n"


async def test_a_response_is_its_own_tenants() -> None:
    """Another tenant is told that there is none, through the same gateway as through another one."""
    async with _replicas(2) as replicas:
        ports = [replica.port for replica in replicas]
        async with running_gateway(ports, tenants=TENANTS) as one, running_gateway(ports, tenants=TENANTS) as two:
            name = await _create(one, ACME)
            chosen = await _create(one, ACME, request_id="resp_guess")
            assert chosen != "resp_guess", "an id that others can guess is not taken"
            for gateway in (one, two):
                assert await _statuses(gateway, name, RIVAL) == [404] * 5
                assert await _statuses(gateway, name, ACME) == [200] * 5


async def test_a_response_whose_replica_is_gone_is_gone() -> None:
    """The answer says so; no other replica is asked."""
    async with _replicas(2) as replicas, running_gateway([replica.port for replica in replicas]) as gateway:
        names = [await _create(gateway) for _ in range(2)]
        gateway.apply_view([])
        sent = sum(len(replica.received) for replica in replicas)
        for name in names:
            assert await _statuses(gateway, name) == [404] * 5
        assert sum(len(replica.received) for replica in replicas) == sent


async def test_a_client_that_leaves_ends_the_search() -> None:
    """Replicas that do not answer are not waited for once nobody wants to know."""
    asked = asyncio.Semaphore(0)

    async def say_nothing(_: Received, writer: asyncio.StreamWriter) -> None:
        del writer
        asked.release()

    async with (
        ScriptedReplica(say_nothing) as one,
        ScriptedReplica(say_nothing) as two,
        running_gateway([one.port, two.port]) as gateway,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /v1/responses/resp_1 HTTP/1.1\r\nhost: t\r\n\r\n")
        async with asyncio.timeout(3):
            for _ in range(2):
                await asked.acquire()
            writer.close()
            await one.one_closed.wait()
            await two.one_closed.wait()
