"""Answers `POST /v1/chat/completions`."""

from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.generating import check_limit
from deployments.engines.sim.api.images import with_images_as_text
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.api.serving import serve
from deployments.engines.sim.chat.answer_format import ChatFormat
from deployments.engines.sim.chat.request import ChatRequest
from deployments.engines.sim.generation.core import Generation
from deployments.engines.sim.guided.tool_choice import ToolUse


async def complete_chat(exchange: SimExchange, served: ServedModel) -> None:
    """Answer a chat request.

    Raises:
        RequestError: the request is refused.
    """
    request = decode(await exchange.json_body(), ChatRequest)
    with served.freeing_if_refused(request.kv_transfer_params):
        adapter = served.check(request.model)
        request.check()
        check_limit(request.max_tokens, served.core.max_model_len)
        tools = request.tool_use()
        request.messages = await with_images_as_text(request.messages, served)
        answer_format = ChatFormat(request, tools, exchange.header(b"x-request-id"), adapter or served.name)
        generation = begin_chat(request, tools, served, answer_format.response_id, adapter)
    await serve(exchange, served.core, generation, answer_format, stream=bool(request.stream))


def begin_chat(request: ChatRequest, tools: ToolUse, served: ServedModel, response_id: str, adapter: str) -> Generation:
    """Begin to generate the answers to a checked chat request.

    Raises:
        RequestError: the prompt or the answer exceeds the context, or nothing fits the form or the tools.
    """
    prompt = request.prompt(served.name, served.sim).by(adapter)
    answers = request.answers(prompt, tools, served.name, served.sim)
    return served.core.submit(response_id, [prompt], answers, request.kv_transfer_params)
