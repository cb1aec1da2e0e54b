"""One prompt and its growing answer, as the simulated scheduler keeps them."""

from enum import Enum, auto
from math import ceil

from deployments.engines.sim.generation.prompt import SimPrompt, block_hash, boundary, chain


class SequenceState(Enum):
    """Where a sequence is.

    Only a waiting and a gone one hold no blocks.
    """

    WAITING = auto()
    FETCHING = auto()
    """Its prompt's blocks come from another engine, or from below the device."""
    FETCHED = auto()
    """They have come, or could not be had; it waits for a place in the batch."""
    RUNNING = auto()
    KEPT = auto()
    """It has ended, and its blocks wait to be fetched by another engine."""
    GONE = auto()
    """Finished or aborted."""


class Sequence:
    """A prompt and the units appended to it so far, cut into blocks; belongs to the scheduler to which it was added.

    It runs again from the start after a preemption.

    Attributes:
        prompt: the prompt.
        state: where it is.
        hashes: the hashes of the full blocks of prompt and answer, in order.
        held: number of leading `hashes` whose blocks it holds in the cache.
        blocks: number of all its blocks; those beyond `held` are private.
        target_tokens: tokens to prefill in this run.
        computed_tokens: tokens prefilled in this run, cached ones included, and those that come from below the device.
        cached_tokens: prompt tokens that its first run needed not compute; None before.
        fetched_tokens: those of them that came from another engine.
        cached_elsewhere: prompt tokens that the other engine had found in its cache, which the usage tells in place of
            `cached_tokens`; None: the prompt was not fetched, or nothing is known.
        is_fetch: its prompt's blocks are to be fetched from another engine, and have not come yet.
        keep_as: the id under which its blocks are kept for another engine when it ends; "": they are not.
    """

    __slots__ = (
        "_appended",
        "_block_tokens",
        "_length",
        "blocks",
        "cached_elsewhere",
        "cached_tokens",
        "computed_tokens",
        "fetched_tokens",
        "hashes",
        "held",
        "is_fetch",
        "keep_as",
        "prompt",
        "state",
        "target_tokens",
    )

    def __init__(self, prompt: SimPrompt, block_tokens: int) -> None:
        self.prompt = prompt
        self.state = SequenceState.WAITING
        self.hashes = chain(prompt, block_tokens)
        self.held = 0
        self.blocks = 0
        self.target_tokens = prompt.tokens
        self.computed_tokens = 0
        self.cached_tokens: int | None = None
        self.fetched_tokens = 0
        self.cached_elsewhere: int | None = None
        self.is_fetch = False
        self.keep_as = ""
        self._block_tokens = block_tokens
        self._appended = ""
        self._length = len(prompt.units)

    @property
    def uncomputed_tokens(self) -> int:
        """Tokens still to prefill before the next one can be sampled."""
        return self.target_tokens - self.computed_tokens

    @property
    def tokens_to_compute(self) -> int:
        """Tokens that this engine will prefill: of a prompt that is fetched, the last one alone."""
        return 1 if self.is_fetch else self.uncomputed_tokens

    @property
    def created_tokens(self) -> int:
        """Tokens of the prompt's full blocks that the cache did not hold at its first run."""
        return max(0, self.prompt.tokens // self._block_tokens * self._block_tokens - (self.cached_tokens or 0))

    @property
    def blocks_needed(self) -> int:
        """Number of blocks that prompt and answer take."""
        full_to = boundary(len(self.hashes) * self._block_tokens, self.prompt.units_per_token)
        return len(self.hashes) + (self._length > full_to)

    def tail(self, units: int) -> str:
        """Return the last `units` units of prompt and answer."""
        return self.between(max(0, self._length - units), self._length)

    def since(self, start: int) -> str:
        """Return the units of prompt and answer from `start` on."""
        return self.between(start, self._length)

    def between(self, start: int, end: int) -> str:
        """Return the units of prompt and answer from `start` to `end`."""
        prompt_end = len(self.prompt.units)
        if start >= prompt_end:
            return self._appended[start - prompt_end : end - prompt_end]
        return self.prompt.units[start:end] + self._appended[: max(0, end - prompt_end)]

    def append(self, units: str) -> None:
        """Add a sampled token's units, and the hashes of blocks they complete."""
        self._appended += units
        self._length += len(units)
        per_token = self.prompt.units_per_token
        while (end := boundary((len(self.hashes) + 1) * self._block_tokens, per_token)) <= self._length:
            start = boundary(len(self.hashes) * self._block_tokens, per_token)
            parent = self.hashes[-1] if self.hashes else self.prompt.root_hash()
            self.hashes.append(block_hash(self.between(start, end), parent))

    def restart(self) -> None:
        """Begin again without blocks: prompt and answer so far must be prefilled again."""
        self.held = self.blocks = self.computed_tokens = 0
        self.target_tokens = ceil(self._length / self.prompt.units_per_token)
