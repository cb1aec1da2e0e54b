"""Prefixes that several waiting requests have in common: one more copy of such a prefix serves all of them."""

from typing import final

from router.prompt.chunk_chain import ChunkChain


@final
class PrefixSharing:
    """How many requests that wait for their prefill share a prefix.

    Only requests count of which no replica held more than the prefix when they were sent: so it is one that many
    prompts have in common, not the history of one chat.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, int] = {}

    def count(self, chain: ChunkChain, chunks: int) -> int:
        """Return how many wait whose longest cached prefix is the first `chunks` chunks of a prompt."""
        return self._waiting.get(chain.hashes[chunks - 1], 0) if chunks else 0

    def waits(self, chunk: int) -> None:
        """Count a request that waits, whose longest cached prefix ends with the chunk of this hash."""
        self._waiting[chunk] = self._waiting.get(chunk, 0) + 1

    def waits_no_more(self, chunk: int) -> None:
        """Take out a request that `waits` counted; does nothing for the hash of none, 0."""
        left = self._waiting.get(chunk, 0) - 1
        if left > 0:
            self._waiting[chunk] = left
        else:
            self._waiting.pop(chunk, None)
