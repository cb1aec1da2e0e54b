"""LiteLLM, as `openai/` and as `anthropic/` provider, with and without streaming."""

import litellm
from endpoint import BASE_URL, KEY, MODEL

ASK = [{"role": "user", "content": "What is the capital of France?"}]
OPENAI = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": KEY, "max_tokens": 12}
ANTHROPIC = {"model": f"anthropic/{MODEL}", "api_base": BASE_URL.removesuffix("/v1"), "api_key": KEY, "max_tokens": 12}

for provider in (OPENAI, ANTHROPIC):
    answer = litellm.completion(messages=ASK, **provider)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens <= 12
    parts = list(litellm.completion(messages=ASK, stream=True, **provider))
    assert "".join(part.choices[0].delta.content or "" for part in parts)

try:
    litellm.completion(messages=ASK, **{**OPENAI, "model": "openai/no-such-model"})
except litellm.NotFoundError as error:
    assert "no-such-model" in str(error)
else:
    raise AssertionError("a model that is not there was answered")
