"""A connection that closes under a request: stale if at once, on one that was idle; else the replica had it."""

import asyncio

import pytest

from router.http.exchange.failover import STALE_S
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import Received, Script, ScriptedReplica, plain
from tests.integration.gateway.test_error_answers import resends, row

LATER_S = 3 * STALE_S
"""Seconds of work after which a replica that closes has had the request."""


def closes_when_reused(replicas: list[ScriptedReplica], after_s: float, first_bytes: bytes = b"") -> Script:
    """Return a script that answers the first request on each connection, and closes it under the second one.

    Args:
        replicas: the replicas that run this script.
        after_s: seconds that it works on the second one before it closes.
        first_bytes: what it says before it closes.
    """

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        mine = next(replica for replica in replicas if received in replica.received)
        if sum(other.connection == received.connection for other in mine.received) == 1:
            writer.write(plain(b'"fine"'))
            return
        await asyncio.sleep(after_s)
        writer.write(first_bytes)
        writer.close()

    return script


async def test_a_stale_connection_is_asked_again_once_on_a_new_one() -> None:
    """With any number of stale connections in the pool a request reaches the replica twice at most, and is answered."""
    replicas: list[ScriptedReplica] = []
    replica = ScriptedReplica(closes_when_reused(replicas, 0.0))
    replicas.append(replica)
    async with replica, running_gateway([replica.port]) as gateway:
        together = [asyncio.create_task(ask(gateway.port, request())) for _ in range(6)]
        assert {(await task)[0] for task in together} == {200}
        idle, before = replica.connections, len(replica.received)
        assert idle > 1
        assert (await ask(gateway.port, request()))[0] == 200
        assert (len(replica.received) - before, replica.connections - idle) == (2, 1)
        assert resends(gateway) == {"stale_connection": 1}
        assert row(gateway, 0)["accepting"]


@pytest.mark.parametrize(
    ("after_s", "first_bytes"),
    [(LATER_S, b""), (0.0, b"HTTP/1.1 200 OK\r\ncontent-"), (0.0, b"HTTP/1.1 102 Processing\r\n\r\n")],
    ids=["after some work", "within its head", "after an interim answer"],
)
async def test_what_a_replica_worked_on_is_not_sent_to_it_again(after_s: float, first_bytes: bytes) -> None:
    """It had the request, so it is a failure, also on a reused connection: each request reaches a replica once."""
    replicas: list[ScriptedReplica] = []
    script = closes_when_reused(replicas, after_s, first_bytes)
    replicas += [ScriptedReplica(script) for _ in range(2)]
    async with (
        replicas[0], replicas[1],
        running_gateway([replica.port for replica in replicas]) as gateway,
    ):  # fmt: skip
        for _ in range(2):
            assert (await ask(gateway.port, request()))[0] == 200
        status, _, _ = await ask(gateway.port, request())
        assert status == 502
        assert [len(replica.received) for replica in replicas] == [2, 2]
        assert resends(gateway) == {"failed": 2}  # the second time it waits for a sign that one of them lives
        assert {row(gateway, number)["standing"] for number in range(2)} == {"probation"}


async def test_a_408_for_an_idle_connection_is_a_stale_connection() -> None:
    """A server that answers 408 to a connection it was just closing is asked again; one that does so later is not."""
    is_late = False

    async def times_out(received: Received, writer: asyncio.StreamWriter) -> None:
        if sum(other.connection == received.connection for other in replica.received) == 1:
            writer.write(plain(b'"fine"'))
            return
        await asyncio.sleep(LATER_S if is_late else 0.0)
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    replica = ScriptedReplica(times_out)
    async with replica, running_gateway([replica.port]) as gateway:
        assert [(await ask(gateway.port, request()))[0] for _ in range(3)] == [200, 200, 200]
        assert resends(gateway) == {"stale_connection": 2}
        is_late = True
        assert (await ask(gateway.port, request()))[0] == 408


async def test_the_only_replica_that_closes_after_work_is_asked_once() -> None:
    """The client hears that it failed; nothing is generated a second time."""
    replicas: list[ScriptedReplica] = []
    replica = ScriptedReplica(closes_when_reused(replicas, LATER_S))
    replicas.append(replica)
    async with replica, running_gateway([replica.port]) as gateway:
        assert (await ask(gateway.port, request()))[0] == 200
        assert (await ask(gateway.port, request()))[0] == 502
        assert len(replica.received) == 2
        assert resends(gateway) == {}


async def test_a_new_connection_that_closes_at_once_is_a_failure() -> None:
    """It was never idle, so it cannot have been stale: another replica is asked."""

    async def hang_up(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def fine(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b'"fine"'))

    async with (
        ScriptedReplica(hang_up) as bad,
        ScriptedReplica(fine) as good,
        running_gateway([bad.port, good.port]) as gateway,
    ):
        for _ in range(2):
            assert (await ask(gateway.port, request()))[0] == 200
        assert len(bad.received) == 1
        assert resends(gateway) == {"failed": 1}
