"""Which of vLLM's requests are on which data-parallel rank."""

from collections.abc import Mapping
from typing import Protocol


class PromptState(Protocol):
    """The part of vLLM's record of a request that tells of its prompt.

    Attributes:
        prompt_len: tokens of the prompt.
        is_prefilling: its first token has not come.
        remote_prefill_cached_tokens: tokens that another engine computed; None: it is computed here.
    """

    prompt_len: int
    is_prefilling: bool
    remote_prefill_cached_tokens: int | None


class RequestsByRank:
    """Divides vLLM's records of unfinished requests by rank.

    vLLM's client drops a record by itself when its request ends, so each look at a rank drops it here, too.

    Args:
        states: vLLM's records, by request id; it adds to them and removes from them.
        ranks: data-parallel ranks.
    """

    def __init__(self, states: Mapping[str, PromptState], ranks: int) -> None:
        self._states = states
        self._of_rank: list[set[str]] = [set() for _ in range(ranks)]
        self._next = 0

    @property
    def ranks(self) -> int:
        """Data-parallel ranks."""
        return len(self._of_rank)

    def added(self, request_id: str, rank: int) -> None:
        """Note which rank computes a request."""
        self._of_rank[rank].add(request_id)

    def on(self, rank: int) -> list[PromptState]:
        """Return the records of a rank's unfinished requests."""
        if len(self._of_rank) == 1:
            return list(self._states.values())
        ids, states = self._of_rank[rank], self._states
        ids.difference_update([request_id for request_id in ids if request_id not in states])
        return [states[request_id] for request_id in ids]

    def tokens_to_prefill(self, rank: int) -> int:
        """Return the prompt tokens of a rank's requests without a first token, but for prompts that others computed."""
        return sum(
            state.prompt_len
            for state in self.on(rank)
            if state.is_prefilling and state.remote_prefill_cached_tokens is None
        )

    def emptiest(self) -> int:
        """Return the rank with the fewest requests; of equal ones, each in turn."""
        ranks, first = len(self._of_rank), self._next
        self._next = (first + 1) % ranks
        return min(((first + turn) % ranks for turn in range(ranks)), key=lambda rank: len(self.on(rank)))
