"""The `openai` SDK with a real model on real vLLM: at a gateway alone, and at a whole cluster (`long`)."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import openai
import pytest
from openai import OpenAI

from tests.e2e.conftest import MODEL, SIM_MODEL, RunningGateway

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

CAPITAL: "list[ChatCompletionMessageParam]" = [{"role": "user", "content": "What is the capital of France?"}]
ANSWER = "The capital of France is Paris."


def test_the_capital_of_france(sdk: OpenAI) -> None:
    """At temperature 0 the model says exactly this, and the usage adds up."""
    answer = sdk.chat.completions.create(model=MODEL, messages=CAPITAL, temperature=0, max_tokens=32)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streaming_says_the_same_piece_by_piece(sdk: OpenAI) -> None:
    """A stream brings the same text in several pieces, then its usage."""
    stream = sdk.chat.completions.create(
        model=MODEL,
        messages=CAPITAL,
        temperature=0,
        max_tokens=32,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == ANSWER
    assert len(pieces) >= 5
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens >= len(pieces)


def test_completions(sdk: OpenAI) -> None:
    """The older endpoint continues a text, streamed and whole alike."""
    whole = sdk.completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=8)
    stream = sdk.completions.create(model=MODEL, prompt="One, two, three,", temperature=0, max_tokens=8, stream=True)
    assert whole.choices[0].text.startswith(" four, five")
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_embeddings_of_a_generating_model_are_refused(sdk: OpenAI) -> None:
    """The engine's own error reaches the client as the SDK's own exception."""
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.embeddings.create(model=MODEL, input="x")
    assert 400 <= caught.value.status_code < 500


def test_tools(sdk: OpenAI) -> None:
    """A required tool call comes back with the tool's name and arguments that fit its schema."""
    tool: ChatCompletionToolParam = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    answer = sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=64,
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_weather"
    assert json.loads(calls[0].function.arguments)["city"] in {"Paris", "Rome"}


def test_response_format_json_schema(sdk: OpenAI) -> None:
    """Structured output is JSON of the asked shape, whatever so small a model would rather say."""
    answer = sdk.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Name a city and its country as JSON."}],
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "place",
                "schema": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "maxLength": 20},
                        "country": {"enum": ["France", "Italy"]},
                    },
                    "required": ["city", "country"],
                    "additionalProperties": False,
                },
            },
        },
        temperature=0,
        max_tokens=100,
    )
    place = json.loads(answer.choices[0].message.content or "")
    assert place.keys() == {"city", "country"}
    assert place["country"] in {"France", "Italy"}


def test_logprobs(sdk: OpenAI) -> None:
    """Log-probabilities spell the answer, and at temperature 0 the chosen token is the likeliest."""
    answer = sdk.chat.completions.create(
        model=MODEL, messages=CAPITAL, temperature=0, max_tokens=32, logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content).startswith(ANSWER)
    assert all(token.logprob == max(top.logprob for top in token.top_logprobs) for token in logprobs.content)


def test_several_choices(sdk: OpenAI) -> None:
    """`n` choices come back, each with its index."""
    answer = sdk.chat.completions.create(model=MODEL, messages=CAPITAL, n=3, temperature=1.0, seed=1, max_tokens=8)
    assert sorted(choice.index for choice in answer.choices) == [0, 1, 2]


def test_unicode_is_never_torn(sdk: OpenAI) -> None:
    """A model made to speak in multi-byte characters streams whole characters, and the same text as unstreamed."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "Repeat exactly: 你好 žluťoučký kůň 🐎🐎"},
        {"role": "assistant", "content": "你好 žluťoučký kůň 🐎🐎 你好 žluťoučký"},
    ]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    whole = sdk.chat.completions.create(model=MODEL, messages=messages, temperature=0, max_tokens=48, extra_body=extra)
    stream = sdk.chat.completions.create(
        model=MODEL, messages=messages, temperature=0, max_tokens=48, extra_body=extra, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content
    assert not text.isascii(), "the model did not use multi-byte characters, so the test proved nothing"


def test_a_long_prompt(sdk: OpenAI) -> None:
    """Prompts of 100 and 80 KB arrive complete: the engine counts them, and refuses one only for its own limit."""
    filler = "word " * 20_480
    with pytest.raises(openai.BadRequestError, match="context"):
        sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": filler}], max_tokens=4, temperature=0
        )
    # 80 KB of body within the model's context: the bytes are mostly white space the tokenizer packs densely.
    packed = "a" + " " * 80_000
    answer = sdk.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": packed}], max_tokens=4, temperature=0
    )
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 1000


def test_32_parallel_streams(sdk: OpenAI, entrance: RunningGateway) -> None:
    """All streams complete with their own text, and every replica had a part."""
    before = {row["replica_id"]: row["sent"] for row in entrance.replicas()}

    def count_from(number: int) -> str:
        stream = sdk.completions.create(
            model=MODEL, prompt=f"{number}, {number + 1}, {number + 2},", temperature=0, max_tokens=6, stream=True
        )
        return "".join(chunk.choices[0].text for chunk in stream)

    with ThreadPoolExecutor(32) as pool:
        texts = list(pool.map(count_from, range(10, 42)))
    right = sum(str(number + 3) in text for number, text in zip(range(10, 42), texts, strict=True))
    assert right >= 28, texts
    sent = [row["sent"] - before.get(row["replica_id"], 0) for row in entrance.replicas()]
    assert sum(sent) == 32
    assert min(sent) >= 1


def test_models_are_listed_together(sdk: OpenAI) -> None:
    """Both models are listed, and each answers under its name."""
    assert {model.id for model in sdk.models.list()} == {MODEL, SIM_MODEL}
    answer = sdk.chat.completions.create(model=SIM_MODEL, messages=CAPITAL, max_tokens=4)
    assert answer.model == "sim"


def test_an_unknown_model_is_the_sdks_not_found(sdk: OpenAI) -> None:
    """The stable code is there for programs."""
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.chat.completions.create(model="gpt-9", messages=CAPITAL)
    assert caught.value.code == "model_not_found"
