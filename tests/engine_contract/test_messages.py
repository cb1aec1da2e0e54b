"""Anthropic's Messages API."""

import json
from typing import Any

import httpx
from jsonschema import validate

from tests.engine_contract.named_events import named_events
from tests.engine_contract.served_engine import ServedEngine
from tests.engine_contract.test_guided_output import ANSWER, PARAMETERS

PATH = "/v1/messages"
TOOL = {"name": "get_weather", "description": "Tell the weather of a city", "input_schema": PARAMETERS, "strict": True}
STORY = [{"role": "user", "content": "Tell me a story about a river."}]


def test_a_message_is_answered(engine: ServedEngine) -> None:
    """The same text as a chat's, in Anthropic's form; the tokens of the prompt add up to the chat's."""
    chat = engine.ok("/v1/chat/completions", messages=STORY, max_tokens=8)
    message = engine.ok(PATH, messages=STORY, max_tokens=8)
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "contract-model")
    assert message["content"] == [{"type": "text", "text": chat["choices"][0]["message"]["content"]}]
    assert message["stop_reason"] == "max_tokens"
    assert _input_tokens(message["usage"]) == chat["usage"]["prompt_tokens"]
    assert message["usage"]["output_tokens"] == 8


def test_a_repeated_prompt_is_read_from_the_cache(engine: ServedEngine) -> None:
    """`cache_read_input_tokens` are those that the cache held; all three kinds together are the prompt."""
    messages = [{"role": "user", "content": "A river runs through valleys and towns. " * 12}]
    first, again = (engine.ok(PATH, messages=messages, max_tokens=1)["usage"] for _ in range(2))
    assert first["cache_creation_input_tokens"] + first["cache_read_input_tokens"] >= 64
    assert again["cache_read_input_tokens"] >= 64
    assert _input_tokens(first) == _input_tokens(again)


async def test_a_streamed_message_says_the_same(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """The events come in Anthropic's order, and the pieces make up the whole text."""
    whole = engine.ok(PATH, messages=STORY, max_tokens=6)
    events = await named_events(client, engine, PATH, messages=STORY, max_tokens=6)
    names = [name for name, _ in events]
    deltas = names.count("content_block_delta")
    assert names == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    pieces = [event["delta"]["text"] for name, event in events if name == "content_block_delta"]
    assert "".join(pieces) == whole["content"][0]["text"]
    ended = events[-2][1]
    assert ended["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}
    assert ended["usage"]["output_tokens"] == 6
    assert _input_tokens(ended["usage"]) == _input_tokens(whole["usage"])


def test_a_stop_sequence_is_named(engine: ServedEngine) -> None:
    """The message ends before it."""
    text = engine.ok(PATH, messages=STORY, max_tokens=24)["content"][0]["text"]
    stop = text[20:23]
    message = engine.ok(PATH, messages=STORY, max_tokens=24, stop_sequences=[stop])
    assert message["content"][0]["text"] == text[: text.index(stop)]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", stop)


async def test_a_tool_is_used(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """`any` makes it; the input is an object, streamed as JSON; the result is answered in text."""
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "The weather in Paris?"}],
        "max_tokens": 150,
        "tools": [TOOL],
        "tool_choice": {"type": "any"},
    }
    message = engine.ok(PATH, **body)
    (block,) = [block for block in message["content"] if block["type"] == "tool_use"]
    assert (block["name"], message["stop_reason"]) == ("get_weather", "tool_use")
    validate(block["input"], PARAMETERS)
    events = await named_events(client, engine, PATH, **body)
    (start,) = [event for name, event in events if name == "content_block_start"]
    assert (start["content_block"]["type"], start["content_block"]["name"]) == ("tool_use", "get_weather")
    pieces = [event["delta"]["partial_json"] for name, event in events if name == "content_block_delta"]
    validate(json.loads("".join(pieces)), PARAMETERS)
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "sunny"}
    messages = [
        *body["messages"],
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result]},
    ]
    after = engine.ok(PATH, messages=messages, max_tokens=6, tools=[TOOL])
    assert after["content"][0]["type"] == "text"


def test_the_output_format_is_kept_to(engine: ServedEngine) -> None:
    """`output_config.format` with a schema."""
    form = {"format": {"type": "json_schema", "schema": ANSWER}}
    message = engine.ok(PATH, messages=STORY, max_tokens=60, output_config=form)
    validate(json.loads(message["content"][0]["text"]), ANSWER)
    assert message["stop_reason"] == "end_turn"


def test_tokens_are_counted_beforehand(engine: ServedEngine) -> None:
    """`count_tokens` counts as many as the message's usage does, the system prompt included."""
    body = {"messages": STORY, "system": [{"type": "text", "text": "Be kind."}]}
    counted = engine.post(f"{PATH}/count_tokens", {"model": "contract-model", **body}).json()
    message = engine.ok(PATH, **body, max_tokens=1)
    assert counted["input_tokens"] == _input_tokens(message["usage"])
    longer = engine.post(f"{PATH}/count_tokens", {"model": "contract-model", "messages": STORY * 3}).json()
    assert longer["input_tokens"] > counted["input_tokens"]


def _input_tokens(usage: dict[str, int]) -> int:
    return usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]
