"""What a replica needs of an inference engine: the contract that every engine implements.

KV events say which prompt blocks the engine's prefix cache holds. They arrive in the engine's own order, on the event
loop on which the engine was started: a prompt's `PromptSeen` comes before the `BlockStored` of its prefill.
`PromptSeen` arrives in the context (`contextvars`) of the app's call with the request. A request with several prompts
gives one `PromptSeen` each, in order.
"""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from cluster.spec.model_parts.adapter_spec import AdapterSpec
from deployments.engines.fetch_meter import FetchStats
from router.replicas.adapter_report import AdapterReport
from router.replicas.kv_transfer import KvTransfer
from router.replicas.media_report import NO_MEDIA, MediaReport
from router.replicas.speculation_report import SpeculationReport
from router.replicas.start_phases import StartPhases
from router.replicas.step_report import StepReport

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

BlockHash = int | bytes
"""The engine's own hash of one full KV block, over the block's tokens and all tokens before it."""


@dataclass(frozen=True, slots=True)
class GangPlace:
    """Where the ranks of an engine of several GPUs run.

    Attributes:
        placement_group: Ray's placement group, with one bundle of one GPU per rank, in rank order.
        address: the address of the driver's node (this process's), as other nodes reach it.
        begins_here: the first rank is on the driver's node.
    """

    placement_group: Any
    address: str
    begins_here: bool


@dataclass(frozen=True, slots=True)
class EngineStats:
    """An engine's state at one moment: the fields of `router.replicas.load_report.LoadReport` that the engine knows.

    `fetches` is what it fetched from the tiers below its device; None: it has none.
    """

    running: int
    waiting: int
    waiting_tokens: int
    kv_usage: float
    kv_capacity_tokens: int
    prefill_tokens_per_s: float
    decode_tokens_per_s: float
    step_tokens: int
    speculation: SpeculationReport | None = None
    media: MediaReport = NO_MEDIA
    fetches: FetchStats | None = None
    steps: StepReport | None = None


@dataclass(frozen=True, slots=True)
class PromptSeen:
    """A request's prompt has been tokenized and given to the scheduler.

    Attributes:
        request_id: the engine's id of the request; contains the HTTP request's `x-request-id`, if it had one.
        token_ids: the prompt's tokens, without a last one that the answer could still change.
        adapter: the LoRA adapter's name; "": none.
        cache_salt: separates the prompt's blocks from those of other prompts with the same tokens; "": none.
        media: identifier, first token and number of tokens of each image, audio or video in it, in order.
    """

    request_id: str
    token_ids: Sequence[int]
    adapter: str = ""
    cache_salt: str = ""
    media: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerSeen:
    """A request has ended, perhaps by an abort. The `BlockStored` of its blocks may come before this or after.

    Attributes:
        request_id: the id in its `PromptSeen`.
        texts: the text of each of its answers, as the engine's app has it.
        token_ids: the tokens of each of its answers, which follow the tokens of `PromptSeen`.
    """

    request_id: str
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]


class Medium(StrEnum):
    """Where blocks are held: on the device, where they are used, or in a tier below, from which they are fetched."""

    DEVICE = "device"
    HOST = "host"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class BlockStored:
    """Consecutive full blocks are now in the prefix cache, or in a tier below the device.

    If a block is stored on the device again before it was removed, the cache holds one more copy of it. A tier below
    holds one, and its blocks are known by hashes that the device or another tier holds at that time: their tokens may
    be left out.

    Attributes:
        block_hashes: the blocks' hashes, in order.
        parent_block_hash: the hash of the block before the first; None: the first block begins a prompt.
        token_ids: the tokens of all blocks; block `i` holds `token_ids[i * block_size : (i + 1) * block_size]`.
        block_size: tokens per block.
        extra_keys: for each block what distinguishes it besides its tokens (adapter, salt, media), encoded by
            `extra_keys.extra_of`. May be shorter than the blocks: the rest have none.
        medium: where they are.
    """

    block_hashes: tuple[BlockHash, ...]
    parent_block_hash: BlockHash | None
    token_ids: tuple[int, ...]
    block_size: int
    extra_keys: tuple[str, ...] = ()
    medium: Medium = Medium.DEVICE


@dataclass(frozen=True, slots=True)
class BlockRemoved:
    """One copy of each of these blocks has left the prefix cache, or a tier below.

    Attributes:
        block_hashes: the blocks' hashes.
        medium: where they were.
    """

    block_hashes: tuple[BlockHash, ...]
    medium: Medium = Medium.DEVICE


@dataclass(frozen=True, slots=True)
class AllCleared:
    """The cache was emptied, or events were lost so that nothing known of it is certain: forget every block.

    Those of the tiers below too: what is held there and not known costs a computation, as before.
    """


KvEvent = PromptSeen | AnswerSeen | BlockStored | BlockRemoved | AllCleared


class TokenTexts(Protocol):
    """The text of each token id."""

    def __getitem__(self, token_id: int, /) -> bytes:
        """Return a token's text.

        Raises:
            LookupError: the text is not known.
        """
        ...


class KvEvents(Protocol):
    """A stream of an engine's KV events.

    Attributes:
        block_tokens: tokens per KV block; 0 until the engine has started.
        token_texts: the texts of the token ids in `PromptSeen` and `AnswerSeen`; None: not known.
        has_tiers: blocks that leave the device may be held in tiers below it.
    """

    block_tokens: int
    token_texts: TokenTexts | None
    has_tiers: bool

    def subscribe(self, callback: Callable[[KvEvent], None]) -> Callable[[], None]:
        """Call `callback`, which must not block, with each event from now on; return a function that ends this."""
        ...


class Engine(Protocol):
    """An inference engine with an OpenAI-compatible ASGI app.

    Use: `await start()`, then serve `app` and read `stats()` until `await stop()`.
    """

    async def start(self) -> None:
        """Load the model and get ready.

        Raises:
            EngineStartError: the engine did not start; the message says why.
        """
        ...

    @property
    def app(self) -> AsgiApp:
        """The engine's own OpenAI-compatible app; available after `start`."""
        ...

    @property
    def ranks(self) -> int:
        """Its data-parallel ranks, each with a batch and a prefix cache of its own.

        A request that names one in `x-data-parallel-rank` is computed there, any other on the emptiest one.
        """
        ...

    def kv_events(self, rank: int = 0) -> KvEvents | None:
        """Return a rank's KV events, which may be subscribed to before `start`; None: it is configured to have none."""
        ...

    @property
    def transfer(self) -> KvTransfer | None:
        """What it can send and receive of its KV cache; available after `start`; None: nothing."""
        ...

    @property
    def start_phases(self) -> StartPhases | None:
        """What its start went to; available after `start`; None: not known."""
        ...

    def adapters(self, rank: int = 0) -> AdapterReport | None:
        """Return a rank's LoRA adapters now; None: it was started without room for any. Takes microseconds."""
        ...

    async def set_adapters(self, adapters: Sequence[AdapterSpec]) -> None:
        """Serve exactly these adapters from now on; call it after `start`. Requests that use others go on.

        Returns once they can be asked for. One that cannot be served is told in `adapters`, with the reason.
        """
        ...

    def stats(self, rank: int | None = None) -> EngineStats:
        """Return a rank's state now, or that of all of them together; takes microseconds.

        Blocks that are kept for other engines count as used. What is counted for the engine as a whole, its media, is
        in the first rank's state.
        """
        ...

    async def check_health(self) -> None:
        """Check that the engine works.

        Raises:
            EngineDeadError: it does not, and never will again.
        """
        ...

    async def stop(self) -> None:
        """Stop at once and free everything, child processes included. Safe to call twice."""
        ...
