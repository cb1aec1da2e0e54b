"""A replica that dies within a stream: another goes on, the client sees one unbroken answer."""

import asyncio
import json

import pytest

from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, ScriptedReplica

WORDS = [f"w{number} " for number in range(12)]
BODY = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"go"}],"max_tokens":12}'


def _event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return chunk(b"data: " + json.dumps({"id": "x", "created": 1, "choices": [choice]}).encode() + b"\n\n")


def _speaker(words_before_death: int) -> object:
    """Return a script that says `WORDS` from where the last assistant message ends, and dies after some words."""

    async def speak(received: Received, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(received.body)
        last = asked["messages"][-1]
        said = last["content"].count("w") if last["role"] == "assistant" else 0
        assert asked["max_tokens"] == 12 - said
        writer.write(SSE_HEAD)
        for word in WORDS[said : said + words_before_death]:
            writer.write(_event(word))
            await writer.drain()
            await asyncio.sleep(0.005)
        if said + words_before_death < len(WORDS):
            writer.close()
            return
        writer.write(_event("", "stop") + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    return speak


def _text(body: bytes) -> str:
    events = [event[6:] for event in body.split(b"\n\n")[:-1]]
    assert events[-1] == b"[DONE]"
    return "".join(json.loads(event)["choices"][0]["delta"]["content"] for event in events[:-1])


async def test_two_deaths_and_one_answer() -> None:
    """Two replicas die in the middle, the third finishes: no word is missing, none is said twice."""
    replicas = [ScriptedReplica(_speaker(5)) for _ in range(3)]  # type: ignore[arg-type]
    async with (
        replicas[0], replicas[1], replicas[2],
        running_gateway([replica.port for replica in replicas]) as gateway,
    ):  # fmt: skip
        status, _, body = await ask(gateway.port, request(BODY))
        assert status == 200
        assert _text(body) == "".join(WORDS)
        assert [len(replica.received) for replica in replicas] == [1, 1, 1]
        state = gateway.state()
        assert [row["outcome"] for row in state["outcomes"]] == ["ok"]
        assert all(row["in_flight"] == 0 for row in state["models"]["m"]["replicas"])


async def test_a_death_after_the_last_word_needs_no_other_replica() -> None:
    """When only the stream's end is missing the gateway adds it."""

    async def almost_done(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + _event("all") + _event("", "stop"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async with ScriptedReplica(almost_done) as replica, running_gateway([replica.port]) as gateway:
        assert _text((await ask(gateway.port, request(BODY)))[2]) == "all"


def _gives_up(words: int, last: bytes) -> object:
    """Return a script that says some words, and then `last` and a proper end instead of the rest, if any is left."""

    async def speak(received: Received, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(received.body)
        end = asked["messages"][-1]
        said = end["content"].count("w") if end["role"] == "assistant" else 0
        writer.write(SSE_HEAD + b"".join(map(_event, WORDS[said : said + words - 1])))
        await writer.drain()
        await asyncio.sleep(0.02)
        # The last word, the failure and the end come in one read.
        rest = WORDS[said + words - 1 : said + words]
        end_of_it = last if said + words < len(WORDS) else _event("", "stop")
        writer.write(b"".join(map(_event, rest)) + end_of_it + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    return speak


ENGINE_ERROR = chunk(b'data: {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}\n\n')
BAD_REQUEST = chunk(b'data: {"error": {"message": "too long", "type": "BadRequestError", "code": 400}}\n\n')


@pytest.mark.parametrize("last", [ENGINE_ERROR, _event("", "abort")])
async def test_an_engine_that_gives_up_in_words_is_a_death_too(last: bytes) -> None:
    """An error event or `abort` never reaches the client: another replica goes on, and another with what that left."""
    replicas = [ScriptedReplica(_gives_up(5, last)) for _ in range(3)]  # type: ignore[arg-type]
    async with (
        replicas[0], replicas[1], replicas[2],
        running_gateway([replica.port for replica in replicas]) as gateway,
    ):  # fmt: skip
        status, _, body = await ask(gateway.port, request(BODY))
        assert status == 200
        assert _text(body) == "".join(WORDS)
        assert [len(replica.received) for replica in replicas] == [1, 1, 1]
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["ok"]
        assert all(row["in_flight"] == 0 for row in gateway.state()["models"]["m"]["replicas"])


async def test_an_error_that_is_the_requests_own_is_passed_on() -> None:
    """What another replica would refuse as well reaches the client as the engine said it."""
    async with (
        ScriptedReplica(_gives_up(4, BAD_REQUEST)) as one,  # type: ignore[arg-type]
        ScriptedReplica(_speaker(12)) as two,  # type: ignore[arg-type]
        running_gateway([one.port, two.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(BODY))
        assert b"too long" in body
        assert body.endswith(b"data: [DONE]\n\n")
        assert not two.received


async def test_words_about_errors_are_words() -> None:
    """Text that looks like a failure is text."""

    async def speak(_: Received, writer: asyncio.StreamWriter) -> None:
        for word in ("abort", '{"error": 1}', '"finish_reason":"abort"'):
            writer.write((SSE_HEAD if word == "abort" else b"") + _event(word))
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write(_event("", "stop") + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    async with (
        ScriptedReplica(speak) as one,
        ScriptedReplica(speak) as two,
        running_gateway([one.port, two.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(BODY))
        assert _text(body) == 'abort{"error": 1}"finish_reason":"abort"'
        assert len(one.received) + len(two.received) == 1


async def test_with_nobody_left_the_stream_ends_with_an_error() -> None:
    """The only replica died: the client is told, in its stream."""
    async with ScriptedReplica(_speaker(5)) as replica, running_gateway([replica.port]) as gateway:  # type: ignore[arg-type]
        _, _, body = await ask(gateway.port, request(BODY))
        assert json.loads(body.split(b"\n\n")[5][6:])["error"]["code"] == "replica_failed"


async def test_streams_are_not_continued_where_that_is_switched_off() -> None:
    """Without `resume_streams` a stream that breaks ends with an error event, and no other replica is asked."""
    replicas = [ScriptedReplica(_speaker(5)) for _ in range(2)]  # type: ignore[arg-type]
    async with (
        replicas[0], replicas[1],
        running_gateway([replica.port for replica in replicas], resume_streams=False) as gateway,
    ):  # fmt: skip
        status, _, body = await ask(gateway.port, request(BODY))
        assert status == 200
        assert body.count(b"w") < len(WORDS)
        assert b'"replica_failed"' in body
        assert b"[DONE]" not in body
        assert sorted(len(replica.received) for replica in replicas) == [0, 1]
