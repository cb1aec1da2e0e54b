"""Tool calls and JSON schemas: vLLM constrains the model's output; the simulation doesn't pretend to."""

import json
from typing import Any

import pytest

from tests.engine_contract.served_engine import ServedEngine

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def vllm(engine: ServedEngine) -> ServedEngine:
    """The engine under test, if it is vLLM."""
    if engine.model.engine != "vllm":
        pytest.skip("the simulated engine ignores tools and response formats")
    return engine


def test_a_json_schema_is_kept_to(vllm: ServedEngine) -> None:
    """`response_format` with a schema: the answer is JSON of that schema, from however small a model."""
    schema = {
        "type": "object",
        "properties": {"capital": {"type": "string", "enum": ["Paris", "Rome"]}, "sure": {"type": "boolean"}},
        "required": ["capital", "sure"],
        "additionalProperties": False,
    }
    answer = vllm.chat(
        "What is the capital of France? Answer in JSON.",
        max_tokens=60,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    found = json.loads(answer["choices"][0]["message"]["content"])
    assert found["capital"] in ("Paris", "Rome")
    assert isinstance(found["sure"], bool)


def test_a_tool_is_called(vllm: ServedEngine) -> None:
    """`enable_auto_tool_choice` and `tool_call_parser` come through `engine_args`: a tool that must be called is."""
    answer = vllm.chat(
        "What is the weather in Paris?",
        max_tokens=60,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert set(json.loads(call["function"]["arguments"])) == {"city"}


def test_a_tool_may_be_left(vllm: ServedEngine) -> None:
    """With `tool_choice: auto` vLLM takes the request; without `enable_auto_tool_choice` it would refuse."""
    answer = vllm.chat("Say hello.", max_tokens=8, tools=[WEATHER], tool_choice="auto")
    assert answer["choices"][0]["message"]["role"] == "assistant"
