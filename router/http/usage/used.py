"""What one subject has used: sums that only grow until they are taken."""

from typing import Final, NamedTuple, final

from router.estimator.expectation import Usage

BLOCK_TOKENS: Final = 16
"""Tokens of the KV block in which memory is counted, whatever the engine's own are; 16 is vLLM's default on a GPU."""


class Subject(NamedTuple):
    """Whom usage is counted for.

    Attributes:
        tenant: the tenant's name.
        key: the first eight hex digits of its API key's SHA-256, as two keys may be valid; "": there are no keys.
        model: the model that was asked for; of an adapter, its base model.
        adapter: the LoRA adapter; "": none.
    """

    tenant: str
    key: str
    model: str
    adapter: str


@final
class Used:
    """Sums over requests that reached a replica and have ended.

    Attributes:
        requests: all of them.
        unfinished: those of them whose answer the client did not get whole: it left, or the replica failed.
        prompt_tokens: tokens of their prompts, cached ones included.
        cached_tokens: those that were cached.
        completion_tokens: tokens of their answers, as far as they came.
        kv_block_s: KV blocks times the seconds for which they were held.
        handovers: prompts that one replica computed and another fetched.
    """

    __slots__ = (
        "cached_tokens",
        "completion_tokens",
        "handovers",
        "kv_block_s",
        "prompt_tokens",
        "requests",
        "unfinished",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.unfinished = 0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.kv_block_s = 0.0
        self.handovers = 0

    def add(self, usage: Usage, held_s: float, *, is_whole: bool, is_handed_over: bool) -> None:
        """Add one request; numbers that its answer does not give count as 0.

        Args:
            usage: its tokens.
            held_s: seconds from its dispatch to its end. The prompt is held for all of them; the answer grows evenly,
                so that half of it is held on average.
            is_whole: the client got the whole answer.
            is_handed_over: one replica computed its prompt and another fetched it.
        """
        prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
        self.requests += 1
        if not is_whole:
            self.unfinished += 1
        self.prompt_tokens += prompt
        self.cached_tokens += usage.cached_tokens or 0
        self.completion_tokens += completion
        self.kv_block_s += (prompt + completion / 2.0) / BLOCK_TOKENS * held_s
        if is_handed_over:
            self.handovers += 1

    def take_in(self, other: "Used") -> None:
        """Add another subject's or period's sums."""
        self.requests += other.requests
        self.unfinished += other.unfinished
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.completion_tokens += other.completion_tokens
        self.kv_block_s += other.kv_block_s
        self.handovers += other.handovers


Sums = dict[Subject, Used]
"""What each subject has used. Its size is bounded by tenants, their keys, models and adapters, never by requests."""


def add_up(into: Sums, sums: Sums) -> None:
    """Add sums to others, subject by subject."""
    for subject, used in sums.items():
        there = into.get(subject)
        if there is None:
            into[subject] = used
        else:
            there.take_in(used)
