"""A stream goes on elsewhere only where it can be right: on a server that continues messages, for the tokens left."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from router.http.gateway import Gateway
from router.http.wire.chunked import LAST_CHUNK, chunk
from tests.integration.gateway.running_gateway import ask, request, running_gateway
from tests.integration.gateway.scripted_replica import SSE_HEAD, Received, Script, ScriptedReplica

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DONE = b"data: [DONE]\n\n"
MESSAGES = [{"role": "user", "content": "go"}]


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _event(choices: list[object], usage: dict[str, int] | None) -> bytes:
    body = {"id": "x", "object": "o", "created": 1, "model": "m", "choices": choices}
    return b"data: " + json.dumps(body | ({"usage": usage} if usage else {})).encode() + b"\n\n"


class _Vllm:
    """Says a text of four times five tokens as vLLM does; it tells usage as asked, and dies after some events.

    Attributes:
        asked: the bodies that it got.
    """

    def __init__(self, *, dies_after: int = 9, line: bytes = b"\n", has_end: bool = True) -> None:
        self.asked: list[dict[str, Any]] = []
        self._dies_after = dies_after
        self._line = line
        self._has_end = has_end

    async def __call__(self, received: Received, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(received.body)
        self.asked.append(asked)
        is_chat = "messages" in asked
        so_far = asked["messages"][-1]["content"] if is_chat else asked["prompt"]
        said = so_far.count("+")
        options = asked.get("stream_options") or {}
        prompt = 10 + 5 * said
        left = asked.get("max_tokens", 20) // 5
        events = []
        for number in range(left):
            piece: dict[str, object] = {"delta": {"content": "+five"}} if is_chat else {"text": "+five"}
            finish = "length" if number == left - 1 else None
            told = _usage(prompt, 5 * number + 5) if options.get("continuous_usage_stats") else None
            events.append(_event([{"index": 0, **piece, "finish_reason": finish}], told))
        events = events[: self._dies_after]
        writer.write(SSE_HEAD)
        for event in events:
            writer.write(chunk(event.replace(b"\n", self._line)))
            await writer.drain()
            await asyncio.sleep(0.01)
        if len(events) < left or not self._has_end:
            writer.close()
            return
        last = [_event([], _usage(prompt, 5 * left))] if options.get("include_usage") else []
        writer.write(b"".join(map(chunk, (*last, DONE))) + LAST_CHUNK)


def _body(path: str, **fields: object) -> bytes:
    prompt: dict[str, object] = {"messages": MESSAGES} if path == CHAT else {"prompt": "go"}
    return json.dumps({"model": "m", "stream": True, "max_tokens": 20, **prompt, **fields}).encode()


def _events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(event[6:]) for event in body.split(b"\n\n") if event.startswith(b"data: {")]


def _text(events: Sequence[dict[str, Any]]) -> str:
    choices = [choice for event in events for choice in event.get("choices", ())]
    return "".join(choice.get("delta", choice).get("content") or choice.get("text") or "" for choice in choices)


def _counted(gateway: Gateway) -> list[int]:
    """Return the tokens of prompts, of these cached, and of answers."""
    (counts,) = gateway._plane.meters.tokens.values()
    return counts[:3]


@pytest.mark.parametrize("line", [b"\n", b"\r\n"])
@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_tokens_are_counted_not_events(path: str, include_usage: bool, line: bytes) -> None:  # noqa: FBT001 - parametrized
    """With several tokens an event, the other replica is asked for what is left, and usage is that of one answer."""
    one, two = _Vllm(dies_after=3, line=line), _Vllm(line=line)
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    async with (
        ScriptedReplica(one) as first,
        ScriptedReplica(two) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(_body(path, **options), path=path))
        events = _events(body.replace(b"\r\n", b"\n"))
        assert two.asked[0]["max_tokens"] == 5
        assert _text(events) == "+five" * 4
        told = [event["usage"] for event in events if event.get("usage")]
        assert told == ([_usage(10, 20)] if include_usage else [])
        assert body.endswith(DONE)
        assert _counted(gateway) == [10, 0, 20]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_limit_that_is_used_up_ends_the_stream(path: str) -> None:
    """Nobody is asked for a token more: the gateway says that the limit was reached."""
    one, two = _Vllm(dies_after=3), _Vllm()
    one_says_three = _body(path, max_tokens=15, stream_options={"include_usage": True})

    async def dies_before_its_last_word(received: Received, writer: asyncio.StreamWriter) -> None:
        received.body = received.body.replace(b'"max_tokens": 15', b'"max_tokens": 20')
        await one(received, writer)

    async with (
        ScriptedReplica(dies_before_its_last_word) as first,
        ScriptedReplica(two) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(one_says_three, path=path))
        events = _events(body)
        assert not two.asked
        assert _text(events) == "+five" * 3
        assert events[-2]["choices"][0]["finish_reason"] == "length"
        assert events[-1]["usage"] == _usage(10, 15)
        assert body.endswith(DONE)
        assert _counted(gateway) == [10, 0, 15]
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["ok"]


async def test_an_end_that_is_missing_is_added_with_its_usage() -> None:
    """After the finish reason, usage as asked for and `[DONE]` come from the gateway."""
    one = _Vllm(has_end=False)
    async with ScriptedReplica(one) as first, running_gateway([first.port]) as gateway:
        _, _, body = await ask(gateway.port, request(_body(CHAT, stream_options={"include_usage": True})))
        assert _events(body)[-1]["usage"] == _usage(10, 20)
        assert body.endswith(DONE)
        assert len(one.asked) == 1


async def test_usage_with_every_event_stays_where_it_was_asked_for() -> None:
    """The client's own `continuous_usage_stats` is answered, through a resumed stream too."""
    one, two = _Vllm(dies_after=3), _Vllm()
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with (
        ScriptedReplica(one) as first,
        ScriptedReplica(two) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(_body(CHAT, stream_options=options)))
        told = [event["usage"]["completion_tokens"] for event in _events(body)]
        assert told == [5, 10, 15, 20, 20]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_server_of_another_kind_is_not_asked_to_go_on(path: str) -> None:
    """Servers that may ignore `continue_final_message` would answer anew: the client has what came and an error."""
    one, two = _Vllm(dies_after=3), _Vllm()
    async with (
        ScriptedReplica(one) as first,
        ScriptedReplica(two) as second,
        running_gateway([first.port, second.port], continues=[False, False]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(_body(path), path=path))
        events = _events(body)
        assert _text(events) == "+five" * 3
        assert events[-1]["error"]["code"] == "replica_failed"
        assert b"[DONE]" not in body
        assert not two.asked
        assert "stream_options" not in one.asked[0]


async def test_among_servers_of_two_kinds_the_right_one_goes_on() -> None:
    """The stream goes past a server that may answer anew to one that is known to continue."""
    servers = [_Vllm(dies_after=3), _Vllm(), _Vllm()]
    replicas = [ScriptedReplica(server) for server in servers]
    async with (
        replicas[0], replicas[1], replicas[2],
        running_gateway([each.port for each in replicas], continues=[True, False, True]) as gateway,
    ):  # fmt: skip
        _, _, body = await ask(gateway.port, request(_body(CHAT)))
        assert _text(_events(body)) == "+five" * 4
        assert [len(server.asked) for server in servers] == [1, 0, 1]


def _says(*events: bytes) -> Script:
    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD + b"".join(map(chunk, events)) + chunk(DONE) + LAST_CHUNK)

    return script


THOUGHT, ANSWER = ("Hm, ", "let me ", "see."), ("It ", "is ", "six.")


def _thinker(dies_after: int) -> Script:
    """Return a script that reasons and answers from where the last message ends, and dies after some events."""

    async def script(received: Received, writer: asyncio.StreamWriter) -> None:
        last = json.loads(received.body)["messages"][-1]
        said = [last.get("reasoning", ""), last["content"]] if last["role"] == "assistant" else ["", ""]
        deltas = [{"reasoning": piece} for piece in THOUGHT] + [{"content": piece} for piece in ANSWER]
        while deltas and said[0 if "reasoning" in deltas[0] else 1].startswith(piece := next(iter(deltas[0].values()))):
            place = 0 if "reasoning" in deltas.pop(0) else 1
            said[place] = said[place].removeprefix(piece)
        assert said == ["", ""], "the message is not what was said"
        writer.write(SSE_HEAD)
        for delta in deltas[:dies_after]:
            writer.write(chunk(_event([{"index": 0, "delta": delta}], None)))
            await writer.drain()
            await asyncio.sleep(0.005)
        if len(deltas) <= dies_after:
            writer.write(chunk(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}], None)) + chunk(DONE))
            writer.write(LAST_CHUNK)
        else:
            writer.close()

    return script


def _joined(events: list[Any], field: str) -> str:
    deltas = [choice["delta"] for event in events for choice in event.get("choices", ())]
    return "".join(delta.get(field) or "" for delta in deltas)


async def test_an_answer_after_reasoning_goes_on() -> None:
    """The next replica gets the reasoning with the text, so both come to the client once and whole."""
    async with (
        ScriptedReplica(_thinker(5)) as first,
        ScriptedReplica(_thinker(9)) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        status, _, body = await ask(gateway.port, request(_body(CHAT)))
        events = _events(body)
        assert status == 200
        assert (_joined(events, "reasoning"), _joined(events, "content")) == ("".join(THOUGHT), "".join(ANSWER))
        assert [len(replica.received) for replica in (first, second)] == [1, 1]
        assert [row["outcome"] for row in gateway.state()["outcomes"]] == ["ok"]


async def test_reasoning_that_is_cut_is_told() -> None:
    """No engine goes on within reasoning: the client is told that this is why the stream ends."""
    async with (
        ScriptedReplica(_thinker(2)) as first,
        ScriptedReplica(_thinker(2)) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(_body(CHAT)))
        events = _events(body)
        assert _joined(events[:-1], "reasoning") == "".join(THOUGHT[:2])
        assert events[-1]["error"]["code"] == "replica_failed"
        assert "cut within its reasoning" in events[-1]["error"]["message"]
        assert sum(len(replica.received) for replica in (first, second)) == 1


async def test_a_server_that_does_not_go_on_with_the_text_ends_the_stream() -> None:
    """Reasoning is no rest of a text: an error event follows what came."""
    thinks = _event([{"index": 0, "delta": {"reasoning": "Hm, "}}], None)
    async with (
        ScriptedReplica(_Vllm(dies_after=3)) as first,
        ScriptedReplica(_says(thinks)) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(_body(CHAT)))
        events = _events(body)
        assert _text(events) == "+five" * 3
        assert events[-1]["error"]["code"] == "replica_failed"
        assert b"Hm, " not in body


@pytest.mark.parametrize("code", [b"null", b'"content_filter"', b'"500"', b"400", b"429"])
async def test_an_error_of_the_request_is_passed_on(code: bytes) -> None:
    """An error without a server's code is the request's own: it is told once, and not made again elsewhere."""
    error = b'data: {"error": {"message": "filtered", "type": "x", "code": %s}}\n\n' % code
    two = _Vllm()
    async with (
        ScriptedReplica(_says(_event([{"index": 0, "delta": {"content": "+five"}}], None), error)) as first,
        ScriptedReplica(two) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(_body(CHAT)))
        assert _events(body)[-1]["error"]["message"] == "filtered"
        assert not two.asked
        assert body.count(b'"error"') == 1


async def test_an_engine_that_gives_up_with_its_first_bytes_is_left() -> None:
    """Head and error may come in one read: the other replica answers from the start."""
    error = b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
    async with (
        ScriptedReplica(_says(error)) as first,
        ScriptedReplica(_Vllm()) as second,
        running_gateway([first.port, second.port]) as gateway,
    ):
        _, _, body = await ask(gateway.port, request(_body(CHAT)))
        assert _text(_events(body)) == "+five" * 4
        assert b"error" not in body


async def test_a_client_that_leaves_is_counted_by_what_the_engine_told() -> None:
    """The tokens of a stream that is not read to its end are those that came, not its events."""
    async with ScriptedReplica(_Vllm(dies_after=2)) as first, running_gateway([first.port]) as gateway:
        await ask(gateway.port, request(_body(CHAT)))
        assert _counted(gateway) == [10, 0, 10]
