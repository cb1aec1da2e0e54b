"""Receives vLLM's KV-cache events (ZeroMQ over ipc) and emits them as RackServe's events.

A message is three frames: topic, sequence number (8 bytes, big-endian) and msgpack of `[time, [event, ...], rank]`
(vllm/distributed/kv_events.py of vLLM 0.32).
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec
import structlog
from zmq.asyncio import Context
from zmq.constants import SocketOption, SocketType

from deployments.engines.events import KvEventHub
from deployments.engines.extra_keys import extra_of
from deployments.engines.interface import AllCleared, BlockRemoved, BlockStored, KvEvent, Medium

log = structlog.get_logger(__name__)

MEDIA = {None: Medium.DEVICE, "GPU": Medium.DEVICE, "CPU": Medium.HOST, "STORAGE": Medium.DISK}
"""Each of vLLM's media. It says GPU on a CPU too; the others are tiers of its offloading connector."""
WHOLE_PREFIX = frozenset({"full_attention", "mla_attention", "sink_full_attention"})
"""Kinds of layers that need all blocks of a prefix (`KVCacheSpecKind` of vllm/v1/kv_cache_interface.py)."""


def endpoint_in(folder: Path, rank: int) -> str:
    """Return where a data-parallel rank publishes its events.

    The first rank's is given to vLLM, which derives the others' (`ZmqEventPublisher.offset_endpoint_port`), but only
    for ports and for names that contain `inproc`.
    """
    return f"ipc://{folder}/kv-events-inproc" + (f"_dp{rank}" if rank else "")


class _Event(msgspec.Struct, tag_field="type"):
    medium: str | None = None
    group_idx: int | None = None


class _Stored(_Event, tag="BlockStored", kw_only=True):
    block_hashes: list[int | bytes]
    parent_block_hash: int | bytes | None = None
    token_ids: list[int]
    block_size: int
    extra_keys: list[list[Any] | None] | None = None
    kv_cache_spec_kind: str | None = None


class _Removed(_Event, tag="BlockRemoved", kw_only=True):
    block_hashes: list[int | bytes]


class _Cleared(_Event, tag="AllBlocksCleared"):
    pass


class _Batch(msgspec.Struct, array_like=True):
    time_s: float
    events: list[_Stored | _Removed | _Cleared]


class KvEventListener:
    """Receives one engine's events until `stop`.

    Args:
        hub: where the events go.
        endpoint: where the engine publishes.

    Attributes:
        endpoint: where the engine publishes.
    """

    def __init__(self, hub: KvEventHub, endpoint: str) -> None:
        self._hub = hub
        self.endpoint = endpoint
        self._next_sequence = 0
        self._group: int | None = None
        self._decoder = msgspec.msgpack.Decoder(_Batch)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to listen; call it before the engine starts, so that no event is missed."""
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _listen(self) -> None:
        context = Context()
        try:
            with context.socket(SocketType.SUB) as socket:
                socket.setsockopt(SocketOption.LINGER, 0)
                socket.setsockopt(SocketOption.RCVHWM, 0)
                socket.setsockopt(SocketOption.SUBSCRIBE, b"")
                socket.connect(self.endpoint)
                while True:
                    _topic, sequence, payload = await socket.recv_multipart()
                    self.take(int.from_bytes(sequence, "big"), payload)
        finally:
            context.destroy(linger=0)

    def take(self, sequence: int, payload: bytes) -> None:
        """Emit the events of one message; after a gap in the numbers, emit `AllCleared` first.

        Args:
            sequence: the message's number.
            payload: its events, as msgpack.
        """
        if sequence != self._next_sequence:
            log.warning("kv_events_lost", expected=self._next_sequence, got=sequence)
            self._hub.emit(AllCleared())
        self._next_sequence = sequence + 1
        if not self._hub:
            return
        events = self._decoder.decode(payload).events
        if self._group is None:
            self._group = _leading_group(events)
        for event in events:
            translated = _translated(event, self._group or 0)
            if translated is not None:
                self._hub.emit(translated)


def _leading_group(events: list[_Stored | _Removed | _Cleared]) -> int | None:
    """Return the group of layers whose events count; None: these events do not show it.

    Hybrid models have several groups, each with its own blocks. Sliding windows drop the beginning of a prefix, so only
    a group that keeps all of it shows how far a cached prefix reaches.
    """
    for event in events:
        if isinstance(event, _Stored) and event.kv_cache_spec_kind in WHOLE_PREFIX:
            return event.group_idx
    return None


def _translated(event: _Stored | _Removed | _Cleared, group: int) -> KvEvent | None:
    if isinstance(event, _Cleared):
        return AllCleared()
    medium = MEDIA.get(event.medium)
    if medium is None or event.group_idx not in (None, group):
        return None
    if isinstance(event, _Removed):
        return BlockRemoved(tuple(event.block_hashes), medium)
    return BlockStored(
        block_hashes=tuple(event.block_hashes),
        parent_block_hash=event.parent_block_hash,
        token_ids=tuple(event.token_ids),
        block_size=event.block_size,
        extra_keys=tuple(map(extra_of, event.extra_keys)) if event.extra_keys and any(event.extra_keys) else (),
        medium=medium,
    )
