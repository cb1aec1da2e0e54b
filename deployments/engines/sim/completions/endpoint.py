"""Answers `POST /v1/completions`."""

from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.generating import check_limit
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.api.serving import serve
from deployments.engines.sim.completions.answer_format import CompletionFormat
from deployments.engines.sim.completions.request import CompletionRequest


async def complete(exchange: SimExchange, served: ServedModel) -> None:
    """Answer a completion request.

    Raises:
        RequestError: the request is refused.
    """
    request = decode(await exchange.json_body(), CompletionRequest)
    with served.freeing_if_refused(request.kv_transfer_params):
        adapter = served.check(request.model)
        request.check()
        check_limit(request.max_tokens, served.core.max_model_len)
        prompts = [prompt.by(adapter) for prompt in request.prompts(served.sim)]
        answers = request.answers(prompts, served.sim)
    answer_format = CompletionFormat(request, exchange.header(b"x-request-id"), adapter or served.name)
    generation = served.core.submit(answer_format.response_id, prompts, answers, request.kv_transfer_params)
    await serve(exchange, served.core, generation, answer_format, stream=bool(request.stream))
