"""Answers `/v1/responses`: create, fetch and cancel."""

from collections.abc import Sequence
from urllib.parse import parse_qs

import msgspec

from deployments.engines.sim.api.chat_template import Message
from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.errors import RequestError, bad_value
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.generating import check_limit
from deployments.engines.sim.api.images import with_images_as_text
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.api.serving import serve
from deployments.engines.sim.chat.endpoint import begin_chat
from deployments.engines.sim.generation.core import Generation
from deployments.engines.sim.responses.answer_format import ResponsesFormat
from deployments.engines.sim.responses.background import BackgroundRun
from deployments.engines.sim.responses.request import ResponsesRequest
from deployments.engines.sim.responses.store import ResponseStore, StoredResponse, said


class ResponsesEndpoints:
    """The endpoints, and the responses that they have made."""

    def __init__(self) -> None:
        self._store = ResponseStore()

    async def create(self, exchange: SimExchange, served: ServedModel) -> None:
        """Make a response, from a stored one on if the request names it.

        Raises:
            RequestError: the request is refused.
        """
        request = decode(await exchange.json_body(), ResponsesRequest)
        with served.freeing_if_refused(request.kv_transfer_params):
            adapter = served.check(request.model)
            request.check()
            check_limit(request.max_output_tokens, served.core.max_model_len, "max_output_tokens")
            asked = await with_images_as_text(request.messages(), served)
            messages = [*self._before(request.previous_response_id), *asked]
            chat = request.chat(messages)
            chat.check()
            answer_format = ResponsesFormat(request, adapter or served.name)
            generation = begin_chat(chat, chat.tool_use(), served, answer_format.response_id, adapter)
        if request.background:
            await self._create_in_background(exchange, served, request, answer_format, generation, messages)
            return

        def keep() -> None:
            if request.store and generation.answers[0].finish_reason != "abort":
                chat_so_far = [*messages, said(generation.answers[0])]
                self._store.keep(StoredResponse(answer_format.response(generation), chat_so_far))

        stream = bool(request.stream)
        await serve(exchange, served.core, generation, answer_format, stream=stream, on_end=keep)

    async def fetch(self, exchange: SimExchange, served: ServedModel) -> None:  # noqa: ARG002 - every endpoint's signature
        """Send a stored response, or the events of one that is made in the background.

        Raises:
            RequestError: it is not known, or it has no events.
        """
        response_id = exchange.path.split("/")[3]
        stored = self._known(response_id)
        query = parse_qs(exchange.query)
        if query.get("stream", ["false"])[0].lower() not in ("true", "1"):
            await exchange.respond(msgspec.json.encode(self._current(stored)))
            return
        if stored.run is None:
            raise bad_value(f"Unknown response_id: {response_id}", "response_id", response_id)
        after = query.get("starting_after", [""])[0]
        await self._follow(exchange, stored.run, int(after) + 1 if after.isdecimal() else 0)

    async def cancel(self, exchange: SimExchange, served: ServedModel) -> None:  # noqa: ARG002 - every endpoint's signature
        """Stop a response that is made in the background, and send it.

        Raises:
            RequestError: it is not known, or it has ended.
        """
        stored = self._known(exchange.path.split("/")[3])
        if self._current(stored)["status"] not in ("queued", "in_progress") or stored.run is None:
            raise RequestError(400, "invalid_request_error", "Cannot cancel a synchronous response.", "response_id")
        stored.run.cancel()
        stored.response["status"] = "cancelled"
        await exchange.respond(msgspec.json.encode(stored.response))

    async def _create_in_background(  # noqa: PLR0913, PLR0917 - one request's parts
        self,
        exchange: SimExchange,
        served: ServedModel,
        request: ResponsesRequest,
        answer_format: ResponsesFormat,
        generation: Generation,
        messages: Sequence[Message],
    ) -> None:
        queued = answer_format.response(generation, "queued")
        stored = StoredResponse(queued, messages)
        self._store.keep(stored)

        def end() -> None:
            if stored.response["status"] != "cancelled":
                stored.response = answer_format.response(generation)
                stored.messages = [*messages, said(generation.answers[0])]

        stored.run = BackgroundRun(served.core, generation, answer_format, end)
        if request.stream:
            await self._follow(exchange, stored.run, 0)
        else:
            await exchange.respond(msgspec.json.encode(queued))

    async def _follow(self, exchange: SimExchange, run: BackgroundRun, first: int) -> None:
        await exchange.begin_events()
        async for event in run.follow(first):
            await exchange.send_events(event, more=True)
        await exchange.send_events(b"", more=False)

    def _before(self, response_id: str | None) -> Sequence[Message]:
        return () if response_id is None else self._known(response_id).messages

    def _known(self, response_id: str) -> StoredResponse:
        stored = self._store.get(response_id)
        if stored is None:
            message = f"Response with id '{response_id}' not found."
            raise RequestError(404, "invalid_request_error", message, "response_id")
        return stored

    def _current(self, stored: StoredResponse) -> dict[str, object]:
        if stored.run is not None and stored.response["status"] in ("queued", "in_progress"):
            stored.response["status"] = stored.run.status
        return stored.response
