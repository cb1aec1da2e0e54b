"""What was expected of a request when it was sent to a replica, and the tokens that its answer says it used."""

from typing import final

from router.estimator.replica_estimator import ReplicaEstimator
from router.prefix_cache.match import PrefixMatch
from router.prompt.chunk_chain import ChunkChain


@final
class Usage:
    """Token counts from an answer's `usage`; None: the answer did not say.

    Attributes:
        prompt_tokens: tokens of the prompt.
        cached_tokens: prompt tokens that the engine had cached.
        completion_tokens: tokens generated.
        reasoning_tokens: tokens generated before the answer's text, as its reasoning; read at an answer's end alone.
    """

    __slots__ = ("cached_tokens", "completion_tokens", "prompt_tokens", "reasoning_tokens")

    def __init__(
        self,
        prompt_tokens: int | None = None,
        cached_tokens: int | None = None,
        completion_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self.cached_tokens = cached_tokens
        self.completion_tokens = completion_tokens
        self.reasoning_tokens = reasoning_tokens

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and self._counts() == other._counts()

    def __hash__(self) -> int:
        return hash(self._counts())

    def __repr__(self) -> str:
        return f"Usage{self._counts()}"

    def _counts(self) -> tuple[int | None, int | None, int | None, int | None]:
        return self.prompt_tokens, self.cached_tokens, self.completion_tokens, self.reasoning_tokens


@final
class Expectation:
    """One request on one replica, from the pick to its end.

    Attributes:
        replica: the replica it was sent to.
        chain: its prompt's chunks.
        matched_chunks: leading chunks of its prompt that the replica was expected to hold.
        matched_bytes: bytes of these chunks.
        matched_tokens: tokens of these chunks.
        tokens: estimated prompt tokens.
        uncached_tokens: prompt tokens that the replica was expected to prefill.
        ahead_tokens: prompt tokens that waited on the replica before it.
        running: sequences that the replica was decoding.
        sent_s: when it was sent, monotonic seconds.
        number: its number among the requests this gateway sent there, from 1; 0: it is not counted there.
        prompt_number: its number in the replica's `ReplicaSource`.
        shares: hash of the last of its chunks that any replica held; 0: none held any.
        prefilled_s: when its first token came, monotonic seconds; None: it has not come.
        ended: whether its answer came to its end, or it was lost.
        is_fetched: another replica computes its prompt, and this one fetches the blocks.
        prefilled_before: prompt tokens that the replica had computed when its first token came.
        adapter: the adapter that it uses there; "": none.
        loads: the replica was expected to load that adapter first.
        fetch_s: seconds that it was expected to fetch a part of the prompt from the tiers below its device.
    """

    __slots__ = (
        "adapter",
        "ahead_tokens",
        "chain",
        "ended",
        "fetch_s",
        "is_fetched",
        "loads",
        "matched_bytes",
        "matched_chunks",
        "matched_tokens",
        "number",
        "prefilled_before",
        "prefilled_s",
        "prompt_number",
        "replica",
        "running",
        "sent_s",
        "shares",
        "tokens",
        "uncached_tokens",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - its fields; positional for the hot path
        self,
        replica: ReplicaEstimator,
        chain: ChunkChain,
        matched_chunks: int,
        matched_bytes: int,
        matched_tokens: float,
        tokens: float,
        uncached_tokens: float,
        ahead_tokens: float,
        running: int,
        sent_s: float,
        number: int = 0,
        prompt_number: int = 0,
        shares: int = 0,
        prefilled_s: float | None = None,
        ended: bool = False,
        is_fetched: bool = False,
    ) -> None:
        self.replica = replica
        self.chain = chain
        self.matched_chunks = matched_chunks
        self.matched_bytes = matched_bytes
        self.matched_tokens = matched_tokens
        self.tokens = tokens
        self.uncached_tokens = uncached_tokens
        self.ahead_tokens = ahead_tokens
        self.running = running
        self.sent_s = sent_s
        self.number = number
        self.prompt_number = prompt_number
        self.shares = shares
        self.prefilled_s = prefilled_s
        self.ended = ended
        self.is_fetched = is_fetched
        self.prefilled_before = 0.0
        self.adapter = ""
        self.loads = False
        self.fetch_s = 0.0

    def use_adapter(self, name: str) -> float:
        """Count that it uses an adapter there; return the expected seconds of the load that this makes, mostly 0."""
        self.adapter = name
        load_s = self.replica.adapters.sent(name, self.sent_s)
        self.loads = load_s > 0.0
        return load_s

    def fetch(self, match: PrefixMatch) -> int:
        """Count what it fetches from the tiers below the device; return its leading chunks on the device."""
        replica = self.replica
        self.fetch_s = match.fetched_tokens(self.chain, replica.replica_id) * replica.fetch_s_per_token
        return match.device_count(replica.replica_id)

    @property
    def computing_s(self) -> float:
        """Seconds until its first token came, without those that it was expected to fetch; 0 or less: it has not."""
        return (self.prefilled_s or 0.0) - self.sent_s - self.fetch_s

    def end(self, now_s: float) -> None:
        """Note that its answer came to its end, or that it was lost."""
        self.ended = True
        if self.loads and self.prefilled_s is None:
            self.replica.adapters.loaded(now_s)
        if self.adapter:
            self.replica.adapters.ended(self.adapter, self.sent_s, now_s)
