"""The token counts a mock engine tells: they follow from the prompt, and from what this engine was sent before."""

from collections import OrderedDict
from typing import Final, NamedTuple

BYTES_PER_TOKEN: Final = 4
"""Bytes of a prompt that stand for one token."""
_BLOCK_TOKENS: Final = 16
"""Tokens are cached in whole blocks of this size, vLLM's default."""
_REMEMBERED: Final = 50_000
"""Prompts that an engine remembers; those used longest ago are forgotten first."""
_KEY: Final = b'"content"'


class EngineUsage(NamedTuple):
    """What a prompt costs an engine: tokens in all, and those that it has cached."""

    prompt_tokens: int
    cached_tokens: int


def contents_of(body: bytes) -> tuple[list[bytes], bytes]:
    """Return the texts of a chat's messages, and the body without them; texts hold no quotation marks."""
    contents = []
    outside = []
    at = 0
    while (key := body.find(_KEY, at)) >= 0:
        start = body.find(b'"', key + len(_KEY)) + 1
        end = body.find(b'"', start)
        contents.append(body[start:end])
        outside.append(body[at:start])
        at = end
    outside.append(body[at:])
    return contents, b"".join(outside)


def tokens_of(contents: list[bytes]) -> int:
    """Return the tokens of a chat's texts, at least one."""
    return max(1, sum(map(len, contents)) // BYTES_PER_TOKEN)


class PromptMemory:
    """What one engine has cached: prompts sent before, and the part of a chat before its last message."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()

    def usage_of(self, contents: list[bytes]) -> EngineUsage:
        """Return the usage of a prompt, and remember it."""
        prompt_tokens = tokens_of(contents)
        whole, history = hash(tuple(contents)), hash(tuple(contents[:-1]))
        cached = 0
        if whole in self._seen:
            cached = prompt_tokens - 1
        elif len(contents) > 1 and history in self._seen:
            cached = tokens_of(contents[:-1])
        for prefix in (history, whole):
            self._seen[prefix] = None
            self._seen.move_to_end(prefix)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return EngineUsage(prompt_tokens, cached // _BLOCK_TOKENS * _BLOCK_TOKENS)
