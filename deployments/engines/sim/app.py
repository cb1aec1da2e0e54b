"""The simulated engine's OpenAI-compatible app, in plain ASGI to avoid a framework's cost per request and token."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from cluster.spec.model_parts.task import Task
from cluster.spec.model_spec import ModelSpec
from deployments.engines.interface import Receive, Scope, Send
from deployments.engines.media.fetcher import MediaFetcher
from deployments.engines.sim.api.errors import RequestError, bad_request
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.api.tokens import detokenize, tokenize
from deployments.engines.sim.chat.endpoint import complete_chat
from deployments.engines.sim.completions.endpoint import complete
from deployments.engines.sim.generation.core import SimCore
from deployments.engines.sim.messages.endpoint import count_tokens, create_message
from deployments.engines.sim.metrics import SimMetrics
from deployments.engines.sim.pooling.classes import classify, pool
from deployments.engines.sim.pooling.embeddings import embed
from deployments.engines.sim.pooling.scores import rerank, score
from deployments.engines.sim.responses.endpoints import ResponsesEndpoints
from deployments.engines.sim.transfer.exchange import KvExchange
from router.prompt.invocations import INVOCATIONS, invoked_path
from router.replicas.ranks import RANK_HEADER

_RANK: Final = RANK_HEADER.encode()
VERSION: Final = "0.32.0+sim"
"""Answer of `/version`: the release of vLLM whose API this is."""

Handler = Callable[[SimExchange, ServedModel], Awaitable[None]]
Routes = dict[str, tuple[str, Handler]]


class SimApp:
    """The ASGI app of one engine.

    A request is computed by the data-parallel rank that `x-data-parallel-rank` names, or else by the one with the
    fewest requests.

    Args:
        cores: the simulation of each rank.
        model: the served model.
        fetcher: fetches the media that prompts name by URL.
        exchanges: each rank's, which passes KV blocks from and to other engines; none: nothing does.
    """

    def __init__(
        self,
        cores: Sequence[SimCore],
        model: ModelSpec,
        fetcher: MediaFetcher,
        exchanges: Sequence[KvExchange] = (),
    ) -> None:
        self._ranks = [ServedModel(model, core, fetcher) for core in cores]
        self._next = -1  # the rank that takes a request if all have as many
        self._metrics = SimMetrics(model.name, cores, exchanges)
        self._responses = ResponsesEndpoints()
        self._routes = self._routes_of(model.served_task)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            exchange = SimExchange(scope, receive, send)
            try:
                await self._handler(scope["method"], scope["path"])(exchange, self._served_by(exchange))
            except RequestError as exc:
                await exchange.respond(exc.body, exc.status)
        else:
            raise ValueError(f"the simulated engine speaks HTTP, not {scope['type']}")

    def _served_by(self, exchange: SimExchange) -> ServedModel:
        """Return the served model of the rank that computes a request.

        Raises:
            RequestError: the request names a rank that there is not; one that is no number counts as none, as in vLLM.
        """
        asked = exchange.header(_RANK)
        try:
            rank = int(asked) if asked is not None else None
        except ValueError:
            rank = None
        if rank is None:
            self._next = (self._next + 1) % len(self._ranks)
            turns = [*self._ranks[self._next :], *self._ranks[: self._next]]
            return min(turns, key=lambda served: served.core.requests)
        if not 0 <= rank < len(self._ranks):
            raise bad_request(f"data_parallel_rank {rank} is out of range [0, {len(self._ranks)}).")
        return self._ranks[rank]

    def _routes_of(self, task: Task | None) -> Routes:
        """Return the endpoints: those of a model of this task; None: of one that generates and embeds."""
        generates: Routes = {
            "/v1/chat/completions": ("POST", complete_chat),
            "/v1/completions": ("POST", complete),
            "/v1/responses": ("POST", self._responses.create),
            "/v1/responses/*": ("GET", self._responses.fetch),
            "/v1/responses/*/cancel": ("POST", self._responses.cancel),
            "/v1/messages": ("POST", create_message),
            "/v1/messages/count_tokens": ("POST", count_tokens),
        }
        embeds: Routes = {"/v1/embeddings": ("POST", embed)}
        classifies: Routes = {"/classify": ("POST", classify)}
        pools: Routes = {
            "/pooling": ("POST", pool),
            **dict.fromkeys(("/score", "/v1/score"), ("POST", score)),
            **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), ("POST", rerank)),
        }
        always: Routes = {
            "/tokenize": ("POST", tokenize),
            "/detokenize": ("POST", detokenize),
            INVOCATIONS: ("POST", self._invoke),
            "/reset_prefix_cache": ("POST", self._reset_prefix_cache),
            "/v1/models": ("GET", _models),
            "/health": ("GET", _health),
            "/ping": ("GET", _health),
            "/version": ("GET", _version),
            "/metrics": ("GET", self._scrape),
        }
        match task:
            case None:
                return generates | embeds | pools | always
            case Task.GENERATE:
                return generates | always
            case Task.EMBED:
                return embeds | pools | always
            case _:
                return classifies | pools | always

    def _handler(self, method: str, path: str) -> Handler:
        if path.startswith("/v1/responses/"):
            path = "/".join(["/v1/responses", "*", *path.split("/")[4:]])
        route = self._routes.get(path)
        if route is None:
            raise RequestError(404, "Not Found", "Not Found")
        if method != route[0]:
            raise RequestError(405, "Method Not Allowed", "Method Not Allowed")
        return route[1]

    async def _invoke(self, exchange: SimExchange, served: ServedModel) -> None:
        route = self._routes.get(invoked_path(await exchange.json_body()))
        if route is None or route[1] == self._invoke:
            raise bad_request("Cannot find suitable handler for request")
        await route[1](exchange, served)

    async def _reset_prefix_cache(self, exchange: SimExchange, _served: ServedModel) -> None:
        emptied = [served.core.reset_prefix_cache() for served in self._ranks]
        if not all(emptied):
            raise RequestError(503, "Service Unavailable", "requests hold blocks of the prefix cache")
        await exchange.respond(b"")

    async def _scrape(self, exchange: SimExchange, _served: ServedModel) -> None:
        await exchange.respond(self._metrics.render(), kind="text/plain; version=0.0.4; charset=utf-8")


async def _models(exchange: SimExchange, served: ServedModel) -> None:
    await exchange.respond(msgspec.json.encode({"object": "list", "data": served.cards()}))


async def _health(exchange: SimExchange, served: ServedModel) -> None:
    await exchange.respond(b"", 200 if served.core.alive else 503)


async def _version(exchange: SimExchange, _served: ServedModel) -> None:
    await exchange.respond(msgspec.json.encode({"version": VERSION}))


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
