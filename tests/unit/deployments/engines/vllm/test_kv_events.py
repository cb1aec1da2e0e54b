"""vLLM's KV events, from the wire to RackServe's form."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from zmq.asyncio import Context
from zmq.constants import SocketType

from deployments.engines.events import KvEventHub
from deployments.engines.interface import AllCleared, BlockRemoved, BlockStored, KvEvent, Medium
from deployments.engines.vllm.kv.events import KvEventListener, endpoint_in

STORED = {
    "type": "BlockStored",
    "block_hashes": [11, 12],
    "parent_block_hash": 10,
    "token_ids": [1, 2, 3, 4],
    "block_size": 2,
    "lora_id": None,
    "medium": "GPU",
    "lora_name": None,
    "group_idx": 0,
}


def payload(*events: object) -> bytes:
    """Return a message's last frame."""
    return msgspec.msgpack.encode([1700000000.5, events, 0])


@pytest.fixture
def heard() -> list[KvEvent]:
    """What subscribers were told."""
    return []


@pytest.fixture
def listener(heard: list[KvEvent], tmp_path: Path) -> KvEventListener:
    """A listener that has not been started."""
    hub = KvEventHub()
    hub.subscribe(heard.append)
    return KvEventListener(hub, f"ipc://{tmp_path}/events")


def test_events_are_passed_on(listener: KvEventListener, heard: list[KvEvent]) -> None:
    """Stored, removed and cleared, in their order, with what they say."""
    removed = {"type": "BlockRemoved", "block_hashes": [11], "medium": "GPU", "group_idx": 0}
    listener.take(0, payload(STORED, removed, {"type": "AllBlocksCleared"}))
    assert heard == [BlockStored((11, 12), 10, (1, 2, 3, 4), 2), BlockRemoved((11,)), AllCleared()]


def test_hashes_may_be_bytes(listener: KvEventListener, heard: list[KvEvent]) -> None:
    """VLLM names blocks by numbers or by bytes, as its environment has it."""
    listener.take(0, payload({**STORED, "block_hashes": [b"ab", b"cd"], "parent_block_hash": None}))
    assert heard == [BlockStored((b"ab", b"cd"), None, (1, 2, 3, 4), 2)]


def test_further_groups_are_left_out(listener: KvEventListener, heard: list[KvEvent]) -> None:
    """One group of layers stands for all; and so are media that nobody here knows."""
    listener.take(0, payload({**STORED, "medium": "TAPE"}, {**STORED, "group_idx": 1}))
    assert heard == []


def test_tiers_below_the_device_are_told_apart(listener: KvEventListener, heard: list[KvEvent]) -> None:
    """Host memory and files, whether vLLM says what their blocks hold or only which they are."""
    named = {**STORED, "block_hashes": [12], "parent_block_hash": None, "token_ids": [], "block_size": 0}
    removed = {"type": "BlockRemoved", "block_hashes": [11], "group_idx": 0}
    listener.take(0, payload({**STORED, "medium": "CPU"}, {**named, "medium": "STORAGE", "ownership": "1:fs"}))
    listener.take(1, payload({**removed, "medium": "CPU"}, {**removed, "medium": "STORAGE"}))
    assert heard == [
        BlockStored((11, 12), 10, (1, 2, 3, 4), 2, medium=Medium.HOST),
        BlockStored((12,), None, (), 0, medium=Medium.DISK),
        BlockRemoved((11,), Medium.HOST),
        BlockRemoved((11,), Medium.DISK),
    ]


def test_what_tells_blocks_apart_is_passed_on(listener: KvEventListener, heard: list[KvEvent]) -> None:
    """Adapter, media and salt of each block; events where no block has any say nothing of it."""
    listener.take(0, payload({**STORED, "extra_keys": [["lora", ["image", 3], "salt"], None]}))
    listener.take(1, payload({**STORED, "extra_keys": [None, None]}))
    assert [event.extra_keys for event in heard if isinstance(event, BlockStored)] == [
        ('["lora",["image",3],"salt"]', ""),
        (),
    ]


def test_of_a_hybrid_model_the_layers_that_keep_whole_prefixes_count(
    listener: KvEventListener, heard: list[KvEvent]
) -> None:
    """Blocks of sliding windows come and go for other reasons: the group that keeps everything stands for all."""
    window = {**STORED, "kv_cache_spec_kind": "sliding_window"}
    whole = {**STORED, "kv_cache_spec_kind": "full_attention", "group_idx": 1}
    removed = {"type": "BlockRemoved", "block_hashes": [11], "medium": "GPU"}
    listener.take(0, payload(window, whole))
    listener.take(1, payload({**removed, "group_idx": 0}))
    listener.take(2, payload({**removed, "group_idx": 1}))
    assert heard == [BlockStored((11, 12), 10, (1, 2, 3, 4), 2), BlockRemoved((11,))]


def test_after_a_gap_nothing_is_certain(listener: KvEventListener, heard: list[KvEvent]) -> None:
    """A lost message, or a publisher that began anew, makes everything known before void."""
    listener.take(0, payload(STORED))
    listener.take(2, payload(STORED))
    listener.take(0, payload(STORED))
    assert [type(event) for event in heard] == [BlockStored, AllCleared, BlockStored, AllCleared, BlockStored]


def test_a_subscriber_that_fails_harms_nobody(heard: list[KvEvent]) -> None:
    """The others are told all the same, and who unsubscribes hears no more."""
    hub = KvEventHub()
    assert not hub

    def fail(_event: KvEvent) -> None:
        raise RuntimeError("on purpose")

    hub.subscribe(fail)
    unsubscribe = hub.subscribe(heard.append)
    hub.emit(AllCleared())
    unsubscribe()
    unsubscribe()
    hub.emit(AllCleared())
    assert heard == [AllCleared()]
    assert hub


async def test_messages_come_over_the_socket(listener: KvEventListener, heard: list[KvEvent]) -> None:
    """A publisher that binds after the listener has begun is heard from its first message on."""
    listener.start()
    await asyncio.sleep(0.05)
    context = Context()
    try:
        with context.socket(SocketType.PUB) as publisher:
            publisher.bind(listener.endpoint)
            await asyncio.sleep(0.5)
            await publisher.send_multipart([b"", (0).to_bytes(8, "big"), payload(STORED)])
            for _ in range(100):
                if heard:
                    break
                await asyncio.sleep(0.02)
    finally:
        context.destroy(linger=0)
        await listener.stop()
        await listener.stop()
    assert heard == [BlockStored((11, 12), 10, (1, 2, 3, 4), 2)]


@pytest.mark.vllm
def test_each_rank_is_listened_to_where_vllm_publishes_it(tmp_path: Path) -> None:
    """VLLM is told the first data-parallel rank's address, and derives the others' from it."""
    from vllm.distributed.kv_events import ZmqEventPublisher  # noqa: PLC0415 - importing it takes seconds

    derived = [ZmqEventPublisher.offset_endpoint_port(endpoint_in(tmp_path, 0), rank) for rank in range(3)]
    assert derived == [endpoint_in(tmp_path, rank) for rank in range(3)]
    assert len(set(derived)) == 3
