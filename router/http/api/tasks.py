"""Which paths of the APIs a model answers, by what it is served for."""

from collections.abc import Mapping
from typing import Final

from cluster.spec.model_parts.task import Task

_SCORES: Final = frozenset({Task.EMBED, Task.CLASSIFY, Task.SCORE})
"""A model of embeddings scores by the angle between two, a classifier of one class by that class."""
_TASKS: Final[Mapping[bytes, frozenset[Task]]] = {
    **dict.fromkeys(
        (
            b"/v1/responses",
            b"/v1/chat/completions",
            b"/v1/chat/completions/batch",
            b"/v1/completions",
            b"/v1/messages",
            b"/inference/v1/generate",
            b"/generative_scoring",
            b"/v1/audio/transcriptions",
            b"/v1/audio/translations",
        ),
        frozenset({Task.GENERATE}),
    ),
    **dict.fromkeys((b"/v1/embeddings", b"/v2/embed"), frozenset({Task.EMBED})),
    **dict.fromkeys((b"/score", b"/v1/score", b"/rerank", b"/v1/rerank", b"/v2/rerank"), _SCORES),
    **dict.fromkeys((b"/classify", b"/v1/classify"), frozenset({Task.CLASSIFY, Task.SCORE})),
    b"/pooling": _SCORES,
}
"""The tasks whose models answer a path, as vLLM 0.32's `entrypoints/pooling/factories.py` has them.

Other paths, such as `/tokenize`, are every model's."""
_DOES: Final = {
    Task.GENERATE: "generates text: it answers /v1/chat/completions, /v1/completions, /v1/responses and /v1/messages",
    Task.EMBED: "embeds: it answers /v1/embeddings, /v2/embed, /pooling, /score and /rerank",
    Task.CLASSIFY: "classifies: it answers /classify and /pooling, and with one class /score and /rerank",
    Task.SCORE: "scores: it answers /score, /rerank, /classify and /pooling",
}


def answers(task: Task | None, path: bytes) -> bool:
    """Tell whether a model that is served for a task answers a path; None, its checkpoint's own: the engine says."""
    tasks = _TASKS.get(path) if task is not None else None
    return tasks is None or task in tasks


def wrong_task(model: str, task: Task, path: bytes) -> str:
    """Return what to tell a client about a path that its model does not answer."""
    return f"the model {model!r} {_DOES[task]}; it does not answer {path.decode('ascii')}"
