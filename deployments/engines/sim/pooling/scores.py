"""`POST /score` and `POST /rerank`: how well texts fit, by the words that they share."""

import time
from itertools import repeat
from typing import Any, Final
from uuid import uuid4

import msgspec

from cluster.spec.model_parts.task import Task
from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.errors import bad_request, invalid_body
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.inputs import prompts_of
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.pooling.embeddings import DIMENSIONS, vector_of
from deployments.engines.sim.pooling.prefilling import prefilled, usage_of

Texts = str | list[str]
_SIDES: Final = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))
"""The names that vLLM has for the two fields."""


class ScoreRequest(msgspec.Struct):
    """`POST /score`."""

    model: str | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None

    def sides(self) -> tuple[list[str], list[str]]:
        """Return the texts of both sides, as many of the one as of the other.

        Raises:
            RequestError: a side is missing, or their numbers do not fit.
        """
        for first, second in _SIDES:
            one, other = getattr(self, first), getattr(self, second)
            if one is not None and other is not None:
                return _paired(_listed(one), _listed(other))
        raise invalid_body("Field required", "queries")


class RerankRequest(msgspec.Struct):
    """`POST /rerank`."""

    query: str
    documents: Texts
    model: str | None = None
    top_n: int = 0


async def score(exchange: SimExchange, served: ServedModel) -> None:
    """Answer with the score of each pair.

    Raises:
        RequestError: the request is refused.
    """
    request = decode(await exchange.json_body(), ScoreRequest)
    served.check(request.model)
    scores, tokens = await _scores(exchange, served, *request.sides())
    response = {
        "id": f"score-{uuid4().hex[:16]}",
        "object": "list",
        "created": int(time.time()),
        "model": served.name,
        "data": [{"index": place, "object": "score", "score": one} for place, one in enumerate(scores)],
        "usage": usage_of(tokens),
    }
    await exchange.respond(msgspec.json.encode(response))


async def rerank(exchange: SimExchange, served: ServedModel) -> None:
    """Answer with the documents, the one that fits best first.

    Raises:
        RequestError: the request is refused.
    """
    request = decode(await exchange.json_body(), RerankRequest)
    served.check(request.model)
    if request.top_n < 0:
        raise invalid_body("Input should be greater than or equal to 0", "top_n")
    documents = _listed(request.documents)
    scores, tokens = await _scores(exchange, served, *_paired([request.query], documents))
    order = sorted(range(len(documents)), key=lambda place: -scores[place])[: request.top_n or None]
    results: list[dict[str, Any]] = [
        {
            "index": place,
            "document": {"text": documents[place], "multi_modal": None},
            "relevance_score": scores[place],
        }
        for place in order
    ]
    response = {
        "id": f"rerank-{uuid4().hex[:16]}",
        "model": served.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": results,
    }
    await exchange.respond(msgspec.json.encode(response))


async def _scores(
    exchange: SimExchange, served: ServedModel, first: list[str], second: list[str]
) -> tuple[list[float], int]:
    """Return each pair's score, and the tokens that were computed for them.

    A model of embeddings reads each text by itself, a cross-encoder each pair.
    """
    is_cross_encoder = served.spec.served_task in {Task.SCORE, Task.CLASSIFY}
    texts = [f"{one}\n{other}" for one, other in zip(first, second, strict=True)]
    if not is_cross_encoder:
        texts = [*dict.fromkeys(first), *second]
    tokens = await prefilled(exchange, served, f"score-{uuid4().hex[:16]}", prompts_of(texts, "data", served.sim))
    angles = [
        float(vector_of(one, DIMENSIONS) @ vector_of(other, DIMENSIONS))
        for one, other in zip(first, second, strict=True)
    ]
    return [(1 + angle) / 2 if is_cross_encoder else angle for angle in angles], tokens


def _listed(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _paired(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    if not first or not second:
        raise bad_request("At least one text must be given on each side")
    if len(first) == 1:
        return list(repeat(first[0], len(second))), second
    if len(first) != len(second):
        raise bad_request("Input lengths must be either 1:1, 1:N or N:N")
    return first, second
