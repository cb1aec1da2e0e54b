"""A replica that is killed, hangs, or is cut off holds no answer back: what can go elsewhere does so within 5 s."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from cluster.spec.model_spec import ModelSpec
from router.http.gateway import Gateway
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, request, running_gateway, until
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica
from tests.integration.launch.netns_hosts import why_not_here
from tests.integration.silence.replicas import RunningReplica, gateway_for, running_replicas
from tests.machine_speed import slowness

LONGEST_STALL_S = 5.0
TOKENS = 60
MODEL = ModelSpec.model_validate({"name": "m", "engine": "sim", "policy": "least_load", "sim": {"inter_token_s": 0.05}})
CHAT = {
    "model": "m",
    "temperature": 0,
    "max_tokens": TOKENS,
    "ignore_eos": True,
    "messages": [{"role": "user", "content": "Tell me of rivers"}],
}
PATH = "/v1/chat/completions"


class Reader:
    """Reads one streamed chat.

    Attributes:
        pieces: the text so far, event by event.
        stall_s: the longest time between two events.
        usage: what the last event told.
        is_broken: an error event came.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.stall_s = 0.0
        self.usage: dict[str, Any] = {}
        self.is_broken = False
        self._last_s = 0.0

    async def read(self, gateway: Gateway) -> None:
        """Ask, and read to the end."""
        body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        url = f"http://127.0.0.1:{gateway.port}{PATH}"
        self._last_s = time.monotonic()
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("POST", url, json=body) as response,
        ):
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    self._take(json.loads(line.removeprefix("data: ")))

    def _take(self, event: dict[str, Any]) -> None:
        now_s = time.monotonic()
        self.stall_s, self._last_s = max(self.stall_s, now_s - self._last_s), now_s
        self.is_broken |= "error" in event
        self.usage = event.get("usage") or self.usage
        for choice in event.get("choices", ()):
            if choice["delta"].get("content"):
                self.pieces.append(choice["delta"]["content"])


def _busy(gateway: Gateway) -> str:
    (row,) = [row for row in gateway.state()["models"]["m"]["replicas"] if row["in_flight"]]
    return str(row["replica_id"])


def _limit_s() -> float:
    return LONGEST_STALL_S * slowness()


@pytest.mark.parametrize(
    "fault",
    [
        "kill",
        "stop",
        pytest.param("cut", marks=pytest.mark.skipif(bool(why_not_here()), reason=why_not_here())),
    ],
)
@pytest.mark.parametrize("hears", [True, False])
async def test_a_stream_goes_on_within_five_seconds(fault: str, *, hears: bool) -> None:
    """Text, tokens and usage are those of one replica alone, and the stall is short, for whatever takes it away.

    Also where the gateway hears no telemetry, as before plain servers.
    """
    with running_replicas(MODEL, 2, behind_cables=fault == "cut") as replicas:
        rows = [await asyncio.to_thread(replica.wait_ready) for replica in replicas]
        async with gateway_for(MODEL, rows, hears=hears) as (gateway, _):
            right = await _answer_of(gateway)
            reader = Reader()
            reading = asyncio.ensure_future(reader.read(gateway))
            await until(lambda: len(reader.pieces) >= 8)
            getattr(replicas[int(_busy(gateway)[1])], fault)()
            await reading
            assert not reader.is_broken
            assert "".join(reader.pieces) == right["choices"][0]["message"]["content"]
            assert reader.usage["completion_tokens"] == TOKENS
            assert reader.stall_s <= _limit_s()
            assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["ok"]
            assert all(row["in_flight"] == 0 for row in gateway.state()["models"]["m"]["replicas"])


async def test_a_request_without_an_answer_yet_is_sent_again() -> None:
    """An answer that is not streamed comes from the other replica when its own hangs."""
    with running_replicas(MODEL, 2) as replicas:
        rows = [await asyncio.to_thread(replica.wait_ready) for replica in replicas]
        async with gateway_for(MODEL, rows) as (gateway, _):
            asking = asyncio.ensure_future(_answer_of(gateway))
            await until(lambda: any(row["in_flight"] for row in gateway.state()["models"]["m"]["replicas"]))
            await asyncio.sleep(0.3)
            began_s = time.monotonic()
            replicas[int(_busy(gateway)[1])].stop()
            assert (await asking)["usage"]["completion_tokens"] == TOKENS
            assert time.monotonic() - began_s <= _limit_s() + TOKENS * 0.05


async def _answer_of(gateway: Gateway) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"http://127.0.0.1:{gateway.port}{PATH}", json=CHAT)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_what_the_only_replica_does_waits_for_it() -> None:
    """Where nobody else can go on, a replica that was stopped for six seconds finishes its stream itself."""
    with running_replicas(MODEL, 1) as replicas:
        rows = [await asyncio.to_thread(replica.wait_ready) for replica in replicas]
        async with gateway_for(MODEL, rows) as (gateway, _):
            reader = await _stopped_for(6.0, gateway, replicas[0])
            assert not reader.is_broken
            assert len(reader.pieces) == TOKENS
            assert reader.stall_s >= 5.5


async def test_a_replica_that_the_directory_has_dropped_is_still_watched() -> None:
    """Its lease has ended, so nothing is sent there any more; what runs there goes on elsewhere once it hangs."""
    with running_replicas(MODEL, 2) as replicas:
        rows = [await asyncio.to_thread(replica.wait_ready) for replica in replicas]
        async with gateway_for(MODEL, rows) as (gateway, list_rows):
            reader = Reader()
            reading = asyncio.ensure_future(reader.read(gateway))
            await until(lambda: len(reader.pieces) >= 8)
            number = int(_busy(gateway)[1])
            list_rows([row for row in rows if row.replica_id != f"r{number}"])
            await until(lambda: len(reader.pieces) >= 16)
            replicas[number].stop()
            await reading
            assert not reader.is_broken
            assert reader.usage["completion_tokens"] == TOKENS
            assert reader.stall_s <= _limit_s()


async def _stopped_for(seconds: float, gateway: Gateway, replica: RunningReplica) -> Reader:
    reader = Reader()
    reading = asyncio.ensure_future(reader.read(gateway))
    await until(lambda: len(reader.pieces) >= 8)
    replica.stop()
    await asyncio.sleep(seconds)
    replica.go_on()
    await reading
    return reader


def _slow(seconds: float) -> Callable[[Received, asyncio.StreamWriter], Awaitable[None]]:
    """Return a script of a live replica that computes a prompt for some time; of its other pages it says little."""

    async def speak(received: Received, writer: asyncio.StreamWriter) -> None:
        if b" /v1/chat/completions " not in received.head:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        writer.write(SSE_HEAD)
        await asyncio.sleep(seconds)
        event = {"id": "x", "choices": [{"index": 0, "delta": {"content": "done"}, "finish_reason": "stop"}]}
        with suppress(ConnectionError):
            writer.write(chunk(b"data: " + json.dumps(event).encode() + b"\n\n") + LAST_CHUNK)

    return speak


async def test_a_long_prompt_is_no_silence() -> None:
    """A replica that answers the gateway's question keeps its request, however long its answer takes."""
    async with (
        ScriptedReplica(_slow(6.0)) as one,
        ScriptedReplica(_slow(6.0)) as two,
        running_gateway([one.port, two.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(b'{"model":"m","stream":true,"messages":[]}'))
        assert b"done" in body
        asked = [each.head.split()[1] for each in (*one.received, *two.received)]
        assert asked.count(b"/v1/chat/completions") == 1
        assert 2 <= asked.count(b"/v1/models") <= 6
