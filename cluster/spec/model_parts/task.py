"""What a model does with its prompts."""

from enum import StrEnum


class Task(StrEnum):
    """What a model is served for.

    All but `GENERATE` answer once a prompt is computed: vLLM calls them pooling models.
    """

    GENERATE = "generate"
    """It generates text: chats, completions, responses, messages."""
    EMBED = "embed"
    """It gives a vector for a text: `/v1/embeddings`, `/v2/embed`; it scores and reranks by the angle between two."""
    CLASSIFY = "classify"
    """It gives each class's share for a text: `/classify`."""
    SCORE = "score"
    """It says how well two texts fit (a cross-encoder): `/score`, `/rerank`."""

    @property
    def pools(self) -> bool:
        """Whether it answers without generating, and so keeps no KV cache between requests."""
        return self is not Task.GENERATE
