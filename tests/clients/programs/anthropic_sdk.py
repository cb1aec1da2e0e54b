"""Anthropic's Python SDK on /v1/messages: whole answers, streams, tools, token counts, errors."""

import anthropic
from endpoint import BASE_URL, KEY, MODEL

ASK = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}

client = anthropic.Anthropic(base_url=BASE_URL.removesuffix("/v1"), api_key=KEY, max_retries=0)

assert MODEL in [model.id for model in client.models.list()]

answer = client.messages.create(model=MODEL, messages=ASK, max_tokens=12)
assert answer.content[0].text
assert answer.usage.output_tokens <= 12
assert answer.stop_reason in {"end_turn", "max_tokens"}

with client.messages.stream(model=MODEL, system="Be brief.", messages=ASK, max_tokens=12) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text == final.content[0].text
assert final.usage.output_tokens <= 12

called = client.messages.create(
    model=MODEL, messages=ASK, max_tokens=200, tools=[WEATHER], tool_choice={"type": "tool", "name": "weather"}
)
assert next(block for block in called.content if block.type == "tool_use").name == "weather"

assert client.messages.count_tokens(model=MODEL, messages=ASK).input_tokens > 0

for call, error, kind in (
    (
        lambda: client.messages.create(model="no-such", messages=ASK, max_tokens=3),
        anthropic.NotFoundError,
        "not_found_error",
    ),
    (
        lambda: anthropic.Anthropic(
            base_url=BASE_URL.removesuffix("/v1"), api_key="wrong", max_retries=0
        ).messages.create(model=MODEL, messages=ASK, max_tokens=3),
        anthropic.AuthenticationError,
        "authentication_error",
    ),
):
    try:
        call()
    except error as refused:
        assert refused.body["type"] == "error", refused.body
        assert refused.body["error"]["type"] == kind, refused.body
    else:
        raise AssertionError(f"{error.__name__} was expected")
