"""Answers whose form a request gives: JSON schemas, choices, regular expressions, tool calls."""

import json
import re
from typing import Any

import httpx
import pytest
from jsonschema import validate

from tests.engine_contract.served_engine import ServedEngine, Streamed, stream

CHAT = "/v1/chat/completions"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 8}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
PARAMETERS = WEATHER["function"]["parameters"]
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"capital": {"type": "string", "enum": ["Paris", "Rome"]}, "sure": {"type": "boolean"}},
    "required": ["capital", "sure"],
    "additionalProperties": False,
}
ASKED = [{"role": "user", "content": "What is the capital of France? Answer in JSON."}]


def form_of(schema: object) -> dict[str, Any]:
    """Return a `response_format` with a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


async def test_a_json_schema_is_kept_to(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """`response_format` with a schema: the answer is JSON of it, whole and streamed, however small the model."""
    whole = engine.ok(CHAT, messages=ASKED, max_tokens=60, response_format=form_of(ANSWER))
    streamed = await stream(client, engine, CHAT, messages=ASKED, max_tokens=60, response_format=form_of(ANSWER))
    text = whole["choices"][0]["message"]["content"]
    validate(json.loads(text), ANSWER)
    assert streamed.text() == text
    assert (whole["choices"][0]["finish_reason"], streamed.finish_reason()) == ("stop", "stop")
    assert len(streamed.events) > 4, "a token an event"


SCHEMAS: dict[str, dict[str, Any]] = {
    "of definitions": {
        "$defs": {"unit": {"enum": ["C", "F"]}},
        "type": "object",
        "properties": {"unit": {"$ref": "#/$defs/unit"}},
        "required": ["unit"],
        "additionalProperties": False,
    },
    "of an array": {
        "type": "array",
        "items": {"type": "integer", "minimum": 3, "maximum": 7},
        "minItems": 2,
        "maxItems": 3,
    },
    "of alternatives": {"anyOf": [{"const": "red"}, {"const": "green"}]},
    "of a pattern": {"type": "string", "pattern": "^[a-c]{3}-[0-9]{2}$"},
    "of a constant": {
        "type": "object",
        "properties": {"kind": {"const": "fruit"}, "ripe": {"type": "boolean"}},
        "required": ["kind", "ripe"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_schemas_of_many_kinds_are_kept_to(engine: ServedEngine, schema: dict[str, Any]) -> None:
    """References, bounds, alternatives, patterns and constants."""
    answer = engine.chat("Give me one.", max_tokens=80, response_format=form_of(schema))
    validate(json.loads(answer["choices"][0]["message"]["content"]), schema)


def test_structured_outputs_are_kept_to(engine: ServedEngine) -> None:
    """VLLM's own field: one of several texts, a regular expression, a schema; of completions too."""
    choice = engine.chat("Red or green?", max_tokens=20, structured_outputs={"choice": ["red", "green"]})
    assert choice["choices"][0]["message"]["content"] in ("red", "green")
    pattern = r"[a-c]{3}-\d{2}"
    regex = engine.chat("A code?", max_tokens=20, structured_outputs={"regex": pattern})
    assert re.fullmatch(pattern, regex["choices"][0]["message"]["content"])
    completion = engine.complete("In JSON: ", max_tokens=60, structured_outputs={"json": ANSWER})
    validate(json.loads(completion["choices"][0]["text"]), ANSWER)


def test_the_beginning_of_an_object_is_json(engine: ServedEngine) -> None:
    """`json_object` is an object of any kind."""
    answer = engine.chat("Say something in JSON.", max_tokens=12, response_format={"type": "json_object"})
    assert answer["choices"][0]["message"]["content"].lstrip().startswith("{")


async def test_a_tool_that_must_be_called_is(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """`required`: a call whose arguments fit the tool's schema, whole and in pieces."""
    body = {"messages": _user("What is the weather in Paris?"), "max_tokens": 150, "tools": [WEATHER]}
    whole = engine.ok(CHAT, **body, tool_choice="required")["choices"][0]
    (call,) = whole["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    validate(json.loads(call["function"]["arguments"]), PARAMETERS)
    assert (whole["finish_reason"], whole["message"]["content"] or "") == ("tool_calls", "")
    streamed = await stream(client, engine, CHAT, **body, tool_choice="required")
    ((call_id, name, arguments),) = _streamed_calls(streamed)
    assert call_id
    assert name == "get_weather"
    validate(json.loads(arguments), PARAMETERS)
    assert streamed.finish_reason() == "tool_calls"
    assert streamed.text() == ""


def test_a_named_tool_is_called(engine: ServedEngine) -> None:
    """Of several tools the named one; vLLM says of such a call that the answer just stopped."""
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = engine.chat("What now?", max_tokens=150, tools=[other, WEATHER], tool_choice=named)["choices"][0]
    (call,) = answer["message"]["tool_calls"]
    assert (call["function"]["name"], answer["finish_reason"]) == ("get_weather", "stop")
    validate(json.loads(call["function"]["arguments"]), PARAMETERS)


def test_a_tool_may_be_left(engine: ServedEngine) -> None:
    """With `auto` and `none` the request is taken; with `none` the answer is text, and also after a tool's result."""
    auto = engine.chat("Say hello.", max_tokens=8, tools=[WEATHER], tool_choice="auto")
    assert auto["choices"][0]["message"]["role"] == "assistant"
    none = engine.chat("Say hello.", max_tokens=8, tools=[WEATHER], tool_choice="none")["choices"][0]["message"]
    assert none["content"]
    assert not none.get("tool_calls")
    arguments = '{"city": "Rome", "unit": "C"}'
    call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages = [
        *_user("What is the weather in Rome?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    after = engine.ok(CHAT, messages=messages, max_tokens=8, tools=[WEATHER])["choices"][0]["message"]
    assert after["content"]
    assert not after.get("tool_calls")


def test_a_call_that_is_cut_short_is_none(engine: ServedEngine) -> None:
    """At the limit of tokens the answer has no half call that an app could carry out."""
    answer = engine.chat("Weather?", max_tokens=3, tools=[WEATHER], tool_choice="required")["choices"][0]
    assert answer["finish_reason"] == "length"
    assert not answer["message"].get("tool_calls")


def _user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def _streamed_calls(streamed: Streamed) -> list[tuple[str, str, str]]:
    """Return the id, the name and the arguments of each call of a stream's first choice."""
    calls: dict[int, list[str]] = {}
    for event in streamed.events:
        for choice in event["choices"]:
            for part in choice["delta"].get("tool_calls") or []:
                call = calls.setdefault(part["index"], ["", "", ""])
                for place, new in enumerate(
                    (part.get("id"), part["function"].get("name"), part["function"].get("arguments"))
                ):
                    call[place] += new or ""
    return [(call_id, name, arguments) for call_id, name, arguments in calls.values()]
