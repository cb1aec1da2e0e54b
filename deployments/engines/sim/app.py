"""The simulated engine's OpenAI-compatible app, in plain ASGI to avoid a framework's cost per request and token."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from cluster.spec.cluster_spec import ModelSpec
from deployments.engines.interface import Receive, Scope, Send
from deployments.engines.sim.answer import Answer
from deployments.engines.sim.core import Generation, SimCore
from deployments.engines.sim.exchange import SimExchange
from deployments.engines.sim.metrics import SimMetrics
from deployments.engines.sim.prompt import SimPrompt, token_ids
from deployments.engines.sim.protocol import (
    ChatRequest,
    CompletionRequest,
    GenerateRequest,
    RequestError,
    TokenizeRequest,
    bad_request,
    decode,
)
from deployments.engines.sim.render import answer_rules, chat_prompt, completion_prompts, echo, render
from deployments.engines.sim.responses import ResponseShape, encode, usage

VERSION = "0.32.0+sim"
"""Answer of `/version`: the release of vLLM whose API this is."""

Handler = Callable[[SimExchange], Awaitable[None]]


class SimApp:
    """The ASGI app of one simulation."""

    def __init__(self, core: SimCore, model: ModelSpec) -> None:
        self._core = core
        self._model = model
        self._metrics = SimMetrics(core, model.name)
        self._created = int(time.time())
        self._routes: dict[str, tuple[str, Handler]] = {
            "/v1/chat/completions": ("POST", self._chat),
            "/v1/completions": ("POST", self._completion),
            "/tokenize": ("POST", self._tokenize),
            "/reset_prefix_cache": ("POST", self._reset_prefix_cache),
            "/v1/models": ("GET", self._models),
            "/health": ("GET", self._health),
            "/ping": ("GET", self._health),
            "/version": ("GET", self._version),
            "/metrics": ("GET", self._scrape),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            exchange = SimExchange(scope, receive, send)
            try:
                await self._handler(scope["method"], scope["path"])(exchange)
            except RequestError as exc:
                await exchange.respond(exc.body, exc.status)
        else:
            raise ValueError(f"the simulated engine speaks HTTP, not {scope['type']}")

    def _handler(self, method: str, path: str) -> Handler:
        route = self._routes.get(path)
        if route is None:
            raise RequestError(404, "NotFoundError", f"{path} is not served by a model that generates text")
        if method != route[0]:
            raise RequestError(405, "Method Not Allowed", f"{path} takes {route[0]}, not {method}")
        return route[1]

    async def _chat(self, exchange: SimExchange) -> None:
        request = decode(await exchange.json_body(), ChatRequest)
        self._check(request)
        prompts = [chat_prompt(request, self._model.name, self._core.spec)]
        await self._generate(exchange, request, prompts, logprobs=bool(request.logprobs))

    async def _completion(self, exchange: SimExchange) -> None:
        request = decode(await exchange.json_body(), CompletionRequest)
        self._check(request)
        prompts = completion_prompts(request, self._core.spec)
        await self._generate(exchange, request, prompts, logprobs=request.logprobs is not None)

    def _check(self, request: GenerateRequest) -> None:
        self._check_model(request.model)
        request.check()
        if not self._core.alive:
            raise RequestError(503, "Service Unavailable", "the engine is not running")

    def _check_model(self, model: str | None) -> None:
        served = self._model.name
        if model and model != served:
            raise RequestError(
                404, "NotFoundError", f"The model `{model}` does not exist. Valid aliases: {served}.", "model"
            )

    async def _generate(
        self, exchange: SimExchange, request: GenerateRequest, prompts: list[SimPrompt], *, logprobs: bool
    ) -> None:
        core = self._core
        answers: list[Answer] = []
        for prompt in prompts:
            rules = answer_rules(request, prompt, core.max_model_len, core.spec)
            for choice in range(request.choices):
                salt = ((request.seed or 0) * 1_000_003 + choice) & 0xFFFFFFFF
                answers.append(Answer(len(answers), prompt, rules, salt, words=[] if logprobs else None))
        request_id = exchange.header(b"x-request-id")
        shape = ResponseShape.of(request_id, self._model.name, chat=isinstance(request, ChatRequest))
        generation = core.submit(shape.response_id, prompts, answers)
        watch = asyncio.ensure_future(exchange.client_gone())
        watch.add_done_callback(lambda _: core.abort(generation))
        try:
            if request.stream:
                await self._stream(exchange, request, generation, shape)
            else:
                await self._whole(exchange, request, generation, shape)
        finally:
            watch.cancel()
            core.abort(generation)

    async def _stream(
        self, exchange: SimExchange, request: GenerateRequest, generation: Generation, shape: ResponseShape
    ) -> None:
        head = shape.chunk_head()
        usage_each = request.stream_options is not None and bool(request.stream_options.continuous_usage_stats)
        echoes = {answer.index: echo(request, answer.prompt) for answer in generation.answers}
        fresh = await generation.next()
        await exchange.begin_events()
        pieces = [shape.opening(generation)]
        while True:
            for answer in fresh:
                text = echoes.pop(answer.index, "") + answer.take_new()
                chunk = shape.chunk(head, answer, text, usage(generation) if usage_each else None)
                pieces.append(chunk)
            if not generation.unfinished:
                break
            await exchange.send_events(b"".join(pieces), more=True)
            fresh = await generation.next()
            pieces = []
        if not self._core.alive:
            pieces.append(b"data: " + _died().body + b"\n\n")
        elif request.wants_usage:
            pieces.append(shape.usage_event(generation))
        pieces.append(b"data: [DONE]\n\n")
        await exchange.send_events(b"".join(pieces), more=False)

    async def _whole(
        self, exchange: SimExchange, request: GenerateRequest, generation: Generation, shape: ResponseShape
    ) -> None:
        while generation.unfinished:
            await generation.next()
        if not self._core.alive:
            raise _died()
        texts = [echo(request, answer.prompt) + answer.text for answer in generation.answers]
        await exchange.respond(shape.whole(generation, texts))

    async def _tokenize(self, exchange: SimExchange) -> None:
        request = decode(await exchange.json_body(), TokenizeRequest)
        self._check_model(request.model)
        text = request.prompt
        if text is None and request.messages is None:
            raise bad_request("prompt or messages must be given", "prompt")
        if text is None:
            messages = request.messages or []
            text = render(messages, self._model.name, add_generation_prompt=request.add_generation_prompt)
        prompt = SimPrompt(text, self._core.spec.chars_per_token, from_ids=False, answer_from=len(text))
        ids = token_ids(text, 0, prompt)
        answer = {"count": len(ids), "max_model_len": self._core.max_model_len, "tokens": ids, "token_strs": None}
        await exchange.respond(encode(answer))

    async def _reset_prefix_cache(self, exchange: SimExchange) -> None:
        if not self._core.reset_prefix_cache():
            raise RequestError(503, "Service Unavailable", "requests hold blocks of the prefix cache")
        await exchange.respond(b"")

    async def _models(self, exchange: SimExchange) -> None:
        card = {
            "id": self._model.name,
            "object": "model",
            "created": self._created,
            "owned_by": "rackserve-sim",
            "root": self._model.source or self._model.name,
            "parent": None,
            "max_model_len": self._core.max_model_len,
        }
        await exchange.respond(encode({"object": "list", "data": [card]}))

    async def _health(self, exchange: SimExchange) -> None:
        await exchange.respond(b"", 200 if self._core.alive else 503)

    async def _version(self, exchange: SimExchange) -> None:
        await exchange.respond(encode({"version": VERSION}))

    async def _scrape(self, exchange: SimExchange) -> None:
        await exchange.respond(self._metrics.render(), kind="text/plain; version=0.0.4; charset=utf-8")


def _died() -> RequestError:
    return RequestError(500, "InternalServerError", "the engine died while it worked on this request")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
