"""Where an engine holds each KV block: on its device, only in a tier below it, or nowhere."""

from collections.abc import Iterable, Iterator

from deployments.engines.interface import BlockHash, BlockRemoved, BlockStored, Medium
from deployments.kv_residency.kv_blocks import KvBlocks
from deployments.kv_residency.place import Place

LOWER = (Medium.HOST, Medium.DISK)
"""The tiers below the device."""


class KvTiers:
    """The blocks of one engine, by our own keys, counted from its events.

    A tier below holds copies of blocks that the device holds or held, so its blocks are known by the engine's hashes:
    the device has told what each of them stands for. One that is not known so is passed over; that it may stand for
    another adapter or salt, which such events do not tell, makes no wrong claim.

    Args:
        block_tokens: tokens per block.

    Attributes:
        device: the device's blocks.
    """

    def __init__(self, block_tokens: int) -> None:
        self.device = KvBlocks(block_tokens)
        self._block_tokens = block_tokens
        self._names: dict[Medium, dict[BlockHash, int]] = {medium: {} for medium in LOWER}
        self._copies: dict[int, int] = {}

    def place(self, key: int) -> Place:
        """Return where a block is."""
        if key in self.device.copies:
            return Place.DEVICE
        return Place.LOWER if key in self._copies else Place.NOWHERE

    def held_tokens(self, medium: Medium) -> int:
        """Return the tokens of the blocks in a tier."""
        blocks = len(self.device) if medium is Medium.DEVICE else len(self._names[medium])
        return blocks * self._block_tokens

    def stored(self, event: BlockStored) -> Iterator[tuple[int, Place]]:
        """Apply an event and yield the blocks that are elsewhere now, and where."""
        if event.medium is Medium.DEVICE:
            for key in self.device.stored(event):
                yield key, Place.DEVICE
            return
        names, copies = self._names[event.medium], self._copies
        for name in event.block_hashes:
            known = self._key(name)
            if known is None or name in names:
                continue
            names[name] = known
            copies[known] = copies.get(known, 0) + 1
            if copies[known] == 1 and known not in self.device:
                yield known, Place.LOWER

    def removed(self, event: BlockRemoved) -> Iterator[tuple[int, Place]]:
        """Apply an event and yield the blocks that are elsewhere now, and where."""
        if event.medium is Medium.DEVICE:
            for key in self.device.removed(event):
                yield key, Place.LOWER if key in self._copies else Place.NOWHERE
            return
        names, copies = self._names[event.medium], self._copies
        for name in event.block_hashes:
            known = names.pop(name, None)
            if known is None:
                continue
            copies[known] -= 1
            if not copies[known]:
                del copies[known]
                if known not in self.device:
                    yield known, Place.NOWHERE

    def cleared(self) -> Iterable[int]:
        """Forget every block and return the keys of those that were held anywhere."""
        keys = {*self.device.cleared(), *self._copies}
        self._copies = {}
        self._names = {medium: {} for medium in LOWER}
        return keys

    def _key(self, name: BlockHash) -> int | None:
        """Return the key of a block that some tier holds."""
        key = self.device.key(name)
        for names in self._names.values():
            if key is not None:
                break
            key = names.get(name)
        return key

    def check_integrity(self) -> None:
        """Check that keys and counts agree.

        Raises:
            AssertionError: they don't; the message says what is wrong.
        """
        self.device.check_integrity()
        counts: dict[int, int] = {}
        for names in self._names.values():
            for key in names.values():
                counts[key] = counts.get(key, 0) + 1
        if counts != self._copies:
            raise AssertionError("the tiers' blocks are not those counted")
