"""`POST /classify` and `POST /pooling`: made-up shares of classes, the same for the same text; plain vectors."""

import time
from typing import Any, Final
from uuid import uuid4

import msgspec
from xxhash import xxh3_64_intdigest

from cluster.spec.model_parts.task import Task
from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.inputs import prompts_of
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.pooling.embeddings import DIMENSIONS, vector_of
from deployments.engines.sim.pooling.prefilling import prefilled, usage_of

CLASSES: Final = 2
"""Classes of a simulated classifier; one that scores has one."""


class PoolingRequest(msgspec.Struct):
    """`POST /classify` and `POST /pooling`."""

    input: str | list[Any]
    model: str | None = None


async def classify(exchange: SimExchange, served: ServedModel) -> None:
    """Answer with each text's shares of the classes, and the class with the largest.

    Raises:
        RequestError: the request is refused.
    """
    texts, tokens = await _read(exchange, served, response_id := f"classify-{uuid4().hex[:16]}")
    shares = [_shares(text, served) for text in texts]
    data = [
        {"index": place, "label": f"LABEL_{one.index(max(one))}", "probs": one, "num_classes": len(one)}
        for place, one in enumerate(shares)
    ]
    await _respond(exchange, served, response_id, data, tokens)


async def pool(exchange: SimExchange, served: ServedModel) -> None:
    """Answer with what the model has of each text: its vector, or its shares of the classes.

    Raises:
        RequestError: the request is refused.
    """
    texts, tokens = await _read(exchange, served, response_id := f"pool-{uuid4().hex[:16]}")
    embeds = served.spec.served_task not in {Task.CLASSIFY, Task.SCORE}
    data = [
        {
            "index": place,
            "object": "pooling",
            "data": vector_of(text, DIMENSIONS).tolist() if embeds else _shares(text, served),
        }
        for place, text in enumerate(texts)
    ]
    await _respond(exchange, served, response_id, data, tokens)


async def _read(exchange: SimExchange, served: ServedModel, response_id: str) -> tuple[list[str], int]:
    request = decode(await exchange.json_body(), PoolingRequest)
    served.check(request.model)
    prompts = prompts_of(request.input, "input", served.sim)
    return [prompt.units for prompt in prompts], await prefilled(exchange, served, response_id, prompts)


async def _respond(
    exchange: SimExchange, served: ServedModel, response_id: str, data: list[dict[str, Any]], tokens: int
) -> None:
    about = {"id": response_id, "object": "list", "created": int(time.time()), "model": served.name}
    await exchange.respond(msgspec.json.encode({**about, "data": data, "usage": usage_of(tokens)}))


def _shares(text: str, served: ServedModel) -> list[float]:
    first = xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) / 2**64
    return [first] if served.spec.served_task is Task.SCORE else [first, 1 - first]
