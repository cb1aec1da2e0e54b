"""What a replica asks of an inference engine, whichever it is.

KV events tell which prompt blocks the engine's prefix cache holds. They come in the engine's own order on the event
loop the engine was started on: a prompt's `PromptSeen` before the `BlockStored` its prefill causes. `PromptSeen` comes
in the context (`contextvars`) of the call of the engine's app that brought the prompt; where one request has several
prompts, in their order.
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

BlockHash = int | bytes
"""The engine's own name of one full KV block: it covers the block's tokens and all before it."""


@dataclass(frozen=True, slots=True)
class GangPlace:
    """Where the ranks of an engine are that takes several GPUs.

    Attributes:
        placement_group: Ray's own, one GPU a bundle in rank order.
        address: of the node this process is on, as other nodes reach it.
        begins_here: the first rank is on that node.
    """

    placement_group: Any
    address: str
    begins_here: bool


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine's state at one moment; the fields of `router.replicas.snapshot.LoadReport` an engine itself knows."""

    running: int
    waiting: int
    waiting_tokens: int
    kv_usage: float
    kv_capacity_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    step_tokens: int


@dataclass(frozen=True, slots=True)
class PromptSeen:
    """A request's prompt has been tokenized and handed to the scheduler.

    Attributes:
        request_id: the engine's id of the request; contains the HTTP request's `x-request-id`, if it had one.
        token_ids: the prompt, as far as no answer can change it.
        adapter: the LoRA adapter's name, or "".
        cache_salt: what keeps its blocks from those of other prompts with the same tokens, or "".
        media: identifier, first token and number of tokens of each image, audio or video in it, in order.
    """

    request_id: str
    token_ids: Sequence[int]
    adapter: str = ""
    cache_salt: str = ""
    media: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerSeen:
    """A request has ended, also where it was aborted. Its blocks may have been stored before or be stored after.

    Attributes:
        request_id: as in its `PromptSeen`.
        texts: of each of its answers, as the engine's app had it.
        token_ids: of each of its answers, as they follow those of `PromptSeen`.
    """

    request_id: str
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class BlockStored:
    """Consecutive full blocks are now in the prefix cache.

    Where the same block comes again before it was removed, the cache holds one more copy of it.

    Attributes:
        block_hashes: the blocks', in order.
        parent_block_hash: of the block before the first of them; None: they begin a prompt.
        token_ids: the tokens of all of them; block `i` holds `token_ids[i * block_size : (i + 1) * block_size]`.
        block_size: tokens a block.
        extra_keys: for each block, from the first, what it stands for beside its tokens (adapter, salt, media), as
            `extra_keys.extra_of` words it; blocks beyond its end stand for nothing more.
    """

    block_hashes: tuple[BlockHash, ...]
    parent_block_hash: BlockHash | None
    token_ids: tuple[int, ...]
    block_size: int
    extra_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockRemoved:
    """Blocks have left the prefix cache: one copy of each."""

    block_hashes: tuple[BlockHash, ...]


@dataclass(frozen=True, slots=True)
class AllCleared:
    """Forget every block: the cache was emptied, or events were lost and nothing known of it is certain."""


KvEvent = PromptSeen | AnswerSeen | BlockStored | BlockRemoved | AllCleared


class TokenTexts(Protocol):
    """What token ids stand for."""

    def __getitem__(self, token_id: int, /) -> bytes:
        """Return a token's text.

        Raises:
            LookupError: it is not known.
        """
        ...


class KvEvents(Protocol):
    """A stream of an engine's KV events.

    Attributes:
        block_tokens: tokens a KV block; 0 until the engine has started.
        token_texts: what the token ids of `PromptSeen` and `AnswerSeen` stand for; None: not known.
    """

    block_tokens: int
    token_texts: TokenTexts | None

    def subscribe(self, callback: Callable[[KvEvent], None]) -> Callable[[], None]:
        """Have `callback` called with each event from now on; return what ends that. The callback must not block."""
        ...


class Engine(Protocol):
    """An inference engine with an OpenAI-compatible ASGI app.

    Used as: `await start()`, then `app` is served and `stats()` read until `await stop()`.
    """

    async def start(self) -> None:
        """Load the model and get ready.

        Raises:
            EngineStartError: it did not come up; the message says why.
        """
        ...

    @property
    def app(self) -> AsgiApp:
        """The engine's own OpenAI-compatible app; only after `start`."""
        ...

    @property
    def kv_events(self) -> KvEvents | None:
        """The engine's KV events; may be subscribed to before `start`. None: it is configured to have none."""
        ...

    def stats(self) -> EngineStats:
        """Return the engine's state now; costs microseconds."""
        ...

    async def check_health(self) -> None:
        """Return if the engine works.

        Raises:
            EngineDeadError: it does not, and never will again.
        """
        ...

    async def stop(self) -> None:
        """Stop at once and free everything, child processes included. Safe to call twice."""
        ...
