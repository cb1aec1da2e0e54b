"""The warm-up: uses once what users use, so that the first of them does not wait while the engine compiles.

Some of vLLM's code is compiled, or built, when a request first needs it: the kernel that ranks log-probabilities
(`torch.compile`), the back end of structured outputs, tool parsers. All running requests stand still meanwhile.
Measured on two cores with SmolLM2: 5 s for the first `logprobs` (20 s with an empty compiler cache), 2 s for the first
JSON schema, 1 s for the first tools.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import httpx
import structlog

from deployments.engines.interface import AsgiApp
from router.replicas.ranks import RANK_HEADER

LIMIT_S: Final = 60.0
"""Longest warm-up, in seconds; what is not warm then, the first user waits for."""

SALT: Final = "rackserve-warm-up"
"""Keeps the warm-up's KV blocks from being found by users' prompts."""

Step = tuple[str, str, dict[str, Any]]
"""A feature's name, the path and the body of a request that uses it."""

log = structlog.get_logger(__name__)

_SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
_TOOL: Final = {"type": "function", "function": {"name": "look", "parameters": _SCHEMA, "strict": True}}
_HELLO: Final = [{"role": "user", "content": "Hi"}]


def _completion(name: str, **fields: object) -> Step:
    body = {"prompt": "Hi there", "max_tokens": 2, "temperature": 0.8, "cache_salt": SALT, **fields}
    return name, "/v1/completions", body


def _chat(name: str, **fields: object) -> Step:
    return name, "/v1/chat/completions", {"messages": _HELLO, "max_tokens": 2, "cache_salt": SALT, **fields}


# One after the other: a kernel is compiled for one row, then again for any number of rows.
ALONE: Final[tuple[Step, ...]] = (
    _completion("logprobs", logprobs=2, temperature=0),
    _completion("logprobs of several answers", logprobs=2, n=3),
)
# Side by side, which takes a fraction of the time.
TOGETHER: Final[tuple[Step, ...]] = (
    _completion("seed", seed=1),
    _completion("top_p", top_p=0.9),
    _completion("top_k", top_k=5),
    _completion("top_k with top_p", top_k=5, top_p=0.9),
    _completion("min_p", min_p=0.1),
    _completion("penalties", presence_penalty=0.5, frequency_penalty=0.5, repetition_penalty=1.1),
    _completion("logit_bias", logit_bias={"1": 1}, min_tokens=1, bad_words=["never"]),
    _completion("prompt_logprobs", prompt_logprobs=1),
    _completion("JSON schema", structured_outputs={"json": _SCHEMA}),
    _completion("regex", structured_outputs={"regex": "[ab]+"}),
    _chat("chat", logprobs=True, top_logprobs=2),
    _chat("tools", tools=[_TOOL], tool_choice="auto"),
    _chat("required tool", tools=[_TOOL], tool_choice="required"),
    ("responses", "/v1/responses", {"input": "Hi", "max_output_tokens": 2, "store": False, "cache_salt": SALT}),
    ("messages", "/v1/messages", {"messages": _HELLO, "max_tokens": 2, "cache_salt": SALT}),
)
EMBEDDING: Final[tuple[Step, ...]] = (("embeddings", "/v1/embeddings", {"input": "Hi there", "cache_salt": SALT}),)


class WarmUp:
    """Sends the requests through the engine's own app; a request that is refused or fails hinders nothing.

    Args:
        app: the engine's app.
        model: the served model's name.
        tasks: what the model can do, in vLLM's words.
        ranks: data-parallel ranks; each gets every request.

    Attributes:
        refused: why a feature could not be used, by its name.
    """

    def __init__(self, app: AsgiApp, model: str, tasks: Iterable[str], ranks: int = 1) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._model = model
        self._ranks = ranks
        generates = "generate" in tasks
        self._alone: Sequence[Step] = ALONE if generates else EMBEDDING if "embed" in tasks else ()
        self._together: Sequence[Step] = TOGETHER if generates else ()
        self.refused: dict[str, str] = {}

    async def run(self) -> None:
        """Send all requests, for at most `LIMIT_S`."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(LIMIT_S):
                for step in self._alone:
                    await self._send([step])
                await self._send(self._together)
        except TimeoutError:
            log.warning("warm_up_cut_short", model=self._model, limit_s=LIMIT_S)
        log.info("warmed_up", model=self._model, took_s=round(time.monotonic() - began_s, 1), refused=self.refused)

    async def _send(self, steps: Sequence[Step]) -> None:
        await asyncio.gather(*(self._use(step, rank) for step in steps for rank in range(self._ranks)))

    async def _use(self, step: Step, rank: int) -> None:
        name, path, body = step
        content = json.dumps({"model": self._model, **body}).encode()
        headers = {"content-type": "application/json", "x-request-id": f"warm-up {name}", RANK_HEADER: str(rank)}
        request = httpx.Request("POST", f"http://replica{path}", content=content, headers=headers)
        try:
            response = await self._transport.handle_async_request(request)
            answer = await response.aread()
        except (httpx.HTTPError, OSError, ValueError) as error:
            self.refused[name] = str(error)
            return
        if response.status_code != HTTPStatus.OK:
            self.refused[name] = f"{response.status_code} {answer[:200].decode(errors='replace')}"
