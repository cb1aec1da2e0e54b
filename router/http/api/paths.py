"""The paths of the engines' APIs that the gateway passes on, each with its methods and what names its model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from cluster.spec.parts.engine_control import controls_engine


class Body(Enum):
    """What a request's body is, and so where its model is named. No other type of content is passed on.

    `NONE`: the query names the model.
    """

    JSON = "application/json"
    FORM = "multipart/form-data"
    NONE = ""


@dataclass(frozen=True, slots=True)
class ApiPath:
    """One path.

    Attributes:
        body: what its requests carry.
        methods: the methods that are passed on.
    """

    body: Body = Body.JSON
    methods: tuple[bytes, ...] = (b"POST",)


_JSON_PATHS = (
    # OpenAI's
    b"/v1/responses",
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/embeddings",
    # Anthropic's
    b"/v1/messages",
    b"/v1/messages/count_tokens",
    # Jina's and Cohere's
    b"/rerank",
    b"/v1/rerank",
    b"/v2/rerank",
    b"/v2/embed",
    # vLLM's own
    b"/classify",
    b"/detokenize",
    b"/generative_scoring",
    b"/inference/v1/generate",
    b"/pooling",
    b"/score",
    b"/tokenize",
    b"/v1/chat/completions/batch",
    b"/v1/chat/completions/derender",
    b"/v1/chat/completions/render",
    b"/v1/completions/derender",
    b"/v1/completions/render",
    b"/v1/messages/render",
    b"/v1/responses/render",
    b"/v1/score",
    b"/v1/systemone",
    # SGLang's
    b"/v1/classify",
    b"/v1/detokenize",
    b"/v1/tokenize",
)
_FORM_PATHS = (b"/v1/audio/transcriptions", b"/v1/audio/translations")

API_PATHS: Mapping[bytes, ApiPath] = {
    **dict.fromkeys(_JSON_PATHS, ApiPath()),
    **dict.fromkeys(_FORM_PATHS, ApiPath(Body.FORM)),
}
"""The paths whose requests name a model: those of vLLM 0.32 (`vllm/entrypoints`), and three that SGLang adds."""


def with_more_paths(more: Iterable[str]) -> dict[bytes, ApiPath]:
    """Return the paths of the APIs together with further ones, whose requests are JSON that is sent by POST."""
    return {**API_PATHS, **{path.encode("ascii"): ApiPath() for path in more}}


def why_not_found(path: bytes) -> str:
    """Return what to tell a client about a path that is not passed on."""
    shown = path[:200].decode("ascii", "replace")
    if controls_engine(path.decode("latin-1")):
        return f"{shown!r} manages an engine: the gateway passes it on to none. Ask the replica itself"
    return f"there is nothing at {shown!r}; the API is under /v1/"
