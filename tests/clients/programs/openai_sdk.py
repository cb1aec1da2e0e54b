"""OpenAI's Python SDK: every call that the endpoint serves, as an app makes it."""

import asyncio

import openai
from endpoint import BASE_URL, KEY, MODEL
from pydantic import BaseModel

ASK = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class City(BaseModel):
    """What a structured answer must hold."""

    name: str
    inhabitants: int


client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)

assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).id == MODEL

answer = client.chat.completions.create(model=MODEL, messages=ASK, max_tokens=12)
assert answer.choices[0].message.content
assert answer.usage.completion_tokens <= 12
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

chunks = list(
    client.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert chunks[-1].usage.completion_tokens <= 12

raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=ASK, max_tokens=2)
assert raw.headers["x-request-id"]
assert raw.parse().choices[0].message.content

called = client.chat.completions.create(model=MODEL, messages=ASK, tools=[WEATHER], tool_choice="required")
assert called.choices[0].message.tool_calls[0].function.name == "weather"

parsed = client.chat.completions.parse(model=MODEL, messages=ASK, response_format=City)
assert isinstance(parsed.choices[0].message.parsed, City)

assert client.completions.create(model=MODEL, prompt="Once upon", max_tokens=5).choices[0].text

said = client.responses.create(model=MODEL, input="What is the capital of France?", max_output_tokens=12)
assert said.output_text
with client.responses.stream(model=MODEL, input="And of Spain?", max_output_tokens=12) as stream:
    assert "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert stream.get_final_response().output_text

for call, error in (
    (lambda: client.chat.completions.create(model="no-such-model", messages=ASK), openai.NotFoundError),
    (lambda: client.chat.completions.create(model=MODEL, messages=ASK, temperature=-1), openai.BadRequestError),
    (
        openai.OpenAI(base_url=BASE_URL, api_key="wrong", max_retries=0).models.list,
        openai.AuthenticationError,
    ),
    (client.files.list, openai.NotFoundError),
):
    try:
        call()
    except error as refused:
        assert refused.body["message"]
    else:
        raise AssertionError(f"{error.__name__} was expected")


async def at_once() -> None:
    """Ask eight questions at once, as asynchronous apps do."""
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY) as many:
        answers = await asyncio.gather(
            *(many.chat.completions.create(model=MODEL, messages=ASK, max_tokens=3) for _ in range(8))
        )
    assert all(each.choices[0].message.content for each in answers)


asyncio.run(at_once())

azure = openai.AzureOpenAI(azure_endpoint=BASE_URL.removesuffix("/v1"), api_key=KEY, api_version="2024-10-21")
assert azure.chat.completions.create(model=MODEL, messages=ASK, max_tokens=3).choices[0].message.content
