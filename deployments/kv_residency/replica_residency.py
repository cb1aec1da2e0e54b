"""One replica's residency, live: takes engine events, gives numbered deltas."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from deployments.engines.interface import (
    AllCleared,
    AnswerSeen,
    BlockRemoved,
    BlockStored,
    KvEvent,
    KvEvents,
    Medium,
    PromptSeen,
)
from deployments.kv_residency.chunk_block_map import ChunkBlockMap
from deployments.kv_residency.kv_tiers import KvTiers
from deployments.kv_residency.place import Place
from deployments.kv_residency.prompt_block_map import PromptBlockMap
from deployments.kv_residency.request_bodies import CURRENT_BODY
from deployments.kv_residency.residency_log import ResidencyLog
from router.prompt.chunk_chain import ChunkChain, ChunkHasher
from router.prompt.invocations import INVOCATIONS, invoked_path

GATHER_S: Final = 0.01
"""Time after a first change during which further changes join its delta: one prompt's blocks come in several events."""
MIN_INTERVAL_S: Final = 0.05
"""Shortest time between two deltas."""
MIN_PENDING_BLOCKS: Final = 4096
"""Blocks not held that are remembered even if the engine's whole cache is smaller."""

_log = structlog.get_logger("rackserve.residency")


class ReplicaResidency:
    """Tracks which prompt chunks one engine's prefix cache holds.

    Used from the event loop on which the engine was started, once the engine is up.

    Args:
        events: the engine's KV events.
        hasher: hashes chunks exactly as the gateways do.
        model: the model's name, as gateways use it.
        kv_capacity_tokens: tokens that fit into the engine's cache.

    Attributes:
        log: the numbered changes.
    """

    def __init__(self, events: KvEvents, hasher: ChunkHasher, model: str, kv_capacity_tokens: int) -> None:
        capacity_blocks = kv_capacity_tokens // events.block_tokens
        self._capacity_blocks = capacity_blocks
        self._tiers = KvTiers(events.block_tokens)
        self._chunk_block_map = ChunkBlockMap(max(MIN_PENDING_BLOCKS, capacity_blocks))
        self._prompt_block_map = PromptBlockMap(
            hasher,
            model,
            chunk_block_map=self._chunk_block_map,
            place_of=self._tiers.place,
            block_tokens=events.block_tokens,
            token_texts=events.token_texts,
        )
        self.log = ResidencyLog(self._chunk_block_map, has_tiers=events.has_tiers)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._flushed_s = 0.0
        self._listeners: set[Callable[[], None]] = set()
        self._handlers: dict[type[KvEvent], Callable[[Any], None]] = {
            PromptSeen: self._prompt_seen,
            AnswerSeen: self._prompt_block_map.answer,
            BlockStored: self._stored,
            BlockRemoved: self._removed,
            AllCleared: self._cleared,
        }
        self._unsubscribe = events.subscribe(self._take)

    def close(self) -> None:
        """Stop listening to the engine."""
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` each time the log has grown; return a function that ends this."""
        self._listeners.add(callback)
        return lambda: self._listeners.discard(callback)

    def resident_tokens(self, chain: ChunkChain, least: Place = Place.DEVICE) -> int:
        """Return how many leading tokens of a prompt the chunks say are cached, changes not yet in the log included.

        Args:
            chain: the prompt.
            least: the worst place that counts.
        """
        found = 0
        for chunk in chain.hashes:
            if self._chunk_block_map.place(chunk) < least:
                break
            found = self._chunk_block_map.tokens(chunk) or found
        return found

    def held_tokens(self, medium: Medium) -> int:
        """Return how many tokens of KV cache the engine holds in a tier, as far as its events say."""
        return self._tiers.held_tokens(medium)

    def _take(self, event: KvEvent) -> None:
        self._handlers[type(event)](event)
        if self._chunk_block_map.has_changes and self._timer is None:
            wait_s = max(GATHER_S, self._flushed_s + MIN_INTERVAL_S - self._loop.time())
            self._timer = self._loop.call_later(wait_s, self._flush)

    def _prompt_seen(self, event: PromptSeen) -> None:
        request = CURRENT_BODY.get()
        if request is not None and request.pieces:
            body = request.take()
            path = invoked_path(body) if request.path == INVOCATIONS else request.path
            self._prompt_block_map.prompt(event, path, body)

    def _stored(self, event: BlockStored) -> None:
        for key, place in self._tiers.stored(event):
            self._chunk_block_map.moved(key, place)
        stored, capacity = self._tiers.device.total_copies, self._capacity_blocks
        if stored > capacity > 0:
            # More than fits into the engine: removals were missed, so nothing known about the cache is certain.
            _log.error("more KV blocks stored than the engine has", stored=stored, capacity=capacity)
            self._cleared(event)

    def _removed(self, event: BlockRemoved) -> None:
        for key, place in self._tiers.removed(event):
            self._chunk_block_map.moved(key, place)

    def _cleared(self, _: object) -> None:
        for key in self._tiers.cleared():
            self._chunk_block_map.moved(key, Place.NOWHERE)

    def _flush(self) -> None:
        self._timer = None
        self._flushed_s = self._loop.time()
        if self.log.flush():
            for callback in tuple(self._listeners):
                callback()

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self._tiers.check_integrity()
        self._chunk_block_map.check_integrity()
