"""Requests that no replica has room for wait in the gateway: by priority, not for ever, and never lost."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.spec.model_spec import ModelSpec
from router.flow_control.slots.engine_depth import STEP_S
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, ScriptedReplica, plain
from tests.machine_speed import slowness

GOING_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nx-rackserve-retry: 1\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Turnstile:
    """A replica's script that answers one request for each `let_through`."""

    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def let_through(self, count: int = 1) -> None:
        """Let `count` more requests be answered."""
        for _ in range(count):
            self._turns.release()

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        """Answer once it is this request's turn."""
        await self._turns.acquire()
        writer.write(plain(received.body))


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nothing announces what holds here
            await asyncio.sleep(0.005)


def queue(gateway: Gateway) -> dict[str, Any]:
    """The model's queue, as `/state` has it."""
    view: dict[str, Any] = gateway.state()["models"]["m"]["queue"]
    return view


def waiting(gateway: Gateway) -> int:
    """How many requests wait."""
    return int(queue(gateway)["waiting"])


async def one_place(gateway: Gateway, replica_id: str = "r0") -> None:
    """Let a replica say for longer than a step that requests queue inside it while none runs: it is then given one."""
    for sequence in (1, 2):
        gateway.apply_report(replica_id, LoadReport(sequence, 0, 2, 0, 0.0, 0, 0.0, 0.0))
        await asyncio.sleep(1.1 * STEP_S)
    gateway.apply_report(replica_id, None)


@asynccontextmanager
async def narrow_gateway(**settings: object) -> AsyncIterator[tuple[Gateway, ScriptedReplica, Turnstile]]:
    """Run a gateway in front of one replica that takes one request at a time."""
    turnstile = Turnstile()
    async with ScriptedReplica(turnstile) as replica, running_gateway([replica.port], **settings) as gateway:  # type: ignore[arg-type]
        await one_place(gateway)
        yield gateway, replica, turnstile


def body(number: int) -> bytes:
    """A request's body that names it."""
    return b'{"model":"m","n":%d}' % number


def code(answer: bytes) -> str:
    """The error code of a refusal."""
    return str(json.loads(answer)["error"]["code"])


def numbers(replica: ScriptedReplica) -> list[int]:
    """The requests a replica has got, in order."""
    return [json.loads(received.body)["n"] for received in replica.received]


async def test_the_most_urgent_goes_first() -> None:
    """Of three that wait, high goes before normal before low, in whatever order they came."""
    async with narrow_gateway() as (gateway, replica, turnstile):
        asks = [asyncio.create_task(ask(gateway.port, request(body(0))))]
        await eventually(lambda: len(replica.received) == 1)
        for number, priority in enumerate((b"low", b"normal", b"HIGH"), start=1):
            headers = b"x-priority: %s\r\n" % priority
            asks.append(asyncio.create_task(ask(gateway.port, request(body(number), headers=headers))))
            await eventually(lambda number=number: waiting(gateway) == number)  # type: ignore[misc]
        turnstile.let_through(4)
        assert [status for status, _, _ in await asyncio.gather(*asks)] == [200] * 4
        assert numbers(replica) == [0, 3, 2, 1]
        state = queue(gateway)
        assert (state["waiting"], state["in_flight"], state["refused"]) == (0, 0, 0)


async def test_a_client_that_leaves_while_it_waits_is_forgotten_at_once() -> None:
    """Its request never reaches a replica, and its place is free."""
    async with narrow_gateway() as (gateway, replica, turnstile):
        first = asyncio.create_task(ask(gateway.port, request(body(0))))
        await eventually(lambda: len(replica.received) == 1)
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request(body(1)))
        await eventually(lambda: waiting(gateway) == 1)
        writer.close()
        await eventually(lambda: waiting(gateway) == 0)
        turnstile.let_through(2)
        assert (await first)[0] == 200
        assert (await ask(gateway.port, request(body(2))))[0] == 200
        assert numbers(replica) == [0, 2]
        outcomes = {row["outcome"]: row["count"] for row in gateway.state()["outcomes"]}
        assert outcomes == {"ok": 2, "client_left": 1}


async def test_a_deadline_ends_the_wait() -> None:
    """A request that has waited as long as it may is refused as `deadline`, and never reaches a replica."""
    async with narrow_gateway() as (gateway, replica, turnstile):
        first = asyncio.create_task(ask(gateway.port, request(body(0))))
        await eventually(lambda: len(replica.received) == 1)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        late = request(body(1), headers=b"x-request-timeout-ms: 300\r\n")
        status, headers, answer = await ask(gateway.port, late)
        assert (status, code(answer)) == (429, "deadline")
        assert int(headers["retry-after"]) >= 1
        assert loop.time() - began_s >= 0.29
        turnstile.let_through()
        assert (await first)[0] == 200
        assert numbers(replica) == [0]


async def test_what_would_wait_too_long_is_refused_at_once() -> None:
    """Behind thirty requests, of which ten a second go, one that may wait 1 s is refused, with a time to retry."""

    async def tenth(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(plain(b"{}"))

    async with ScriptedReplica(tenth) as replica, running_gateway([replica.port]) as gateway:
        await one_place(gateway)
        asks = [asyncio.create_task(ask(gateway.port, request(body(number)))) for number in range(60)]
        await eventually(lambda: 20 <= waiting(gateway) <= 30 and len(replica.received) >= 30)
        drain_s = queue(gateway)["drain_s"]
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        status, headers, answer = await ask(gateway.port, request(body(99), headers=b"x-request-timeout-ms: 1000\r\n"))
        assert (status, code(answer)) == (429, "deadline")
        assert loop.time() - began_s < 0.5 * slowness()
        # It would be taken once no more than a second of work is before it.
        assert abs(int(headers["retry-after"]) - (drain_s - 1.0)) <= 1.5
        for task in asks:
            task.cancel()
        await asyncio.gather(*asks, return_exceptions=True)


async def test_held_while_there_is_no_replica_and_answered_by_the_first() -> None:
    """With no replica at all requests wait, count as demand, and are answered once there is one."""
    held = asyncio.Event()
    turnstile = Turnstile()
    async with ScriptedReplica(turnstile) as replica, running_gateway([]) as gateway:
        gateway.when_held(held.set)
        asks = [asyncio.create_task(ask(gateway.port, request(body(number)))) for number in range(5)]
        await eventually(lambda: waiting(gateway) == 5)
        assert held.is_set()
        load = gateway.load()["m"]
        assert (load.waiting_requests, queue(gateway)["held"], load.offered_requests) == (5, 5, 5)
        assert load.waiting_work == load.offered_work > 0
        turnstile.let_through(5)
        gateway.apply_view([Endpoint("late", "m", "127.0.0.1", replica.port)])
        assert [status for status, _, _ in await asyncio.gather(*asks)] == [200] * 5
        load = gateway.load()["m"]
        view = queue(gateway)
        assert (load.waiting_requests, view["held"], view["in_flight"]) == (0, 0, 0)
        assert len(gateway.state()["models"]["m"]["replicas"]) == 1
        assert load.dispatched_work == load.offered_work


async def test_held_for_too_long_is_no_capacity() -> None:
    """When no replica comes within the model's `cold_start_timeout_s`, the request is refused with 503."""
    model = ModelSpec(name="m", engine="sim", policy="round_robin", cold_start_timeout_s=0.4)
    async with running_gateway([], models=[model]) as gateway:
        status, headers, answer = await ask(gateway.port, request())
        assert (status, code(answer)) == (503, "no_capacity")
        assert int(headers["retry-after"]) >= 1


async def test_a_replica_that_leaves_last_loses_nothing() -> None:
    """A request sent back by the only replica, which is going away, is held and answered by the next one."""

    async def leave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(GOING_AWAY)

    turnstile = Turnstile()
    turnstile.let_through(3)
    async with (
        ScriptedReplica(leave) as last,
        ScriptedReplica(turnstile) as first,
        running_gateway([last.port]) as gateway,
    ):
        asks = [asyncio.create_task(ask(gateway.port, request(body(number)))) for number in range(3)]
        await eventually(lambda: waiting(gateway) == 3)
        assert len(last.received) <= 3
        assert queue(gateway)["held"] == 3
        gateway.apply_view([Endpoint("next", "m", "127.0.0.1", first.port)])
        assert [status for status, _, _ in await asyncio.gather(*asks)] == [200] * 3


@pytest.mark.parametrize(
    ("limits", "refused"),
    [({"max_waiting_requests": 2}, "queue_full"), ({"max_waiting_bytes": 2 * len(body(1))}, "queue_full")],
)
async def test_what_waits_is_bounded(limits: dict[str, int], refused: str) -> None:
    """Beyond the bound on requests, or on their bytes, more are refused at once with 429."""
    async with narrow_gateway(**limits) as (gateway, replica, turnstile):
        asks = [asyncio.create_task(ask(gateway.port, request(body(number)))) for number in range(3)]
        await eventually(lambda: waiting(gateway) == 2)
        status, headers, answer = await ask(gateway.port, request(body(3)))
        assert (status, code(answer)) == (429, refused)
        assert int(headers["retry-after"]) >= 1
        turnstile.let_through(3)
        assert [status for status, _, _ in await asyncio.gather(*asks)] == [200] * 3
        assert sorted(numbers(replica)) == [0, 1, 2]


async def test_tenants_have_their_limits() -> None:
    """A tenant that asks too often is refused as `rate_limited` with a time to retry; others are not held up."""
    keys = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("ann", "bob")}
    tenants = [
        {"name": "ann", "key_sha256": keys["ann"], "requests_per_minute": 12},
        {"name": "bob", "key_sha256": keys["bob"]},
    ]
    async with narrow_gateway(tenants=tenants) as (gateway, _, turnstile):
        turnstile.let_through(10)
        ann = request(headers=b"authorization: Bearer ann\r\n")
        assert [(await ask(gateway.port, ann))[0] for _ in range(2)] == [200, 200]
        status, headers, answer = await ask(gateway.port, ann)
        assert (status, code(answer)) == (429, "rate_limited")
        assert 1 <= int(headers["retry-after"]) <= 5
        assert (await ask(gateway.port, request(headers=b"authorization: Bearer bob\r\n")))[0] == 200


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"x-priority: urgent\r\n", "high, normal, low"),
        (b"x-request-timeout-ms: soon\r\n", "milliseconds"),
        (b"x-request-timeout-ms: 0\r\n", "milliseconds"),
        (b"x-slo-ttft-ms: 1.5\r\n", "x-slo-ttft-ms: '1.5'"),
        (b"x-slo-tpot-ms: 0\r\n", "x-slo-tpot-ms: '0'"),
    ],
)
async def test_a_wrong_header_is_answered_with_what_would_be_right(header: bytes, told: str) -> None:
    """Such a request is refused with 400 and a message."""
    async with narrow_gateway() as (gateway, replica, _):
        status, _, answer = await ask(gateway.port, request(headers=header))
        assert (status, code(answer)) == (400, "bad_request")
        assert told in json.loads(answer)["error"]["message"]
        assert not replica.received


async def test_a_retry_waits_for_room() -> None:
    """A request whose replica dies does not push its way past another's limit: it waits, as the next to go."""

    async def die(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    turnstile = Turnstile()
    async with ScriptedReplica(turnstile) as good, ScriptedReplica(die) as bad, running_gateway([good.port]) as gateway:
        await one_place(gateway)
        first = asyncio.create_task(ask(gateway.port, request(body(0))))
        await eventually(lambda: len(good.received) == 1)
        both = [Endpoint("r0", "m", "127.0.0.1", good.port), Endpoint("r1", "m", "127.0.0.1", bad.port)]
        gateway.apply_view(both)
        gateway.apply_report(
            "r0", LoadReport(2, 1, 3, 0, 0.0, 0, 0.0, 0.0, accepted=1)
        )  # three of another gateway's wait
        second = asyncio.create_task(ask(gateway.port, request(body(1))))
        await eventually(lambda: len(bad.received) == 1 and waiting(gateway) == 1)
        assert len(good.received) == 1
        turnstile.let_through(2)
        gateway.apply_report("r0", LoadReport(3, 1, 0, 0, 0.0, 0, 0.0, 0.0, accepted=1))
        assert [(await task)[0] for task in (first, second)] == [200, 200]
        assert numbers(good) == [0, 1]


async def test_a_stopping_gateway_refuses_what_still_waits() -> None:
    """What waits when the time to drain is over gets 503 and a time to retry, not a broken connection."""
    async with running_gateway([]) as gateway:
        held = asyncio.create_task(ask(gateway.port, request()))
        await eventually(lambda: waiting(gateway) == 1)
        await gateway.stop(0.1)
        status, headers, answer = await held
        assert (status, code(answer), headers["retry-after"]) == (503, "shutting_down", "1")


async def test_a_model_taken_out_refuses_what_waits_for_it() -> None:
    """Its waiting requests get 404: it is gone."""
    async with running_gateway([]) as gateway:
        held = asyncio.create_task(ask(gateway.port, request()))
        await eventually(lambda: waiting(gateway) == 1)
        gateway.set_models([ModelSpec(name="other", engine="sim")])
        status, _, answer = await held
        assert (status, code(answer)) == (404, "model_not_found")


async def test_operators_see_the_queue() -> None:
    """`/metrics` shows who waits and how long those served have waited; `/state` the same in short."""
    async with narrow_gateway() as (gateway, replica, turnstile):
        asks = [asyncio.create_task(ask(gateway.port, request(body(number)))) for number in range(3)]
        await eventually(lambda: waiting(gateway) == 2 and len(replica.received) == 1)
        assert queue(gateway)["tenants"] == [{"tenant": "anonymous", "priority": "normal", "waiting": 2}]
        _, _, page = await ask(gateway.admin_port, b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n")
        rows = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
        }
        assert rows["rackserve_waiting_requests", "m", "normal", "anonymous"] == 2
        assert rows["rackserve_waiting_work_tokens", "m"] > 0
        assert rows["rackserve_waiting_body_bytes",] == 2 * len(body(1))
        assert rows["rackserve_replica_limit", "m", "r0"] == 1
        assert rows["rackserve_queue_wait_seconds_count", "m", "normal"] == 1
        turnstile.let_through(3)
        await asyncio.gather(*asks)


async def test_usage_corrects_what_a_request_was_thought_to_cost() -> None:
    """A tenant whose answers are a hundred times longer than the first guess is soon charged for that."""

    async def long(_: Received, writer: asyncio.StreamWriter) -> None:
        usage = {"prompt_tokens": 10, "completion_tokens": 25_600}
        writer.write(plain(json.dumps({"choices": [], "usage": usage}).encode()))

    async with ScriptedReplica(long) as replica, running_gateway([replica.port]) as gateway:
        works = []
        offered = 0.0
        for _ in range(12):
            await ask(gateway.port, request())
            load = gateway.load()["m"]
            works.append(load.offered_work - offered)
            offered = load.offered_work
        assert works[0] == pytest.approx(4 * 256, rel=0.05)
        assert works[-1] > 60 * works[0]


async def test_a_server_never_has_more_requests_than_its_bound() -> None:
    """Beyond `max_requests` requests wait in the gateway; each goes as one before it ends."""
    turnstile = Turnstile()
    async with ScriptedReplica(turnstile) as replica:
        view = [Endpoint("r", "m", "127.0.0.1", replica.port, max_requests=2)]
        async with running_gateway([], endpoints=view) as gateway:
            asked = [asyncio.create_task(ask(gateway.port, request())) for _ in range(5)]
            await eventually(lambda: waiting(gateway) == 3 and len(replica.received) == 2)
            for done in range(1, 4):
                turnstile.let_through()
                await eventually(
                    partial(lambda done: (waiting(gateway), len(replica.received)) == (3 - done, 2 + done), done)
                )
            turnstile.let_through(2)
            assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 5
