"""`POST /tokenize` and `POST /detokenize`."""

from typing import Annotated

import msgspec

from deployments.engines.sim.api.chat_template import Message, render
from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.errors import invalid_body
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.logprobs import prompt_tokens
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.generation.prompt import SimPrompt, token_ids


class TokenizeRequest(msgspec.Struct):
    """`POST /tokenize`."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    tools: msgspec.Raw = msgspec.Raw()
    add_generation_prompt: bool = True
    return_token_strs: bool | None = False


class DetokenizeRequest(msgspec.Struct):
    """`POST /detokenize`."""

    tokens: list[Annotated[int, msgspec.Meta(ge=0)]]
    model: str | None = None


async def tokenize(exchange: SimExchange, served: ServedModel) -> None:
    """Answer with the tokens of a text or a chat.

    Raises:
        RequestError: the request is refused.
    """
    request = decode(await exchange.json_body(), TokenizeRequest)
    served.check(request.model)
    text = request.prompt
    if text is None:
        if request.messages is None:
            raise invalid_body("Object missing required field `prompt` or `messages`", "prompt")
        messages = request.messages
        text = render(messages, request.tools, served.name, add_generation_prompt=request.add_generation_prompt)
    prompt = SimPrompt(text, served.sim.chars_per_token, from_ids=False, answer_from=len(text))
    ids = token_ids(text, 0, prompt)
    served.core.vocabulary.learn(ids, text, 0, prompt)
    found = {
        "count": len(ids),
        "max_model_len": served.core.max_model_len,
        "tokens": ids,
        "token_strs": prompt_tokens(prompt) if request.return_token_strs else None,
    }
    await exchange.respond(msgspec.json.encode(found))


async def detokenize(exchange: SimExchange, served: ServedModel) -> None:
    """Answer with the text of tokens; those that have never been seen in a text have none.

    Raises:
        RequestError: the request is refused.
    """
    request = decode(await exchange.json_body(), DetokenizeRequest)
    served.check(request.model)
    texts = (served.core.vocabulary.get(token) for token in request.tokens)
    await exchange.respond(msgspec.json.encode({"prompt": b"".join(texts).decode("utf-8", "replace")}))
