"""Answers `POST /v1/messages` and `POST /v1/messages/count_tokens`.

As in vLLM, a body of a wrong form is answered with an error in OpenAI's form, and all other errors have Anthropic's.
"""

import msgspec

from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.errors import RequestError
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.generating import check_limit
from deployments.engines.sim.api.images import with_images_as_text
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.api.serving import serve
from deployments.engines.sim.chat.endpoint import begin_chat
from deployments.engines.sim.messages.answer_format import MessagesFormat, error_body
from deployments.engines.sim.messages.request import CountTokensRequest, MessagesRequest


async def create_message(exchange: SimExchange, served: ServedModel) -> None:
    """Answer a request for a message.

    Raises:
        RequestError: the body has a wrong form.
    """
    request = decode(await exchange.json_body(), MessagesRequest)
    answer_format = MessagesFormat(exchange.header(b"x-request-id"), request.model or served.name)
    try:
        with served.freeing_if_refused(request.kv_transfer_params):
            adapter = served.check(request.model)
            check_limit(request.max_tokens, served.core.max_model_len, "max_completion_tokens")
            chat = request.chat()
            chat.check()
            chat.messages = await with_images_as_text(chat.messages, served)
            generation = begin_chat(chat, chat.tool_use(), served, answer_format.response_id, adapter)
        await serve(exchange, served.core, generation, answer_format, stream=bool(request.stream))
    except RequestError as exc:
        await exchange.respond(error_body(exc), exc.status)


async def count_tokens(exchange: SimExchange, served: ServedModel) -> None:
    """Answer how many tokens a message's prompt has.

    Raises:
        RequestError: the body has a wrong form.
    """
    request = decode(await exchange.json_body(), CountTokensRequest)
    try:
        served.check(request.model)
        chat = request.chat()
        chat.messages = await with_images_as_text(chat.messages, served)
        tokens = chat.prompt(served.name, served.sim).tokens
    except RequestError as exc:
        await exchange.respond(error_body(exc), exc.status)
        return
    counted = {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}
    await exchange.respond(msgspec.json.encode(counted))
