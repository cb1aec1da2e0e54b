"""The tiers below the simulated device: prompts' blocks are copied to host memory as they are computed, and on to disk.

So a tier with less room than the one above it keeps little more, as in vLLM 0.32.

Pure: the caller lets the time pass that a fetch takes.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from cluster.kv_tiers.fetch_time import from_disk_s, from_host_s
from cluster.spec.model_parts.kv_cache_spec import OffloadSpec
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.engines.fetch_meter import FetchMeter
from deployments.engines.interface import BlockRemoved, BlockStored, KvEvent, Medium

NOTHING: Final = OffloadSpec()
"""No tier at all: what leaves the device is gone."""


class SimTiers:
    """Blocks in host memory and on disk, each evicted in LRU order.

    A block that is fetched stays where it was, as in vLLM; one from the disk goes through host memory and stays there
    too.

    Args:
        spec: bytes of a block, and how many come back a second.
        offload: bytes of each tier.
        emit: delivers KV events.

    Attributes:
        fetches: measures what is fetched.
    """

    def __init__(self, spec: SimSpec, offload: OffloadSpec, emit: Callable[[KvEvent], None]) -> None:
        self._emit = emit
        self._block_tokens = spec.block_tokens
        block_bytes = spec.block_tokens * spec.kv_bytes_per_token
        self._host_s = from_host_s(block_bytes, spec.offload_bytes_per_s)
        self._disk_s = from_disk_s(block_bytes, block_bytes, spec.offload_bytes_per_s, spec.disk_bytes_per_s)
        self._room = {Medium.HOST: offload.cpu_bytes // block_bytes, Medium.DISK: offload.disk_bytes // block_bytes}
        self._blocks: dict[Medium, OrderedDict[int, None]] = {medium: OrderedDict() for medium in self._room}
        self.fetches = FetchMeter(self._host_s / spec.block_tokens)

    def __bool__(self) -> bool:
        """Return whether there is room for any block."""
        return self._room[Medium.HOST] > 0

    def put(self, hashes: Sequence[int]) -> None:
        """Keep copies of a prompt's blocks that are on the device; its last ones are evicted before its first."""
        self._store(Medium.HOST, hashes[::-1])

    def matched(self, hashes: Sequence[int]) -> int:
        """Return how many blocks at the beginning of `hashes` are in a tier."""
        host, disk = self._blocks.values()
        for index, name in enumerate(hashes):
            if name not in host and name not in disk:
                return index
        return len(hashes)

    def fetch(self, hashes: Sequence[int]) -> float:
        """Begin to fetch blocks that are in a tier; return the seconds that this takes."""
        host = self._blocks[Medium.HOST]
        seconds = sum(self._host_s if name in host else self._disk_s for name in hashes)
        self.put(hashes)
        self.fetches.fetched(len(hashes) * self._block_tokens, seconds)
        return seconds

    def clear(self) -> None:
        """Forget every block, without events."""
        for blocks in self._blocks.values():
            blocks.clear()

    def _store(self, medium: Medium, hashes: Sequence[int]) -> None:
        blocks, room = self._blocks[medium], self._room[medium]
        if not room:
            return
        new = [name for name in hashes if name not in blocks]
        for name in hashes:
            blocks[name] = None
            blocks.move_to_end(name)
        if new:
            self._emit(BlockStored(tuple(new), None, (), self._block_tokens, medium=medium))
        if medium is Medium.HOST:
            self._store(Medium.DISK, hashes)
        gone = [blocks.popitem(last=False)[0] for _ in range(len(blocks) - room)]
        if gone:
            self._emit(BlockRemoved(tuple(gone), medium))

    def check_integrity(self) -> None:
        """Check that each tier keeps to its room.

        Raises:
            AssertionError: one does not.
        """
        for medium, blocks in self._blocks.items():
            if len(blocks) > self._room[medium]:
                raise AssertionError(f"{len(blocks)} blocks in {medium}, which has room for {self._room[medium]}")
