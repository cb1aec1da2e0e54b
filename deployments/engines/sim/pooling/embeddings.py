"""`POST /v1/embeddings`: vectors of length 1 in which texts with common words are near one another."""

import base64
import time
from typing import Any, Final, Literal
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from deployments.engines.sim.api.decoding import decode
from deployments.engines.sim.api.errors import bad_value
from deployments.engines.sim.api.exchange import SimExchange
from deployments.engines.sim.api.inputs import prompts_of
from deployments.engines.sim.api.served_model import ServedModel
from deployments.engines.sim.pooling.prefilling import prefilled, usage_of

DIMENSIONS: Final = 384
"""Length of a vector unless the request asks for a shorter one: that of many small embedding models."""
_VALUES_PER_WORD: Final = 6


class EmbeddingRequest(msgspec.Struct, kw_only=True):
    """`POST /v1/embeddings`."""

    input: str | list[Any]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


async def embed(exchange: SimExchange, served: ServedModel) -> None:
    """Answer with the vector of each input, once its prompt would have been prefilled.

    Raises:
        RequestError: the request is refused.
    """
    request = decode(await exchange.json_body(), EmbeddingRequest)
    served.check(request.model)
    dimensions = DIMENSIONS if request.dimensions is None else request.dimensions
    if not 1 <= dimensions <= DIMENSIONS:
        raise bad_value(f"dimensions must be from 1 to {DIMENSIONS}, got {dimensions}.", "dimensions", dimensions)
    prompts = prompts_of(request.input, "input", served.sim)
    response_id = f"embd-{uuid4().hex[:16]}"
    tokens = await prefilled(exchange, served, response_id, prompts)
    vectors = [_shown(vector_of(prompt.units, dimensions), request.encoding_format) for prompt in prompts]
    response = {
        "id": response_id,
        "object": "list",
        "created": int(time.time()),
        "model": served.name,
        "data": [{"index": place, "object": "embedding", "embedding": one} for place, one in enumerate(vectors)],
        "usage": usage_of(tokens),
    }
    await exchange.respond(msgspec.json.encode(response))


def vector_of(text: str, dimensions: int) -> NDArray[np.float32]:
    """Return a text's vector of length 1.

    Each of its words adds the same few numbers wherever it stands (a sparse random projection of the counts of words).

    Args:
        text: the text.
        dimensions: number of values.
    """
    words = text.lower().split() or [text]
    hashes = np.array([xxh3_64_intdigest(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint64)
    vector = np.zeros(dimensions, dtype=np.float64)
    for draw in range(_VALUES_PER_WORD):
        bits = hashes >> np.uint64(8 * draw)
        signs = (bits & np.uint64(1)).astype(np.float64) * 2 - 1
        np.add.at(vector, ((bits >> np.uint64(1)) % np.uint64(dimensions)).astype(np.intp), signs)
    length = float(np.linalg.norm(vector))
    if not length:  # what the words add has cancelled out
        vector[int(hashes[0] % np.uint64(dimensions))] = length = 1.0
    return (vector / length).astype(np.float32)


def _shown(vector: NDArray[np.float32], encoding: str) -> Any:  # noqa: ANN401 - a text or numbers
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
