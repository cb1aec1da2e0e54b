"""Chat and completions: the answers, whole and streamed."""

import asyncio
from itertools import accumulate
from typing import Any

import httpx
import pytest

from tests.engine_contract.contract_models import MAX_TOKENS
from tests.engine_contract.served_engine import ServedEngine, stream

STORY = "Tell me a story about a river."


def test_models_names_the_model_alone(engine: ServedEngine) -> None:
    """`/v1/models` lists the served name and its context length; health and version answer."""
    models = httpx.get(f"{engine.url}/v1/models").json()
    assert [(card["id"], card["max_model_len"]) for card in models["data"]] == [("contract-model", MAX_TOKENS)]
    (card,) = models["data"]
    assert (card["object"], card["owned_by"], card["parent"]) == ("model", "vllm", None)
    assert card["root"]
    assert card["created"] > 1_700_000_000
    assert card["permission"][0]["allow_sampling"]
    assert httpx.get(f"{engine.url}/health").status_code == 200
    assert httpx.get(f"{engine.url}/version").json()["version"].startswith("0.32.0")


def test_a_chat_is_answered(engine: ServedEngine) -> None:
    """The response has the shape OpenAI documents, and its usage adds up."""
    answer = engine.chat(STORY, max_tokens=12)
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "contract-model"
    (choice,) = answer["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "length")
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].strip()
    usage = answer["usage"]
    assert usage["completion_tokens"] == 12
    assert usage["prompt_tokens"] > 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + 12


def test_the_same_chat_has_the_same_answer(engine: ServedEngine) -> None:
    """At temperature 0 an answer depends on the prompt alone, and another prompt has another."""
    first, again, other = (engine.chat(text, max_tokens=16) for text in (STORY, STORY, "What is 2 + 2?"))
    assert _text(first) == _text(again) != _text(other)


def test_an_answer_ends_by_itself(engine: ServedEngine) -> None:
    """Without a limit an answer stops where it is finished."""
    answer = engine.chat("What is the capital of France?")
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < 400


async def test_a_streamed_chat_says_the_same(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """The pieces of a stream make up the whole answer: first the role, then the text, then `[DONE]`."""
    whole = engine.chat(STORY, max_tokens=12)
    streamed = await stream(client, engine, "/v1/chat/completions", messages=_user(STORY), max_tokens=12)
    assert streamed.text() == _text(whole)
    assert streamed.finish_reason() == "length"
    assert streamed.done
    assert streamed.events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {event["object"] for event in streamed.events} == {"chat.completion.chunk"}
    assert len(streamed.events) >= 12, "one token an event"
    assert all("usage" not in event or event["usage"] is None for event in streamed.events)


async def test_a_stream_ends_with_its_usage_when_asked(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """`include_usage` adds one last event without choices."""
    streamed = await stream(
        client,
        engine,
        "/v1/chat/completions",
        messages=_user(STORY),
        max_completion_tokens=5,
        stream_options={"include_usage": True},
    )
    assert streamed.events[-1]["choices"] == []
    assert streamed.events[-1]["usage"]["completion_tokens"] == 5
    assert streamed.done


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_every_event_tells_its_usage_when_asked(
    engine: ServedEngine, client: httpx.AsyncClient, path: str
) -> None:
    """What the gateway needs to count the tokens of a stream that breaks: `continuous_usage_stats`."""
    prompt: dict[str, object] = {"messages": _user(STORY)} if "chat" in path else {"prompt": STORY}
    options = {"include_usage": True, "continuous_usage_stats": True}
    streamed = await stream(client, engine, path, max_tokens=6, ignore_eos=True, stream_options=options, **prompt)
    told = [event["usage"]["completion_tokens"] for event in streamed.events]
    assert told == sorted(told)
    assert told[-2:] == [6, 6]
    assert len({event["usage"]["prompt_tokens"] for event in streamed.events}) == 1


def test_content_parts_are_one_text(engine: ServedEngine) -> None:
    """Text in parts means the same as the text in one."""
    parts = [{"type": "text", "text": "Tell me a story"}, {"type": "text", "text": "about a river."}]
    in_parts = engine.ok("/v1/chat/completions", messages=[{"role": "user", "content": parts}], max_tokens=8)
    assert (
        in_parts["usage"]["prompt_tokens"]
        == engine.chat("Tell me a story\nabout a river.", max_tokens=8)["usage"]["prompt_tokens"]
    )


@pytest.mark.parametrize("prompt", ["Once upon a time", [9, 88, 777, 6666]])
def test_a_completion_takes_text_or_token_ids(engine: ServedEngine, prompt: object) -> None:
    """`prompt` is a text, or its token ids."""
    answer = engine.complete(prompt, max_tokens=7)
    assert answer["object"] == "text_completion"
    assert answer["choices"][0]["text"]
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["usage"]["prompt_tokens"] == 4


def test_a_completion_without_a_limit_has_16_tokens(engine: ServedEngine) -> None:
    """The OpenAI API's default for completions."""
    answer = engine.ok("/v1/completions", prompt="Once upon a time", ignore_eos=True)
    assert answer["usage"]["completion_tokens"] == 16


async def test_many_prompts_have_an_answer_each(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """A list of prompts, texts or lists of token ids, is answered in its order, whole and streamed."""
    for prompts in (["Once upon a time", "The sky is", "Water"], [[5, 6, 7], [8], [9, 10]]):
        whole = engine.complete(prompts, max_tokens=4, ignore_eos=True)
        assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
        assert whole["usage"]["completion_tokens"] == 12
        streamed = await stream(client, engine, "/v1/completions", prompt=prompts, max_tokens=4, ignore_eos=True)
        assert [streamed.finish_reason(index) for index in range(3)] == ["length"] * 3
    texts = await stream(client, engine, "/v1/completions", prompt=["Once upon a time", "The sky is"], max_tokens=4)
    assert texts.text(0) != texts.text(1)


async def test_n_answers(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """`n` answers, each with its index, sampled apart; the prompt counts once."""
    one = engine.chat(STORY, max_tokens=6)
    whole = engine.chat(STORY, max_tokens=6, n=3, temperature=1.5, seed=7, ignore_eos=True)
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in whole["choices"]}) > 1
    assert whole["usage"]["completion_tokens"] == 18
    assert whole["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]
    streamed = await stream(
        client, engine, "/v1/chat/completions", messages=_user(STORY), max_tokens=6, n=2, temperature=1, ignore_eos=True
    )
    assert [streamed.finish_reason(index) for index in range(2)] == ["length"] * 2


async def test_a_stop_string_ends_the_answer(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """The answer ends before the stop string, no part of which is ever sent."""
    text = _text(engine.chat(STORY, max_tokens=24))
    stop = text[20:23]
    expected = text[: text.index(stop)]
    cut = engine.chat(STORY, max_tokens=24, stop=[stop, "never said"])
    assert _text(cut) == expected
    assert (cut["choices"][0]["finish_reason"], cut["choices"][0]["stop_reason"]) == ("stop", stop)
    streamed = await stream(client, engine, "/v1/chat/completions", messages=_user(STORY), max_tokens=24, stop=stop)
    assert streamed.text() == expected
    assert streamed.finish_reason() == "stop"


async def test_a_cut_answer_is_continued_where_it_was_cut(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """What another replica needs to take a stream over: text so far in, the rest out, without a seam."""
    messages = _user("What is the capital of France?")
    whole = await stream(client, engine, "/v1/chat/completions", messages=messages, max_tokens=8)
    pieces = [event["choices"][0]["delta"].get("content") or "" for event in whole.events if event["choices"]]
    for sent in (1, 3, 5):
        so_far = "".join(pieces[: sent + 1])
        rest = await stream(
            client,
            engine,
            "/v1/chat/completions",
            messages=[*messages, {"role": "assistant", "content": so_far}],
            continue_final_message=True,
            add_generation_prompt=False,
            max_tokens=8 - sent,
        )
        assert so_far + rest.text() == whole.text()
        assert rest.finish_reason() == whole.finish_reason()


def test_logprobs(engine: ServedEngine) -> None:
    """Each token's log-probability, when asked for; their texts make up the answer."""
    answer = engine.chat(STORY, max_tokens=4, logprobs=True)
    content = answer["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in content) == _text(answer)
    assert all(token["logprob"] <= 0 for token in content)
    completion = engine.complete("Once upon a time", max_tokens=4, logprobs=1)["choices"][0]
    assert "".join(completion["logprobs"]["tokens"]) == completion["text"]


def test_alternatives_to_each_token(engine: ServedEngine) -> None:
    """As many as asked for, the likeliest first after the sampled one, for each answer, in chats and completions."""
    answer = engine.chat(STORY, max_tokens=3, logprobs=True, top_logprobs=3, n=2, temperature=1, seed=3)
    for choice in answer["choices"]:
        for token in choice["logprobs"]["content"]:
            found = [entry["logprob"] for entry in token["top_logprobs"]]
            assert len(found) == 3
            assert found[1:] == sorted(found[1:], reverse=True)
            assert bytes(token["bytes"]).decode() == token["token"]
    completion = engine.complete("Once upon a time", max_tokens=3, logprobs=2)["choices"][0]["logprobs"]
    assert [len(alternatives) for alternatives in completion["top_logprobs"]] == [2, 2, 2]
    assert completion["text_offset"] == [0, *_offsets(completion["tokens"])[:-1]]


async def test_log_probabilities_are_streamed(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """Each event has those of its tokens."""
    whole = engine.chat(STORY, max_tokens=4, logprobs=True)["choices"][0]["logprobs"]["content"]
    streamed = await stream(
        client, engine, "/v1/chat/completions", messages=_user(STORY), max_tokens=4, logprobs=True, top_logprobs=1
    )
    choices = [choice for event in streamed.events for choice in event["choices"] if choice.get("logprobs")]
    tokens = [token["token"] for choice in choices for token in choice["logprobs"]["content"]]
    assert tokens == [token["token"] for token in whole]


async def test_a_prompt_is_echoed(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """Before the answer, with its log-probabilities; with `max_tokens: 0` alone."""
    prompt = "Once upon a time"
    answer = engine.complete(prompt, max_tokens=2, echo=True, logprobs=1)["choices"][0]
    assert answer["text"].startswith(prompt)
    assert "".join(answer["logprobs"]["tokens"]) == answer["text"]
    assert answer["logprobs"]["token_logprobs"][0] is None
    assert answer["logprobs"]["text_offset"] == [0, *_offsets(answer["logprobs"]["tokens"])[:-1]]
    streamed = await stream(client, engine, "/v1/completions", prompt=prompt, max_tokens=2, echo=True)
    assert streamed.text() == answer["text"]
    assert engine.complete(prompt, max_tokens=0, echo=True)["choices"][0]["text"] == prompt


def test_a_prompts_tokens_have_log_probabilities(engine: ServedEngine) -> None:
    """`prompt_logprobs`: none for the first token, and at least its own for each other."""
    answer = engine.complete("Once upon a time", max_tokens=1, prompt_logprobs=1)
    found = answer["choices"][0]["prompt_logprobs"]
    assert len(found) == answer["usage"]["prompt_tokens"]
    assert found[0] is None
    assert all(entry["logprob"] <= 0 for token in found[1:] for entry in token.values())


async def test_usage_with_each_event(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """`continuous_usage_stats`: every event has the tokens so far."""
    options = {"include_usage": True, "continuous_usage_stats": True}
    streamed = await stream(
        client, engine, "/v1/chat/completions", messages=_user(STORY), max_tokens=4, stream_options=options
    )
    counted = [event["usage"]["completion_tokens"] for event in streamed.events]
    assert counted[0] == 0
    assert counted[-1] == 4
    assert counted == sorted(counted)


def test_a_text_is_its_tokens(engine: ServedEngine) -> None:
    """`/tokenize` and `/detokenize` are inverse; a chat has as many tokens as its usage says."""
    asked = {"model": "contract-model", "prompt": "The river runs to the sea.", "return_token_strs": True}
    found = engine.post("/tokenize", asked).json()
    assert (found["count"], found["max_model_len"]) == (len(found["tokens"]), MAX_TOKENS)
    assert len(found["token_strs"]) == found["count"]
    text = engine.post("/detokenize", {"model": "contract-model", "tokens": found["tokens"]}).json()["prompt"]
    assert text == asked["prompt"]
    chat = engine.post("/tokenize", {"model": "contract-model", "messages": _user(STORY)}).json()
    assert chat["count"] == engine.chat(STORY, max_tokens=1)["usage"]["prompt_tokens"]


def test_the_request_id_is_the_callers(engine: ServedEngine) -> None:
    """`x-request-id` becomes the response's id."""
    body = {"model": "contract-model", "prompt": "Once", "max_tokens": 1}
    answer = engine.post("/v1/completions", body, **{"x-request-id": "abc-123"}).json()
    assert "abc-123" in answer["id"]


async def test_requests_run_side_by_side(engine: ServedEngine, client: httpx.AsyncClient) -> None:
    """Twelve streams at once all end well, and the engine is seen to run several at a time."""
    streams = [
        asyncio.ensure_future(
            stream(client, engine, "/v1/completions", prompt=f"Number {number} is", max_tokens=60, ignore_eos=True)
        )
        for number in range(12)
    ]
    most = 0
    while not all(one.done() for one in streams):
        most = max(most, (await client.get(f"{engine.url}/contract/stats")).json()["running"])
        await asyncio.sleep(0.02)
    assert [one.result().finish_reason() for one in streams] == ["length"] * 12
    assert all(one.result().done for one in streams)
    assert most >= 4


def _user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def _text(answer: dict[str, object]) -> str:
    return str(answer["choices"][0]["message"]["content"])  # type: ignore[index]


def _offsets(tokens: list[str]) -> list[int]:
    return list(accumulate(map(len, tokens)))


def test_sagemakers_path_is_the_api_that_the_body_is_for(engine: ServedEngine) -> None:
    """`/invocations` answers chats and completions as their own paths do; a body that is neither is refused."""
    common: dict[str, Any] = {"max_tokens": 4, "ignore_eos": True}
    chat = engine.ok("/invocations", messages=[{"role": "user", "content": STORY}], **common)
    assert (chat["object"], chat["usage"]["completion_tokens"]) == ("chat.completion", 4)
    completion = engine.ok("/invocations", prompt=STORY, **common)
    assert completion["object"] == "text_completion"
    assert engine.post("/invocations", {"model": "contract-model", "nothing": 1}).status_code == 400
